"""The URL of ``sqlite://``."""

from pathlib import Path

import pytest

from drivetrain.contract import ConfigurationError, DriverContext, Durability
from drivetrain.drivers.sqlite import make_backend, make_broker
from drivetrain.drivers.sqlite.options import Options


def test_three_slashes_are_a_relative_path_and_four_an_absolute_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    directory = DriverContext().directory
    assert Options.parse("sqlite:///a/b.db").in_directory(directory).path == tmp_path / "a" / "b.db"
    assert Options.parse("sqlite:////a/b.db").in_directory(directory).path == Path("/a/b.db")


@pytest.mark.parametrize("make", [make_broker, make_backend])
def test_a_later_change_of_directory_does_not_move_the_file(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    context = DriverContext()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    driver = make("sqlite:///here.db", context)
    driver.ping()
    driver.close()
    assert (tmp_path / "here.db").exists()


def test_every_fault_of_a_url_is_named_at_once():
    wrong = "sqlite:///?synchronous=half&namespace=&busy_timeout_seconds=soon&namspace=a&x=1"
    with pytest.raises(ConfigurationError) as raised:
        make_broker(wrong, DriverContext())
    assert len(raised.value.faults) == 6
    assert "did you mean 'namespace'" in str(raised.value)
    assert "full or normal" in str(raised.value)


@pytest.mark.parametrize(
    "wrong",
    [
        "sqlite://work.db",
        "sqlite://host/work.db",
        "sqlite:///",
        "sqlite:////",
        "sqlite:///directory/",
        "sqlite:///:memory:",
        "sqlite:///work.db?busy_timeout_seconds=-1",
        "sqlite:///work.db?busy_timeout_seconds=nan",
        "sqlite:///work.db?busy_timeout_seconds=1e9",
        "sqlite:///work%00.db",
        "sqlite:///work#1.db",
    ],
)
def test_a_wrong_url_is_refused(wrong):
    for maker in (make_broker, make_backend):
        with pytest.raises(ConfigurationError) as raised:
            maker(wrong, DriverContext())
        assert len(raised.value.faults) == 1


def test_making_a_driver_touches_no_file(make, tmp_path):
    make("broker")
    make("backend")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("more", "durability"), [("", "power"), ("?synchronous=normal", "process")])
def test_durability_is_declared_and_set(make, more, durability):
    broker, backend = make("broker", more), make("backend", more)
    assert broker.capabilities.durability == backend.capabilities.durability == Durability(durability)
    with backend._database.write() as session:
        level = {"power": 2, "process": 1}[durability]
        assert session.execute("PRAGMA synchronous").fetchone() == (level,)
        assert session.execute("PRAGMA journal_mode").fetchone() == ("wal",)
