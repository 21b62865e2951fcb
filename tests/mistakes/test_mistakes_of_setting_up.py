"""The mistakes that are made first, in URLs, settings and commands: what was wrong, with which value, what to do."""

import subprocess
import sys
from pathlib import Path

import importlib_metadata
import pytest

from drivetrain import (
    AmbiguousDriver,
    App,
    AuthenticationFailed,
    ConfigurationError,
    DriverBroken,
    DriverNotFound,
    ServiceUnavailable,
)
from drivetrain.app import entry_points
from drivetrain.cli.exit_codes import Exit
from services.processes import free_port
from services.redis import RedisServer

SECRET = "hunter2"
PROGRAM = Path(sys.executable).with_name("drivetrain")


def says(error, *words):
    """Every one of these words is in the message, and no secret."""
    text = str(error.value)
    assert [word for word in words if word not in text] == [], text
    assert SECRET not in text


def ready(url, backend=None, **settings):
    with App(url, backend, **settings) as app:
        return app.runtime


# URLs and drivers


def test_a_misspelt_scheme():
    with pytest.raises(DriverNotFound) as error:
        ready(f"sqllite://user:{SECRET}@h/x")
    says(error, "sqllite://", "did you mean sqlite?", "installed: ", "memory")


def test_no_scheme_at_all():
    with pytest.raises(ConfigurationError) as error:
        App("localhost:6379")
    says(error, "broker is 'localhost:6379'", "URL like scheme://…")


@pytest.fixture
def core_alone(monkeypatch):
    """As if nothing but core were installed."""
    everything = importlib_metadata.distributions
    entry_points._read.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(
            importlib_metadata, "distributions", lambda: [found for found in everything() if found.name == "drivetrain"]
        )
        yield
    entry_points._read.cache_clear()


@pytest.mark.parametrize("scheme", ["redis", "amqp", "sqs"])
def test_a_package_that_is_not_installed(scheme, core_alone):
    with pytest.raises(DriverNotFound) as error:
        ready(f"{scheme}://user:{SECRET}@h", "memory://")
    says(error, f"{scheme}://", f"pip install drivetrain-{scheme}")


def test_a_broker_where_a_backend_is_needed():
    with pytest.raises(ConfigurationError) as error:
        ready(f"amqp://user:{SECRET}@h")
    says(error, "amqp://***@h stores no results", "backend=", "null://")


def test_a_url_with_a_wrong_option():
    with pytest.raises(ConfigurationError) as error:
        ready("sqlite:///x.db?syncronous=full")
    says(error, "'syncronous'", "synchronous")


def test_a_driver_that_cannot_be_imported(monkeypatch, tmp_path):
    install(tmp_path, monkeypatch, "fake-broken", "import a_client_that_is_missing")
    with pytest.raises(DriverBroken) as error:
        ready(f"fake://user:{SECRET}@h", "memory://")
    says(error, "'fake' of fake-broken 1.0", "a_client_that_is_missing", "pip install --force-reinstall fake-broken")
    assert ready("memory://") is not None, "and nobody else is hurt"


def test_two_drivers_of_one_scheme(monkeypatch, tmp_path):
    for name in ("fake-one", "fake-two"):
        install(tmp_path / name, monkeypatch, name, "")
    with pytest.raises(AmbiguousDriver) as error:
        ready("fake://h", "memory://")
    says(error, "fake-one 1.0", "fake-two 1.0", 'drivers = {"fake": ')


def install(directory, monkeypatch, name, code):
    """A distribution with a broker for ``fake://``."""
    module = name.replace("-", "_")
    metadata = directory / f"{module}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[drivetrain.brokers]\nfake = {module}\n")
    (directory / f"{module}.py").write_text(code)
    monkeypatch.syspath_prepend(directory)


# Settings


@pytest.mark.parametrize("where", ["code", "environment", "file"])
def test_a_setting_that_is_not_there(where, monkeypatch, tmp_path):
    place = "argument"
    if where == "environment":
        place = "DRIVETRAIN_CONCURENCY"
        monkeypatch.setenv(place, "3")
    if where == "file":
        (tmp_path / "shop.toml").write_text("concurency = 3\n")
        place = "shop.toml"
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("DRIVETRAIN_CONFIG", place)
    with pytest.raises(ConfigurationError) as error:
        App("memory://", **({"concurency": 3} if where == "code" else {}))
    says(error, f"{place}: 'concurency' is not a setting", "did you mean 'concurrency'?")


def test_a_setting_of_the_wrong_type():
    with pytest.raises(ConfigurationError) as error:
        App("memory://", concurrency="many")
    says(error, "concurrency is 'many'", "must be a whole number")


def test_a_file_of_settings_that_is_not_there():
    with pytest.raises(ConfigurationError) as error:
        App(config="nowhere.toml")
    says(error, "nowhere.toml", "cannot be read")


def test_a_serializer_that_there_is_not():
    with pytest.raises(DriverNotFound) as error:
        ready("memory://", serializer="pickle")
    says(error, "serializer 'pickle'", "installed: json")


# Services


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_server_that_does_not_run(scheme):
    port = free_port()
    app = App(f"{scheme}://user:{SECRET}@127.0.0.1:{port}", "memory://", send_seconds=0.1)
    with app, pytest.raises(ServiceUnavailable) as error:
        app.send(app.signature("task"))
    says(error, f"127.0.0.1:{port}", "refused")
    [note] = error.value.__notes__
    assert note.startswith("publish: failed ")
    assert note.endswith("check that the service runs and that the URL is right")


def test_a_wrong_password(tmp_path):
    server = RedisServer(tmp_path, durable=False, options=("--requirepass", "right"), password="right")
    server.process.start()
    try:
        with App(f"redis://:{SECRET}@127.0.0.1:{server.port}") as app, pytest.raises(AuthenticationFailed) as error:
            app.send(app.signature("task"))
        says(error, f"127.0.0.1:{server.port}", "password")
    finally:
        server.process.kill()


# Commands


@pytest.fixture
def shop(tmp_path):
    """A project with an app, in a directory of its own."""
    (tmp_path / "shop.py").write_text("from drivetrain import App\napp = App('memory://')\nprice = 3\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("worker shp:app", ("no module 'shp'", "did you mean shop?")),
        ("worker shop:ap", ("'shop' has no 'ap'", "did you mean shop:app?")),
        ("worker shop:price", ("shop:price is not a drivetrain.App", "type int", "shop:app")),
        ("worker shop.py", ("'shop.py' does not name an app", "use module:app")),
        ("worker", ("no app given", "MODULE:APP", "DRIVETRAIN_APP")),
        ("worker shop:app --queus x", ("'--queus'", "'--queues'")),
        ("worker shop:app --processes 2", ("lives in one process", "several worker processes cannot share it")),
        ("wroker shop:app", ("'wroker'", "'worker'")),
        ("cancel x", ("no app and no broker given", "--app module:app", "DRIVETRAIN_BROKER")),
        ("--app shop:app dead list defualt", ("there is no queue 'defualt'", "did you mean default?")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_command_that_cannot_be_done(shop, arguments, words):
    done = subprocess.run(
        [PROGRAM, *arguments.split()], cwd=shop, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode in {Exit.USAGE, Exit.NOT_FOUND}
    assert [word for word in words if word not in done.stderr] == [], done.stderr
    assert "Traceback" not in done.stderr
