"""Every driver can be certified, and a wheel ships its report where `drivetrain drivers` looks for it."""

import json
import tomllib

import pytest

from certify import run
from certify.run import DRIVERS, ROOT, main, merged, place_of
from drivetrain.app.contract_report import contract_report


def report(scheme, kind, failed=0):
    driver = {"kind": kind, "name": scheme, "version": "0.1.0"}
    summary = {"pass": 30, "fail": failed, "not declared": 2, "not run": 0}
    contract = {"summary": summary, "drivers": [driver]}
    told = {"schema": "drivetrain-contract-report/1", "suite": {"version": "0.1.0"}, "profile": "default"}
    return {**told, "contracts": [contract]}


@pytest.fixture
def member(monkeypatch, tmp_path):
    """Core, with another place for its report, and a run that tells what this returns for a scheme."""
    place = tmp_path / "contract-report.json"
    monkeypatch.setattr(run, "place_of", lambda member: place)
    monkeypatch.setattr(run, "ROOT", tmp_path)
    told = {}
    monkeypatch.setattr(run, "_report", lambda scheme, kinds, profile: told.get(scheme))
    return place, told


class Installed:
    """A distribution that ships one file."""

    def __init__(self, path):
        self.files = [path]


def test_the_written_report_is_the_shown_one(member):
    place, told = member
    told |= {"memory": report("memory", "broker"), "sqlite": report("sqlite", "backend")}
    assert main(["core"]) == 0
    assert str(contract_report(Installed(place), "broker", "memory")) == "30 pass, 2 not declared"
    assert str(contract_report(Installed(place), "backend", "sqlite")) == "30 pass, 2 not declared"
    assert contract_report(Installed(place), "broker", "redis") is None


def test_no_report_is_written_for_a_failed_run(member, capsys):
    place, told = member
    told |= {"memory": report("memory", "broker")}
    assert main(["core"]) == 1
    assert not place.exists()
    assert "not certified: core" in capsys.readouterr().out


def test_a_report_of_several_runs_has_the_contracts_of_all():
    both = merged([report("memory", "broker"), report("sqlite", "broker")])
    assert [one["drivers"][0]["name"] for one in both["contracts"]] == ["memory", "sqlite"]
    json.dumps(both)


@pytest.mark.parametrize("member", DRIVERS)
def test_every_driver_of_a_member_is_certified_and_nothing_that_it_is_not(member):
    """By its first scheme; ``null`` keeps nothing, so there is nothing to hold it to."""
    points = tomllib.loads((ROOT / member / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
    kinds = {
        "TestBroker": "drivetrain.brokers",
        "TestBackend": "drivetrain.backends",
        "TestValues": "drivetrain.backends",
        "TestLocks": "drivetrain.backends",
    }
    for scheme, contracts in DRIVERS[member].items():
        assert {kinds[contract] for contract in contracts} == {
            group for group in set(kinds.values()) if scheme in points.get(group, {})
        }
    modules = {
        point
        for group in set(kinds.values())
        for name, point in points.get(group, {}).items()
        if name not in DRIVERS[member]
    }
    known = {points[group][scheme] for scheme in DRIVERS[member] for group in set(kinds.values()) & points.keys()}
    assert modules - known <= {"drivetrain.drivers.null"}
    assert place_of(member).parent.is_dir()


def drives(project):
    points = tomllib.loads(project.read_text("utf-8"))["project"].get("entry-points", {})
    return any(kind in points for kind in ("drivetrain.brokers", "drivetrain.backends"))


def test_no_member_is_forgotten():
    """A package that only observes has no contract to be held to."""
    members = {
        "core",
        *(f"plugins/{path.parent.name}" for path in ROOT.glob("plugins/*/pyproject.toml") if drives(path)),
    }
    assert set(DRIVERS) == members
