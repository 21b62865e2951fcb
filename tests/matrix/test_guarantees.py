"""``docs/guarantees.md`` goes stale loudly: when drivers, the contract or the kept results are not what it tells."""

import json
import tomllib
from itertools import product
from pathlib import Path

import attrs
import pytest

from drivetrain.app.discovery import Drivers
from drivetrain.contract import DriverContext
from matrix.page import PAGE, backend_declared, broker_declared, table, text
from matrix.pairs import BACKENDS, BROKERS, Pair, named, pairs, why_not
from matrix.results import Matrix, Shown, from_report, lacking, without_place, workflow_clauses
from matrix.run import main

ROOT = Path(__file__).parents[2]
AGAIN = "run `make matrix`, or, where only words have changed, `make matrix ARGS=--page`"

#: As `matrix.places` has them; nobody listens there, and making a driver asks nobody.
URLS = {
    "memory": "memory://one",
    "sqlite": "sqlite:///one.db",
    "redis": "redis://127.0.0.1:1/0?namespace=one",
    "amqp": "amqp://guest:guest@127.0.0.1:1?namespace=one",
    "sqs": "sqs+http://key:word@127.0.0.1:1?namespace=one&region=us-east-1&create=true",
    "mongodb": "mongodb://127.0.0.1:1/drivetrain?namespace=one",
    "memcache": "memcache://127.0.0.1:1/?namespace=one",
}


@pytest.fixture(scope="module")
def kept():
    return Matrix.read()


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """No kept results, and a page that nobody reads."""
    monkeypatch.setattr("matrix.results.FILE", tmp_path / "results.json")
    monkeypatch.setattr("matrix.run.PAGE", tmp_path / "guarantees.md")
    return tmp_path


def shown(**changes):
    told = {"profile": "quick", "verdicts": dict.fromkeys(workflow_clauses(), "pass"), "reasons": {}}
    return Shown(**{**told, "counts": {"lost": 0, "unexpected": 0, "duplicated": 0, "recovered": 3}, **changes})


def claimed(kind):
    """Every driver of this kind in the workspace: its schemes, by the module that its entry points name."""
    found = {}
    for member in (ROOT / "core", *(ROOT / "plugins").iterdir()):
        path = member / "pyproject.toml"
        points = tomllib.loads(path.read_text())["project"].get("entry-points", {}) if path.exists() else {}
        for scheme, module in points.get(f"drivetrain.{kind}s", {}).items():
            found.setdefault(module, set()).add(scheme)
    return found


def test_the_page_is_what_the_results_make_of_it(kept):
    assert PAGE.read_text("utf-8") == text(kept), f"{PAGE} is stale: {AGAIN}"


@pytest.mark.parametrize(("kind", "listed"), [("broker", BROKERS), ("backend", BACKENDS)])
def test_the_matrix_has_every_driver_of_the_workspace(kind, listed):
    found = claimed(kind)
    assert len(found) >= 5
    left_out = [schemes for schemes in found.values() if not schemes & set(listed)]
    assert not left_out, f"these {kind}s are not in tests/matrix/pairs.py: {left_out}"
    assert set(listed) <= set().union(*found.values()), f"pairs.py has {kind}s that no member of the workspace claims"


@pytest.mark.parametrize("pair", pairs(), ids=str)
def test_each_pair_was_run_soundly_for_the_contract_as_it_is(kept, pair):
    assert pair not in lacking(kept), f"no sound result of {pair}: make matrix ARGS=--missing"


def test_nothing_was_lost_unexpected_or_duplicated_and_something_recovered(kept):
    for pair, one in kept.pairs.items():
        assert (one.counts["lost"], one.counts["unexpected"], one.counts["duplicated"]) == (0, 0, 0), pair
        assert one.counts["recovered"] > 0, f"{pair}: no fault was ever put to it"


@pytest.mark.parametrize("scheme", BROKERS)
def test_the_brokers_declare_what_the_page_says(kept, scheme):
    check_declared("broker", scheme, kept)


@pytest.mark.parametrize("scheme", [one for one in BACKENDS if one != "null"])
def test_the_backends_declare_what_the_page_says(kept, scheme):
    check_declared("backend", scheme, kept)


def check_declared(kind, scheme, kept):
    # A driver's scheme may differ from its URL's, as that of sqs+http does.
    driver = getattr(Drivers(DriverContext()), kind)(URLS[scheme])
    now = json.loads(json.dumps(attrs.asdict(driver.capabilities)))
    driver.close()
    told = kept.declared[kind][scheme]
    place = told["store"]
    assert without_place(place, now) == told, f"the page tells old capabilities of the {kind} {scheme}: {AGAIN}"
    back = {"broker": broker_declared, "backend": backend_declared}[kind](told)
    same = {"store": None, **({"receive_wait_seconds": 1.0} if kind == "broker" else {})}
    assert attrs.evolve(back, **same) == attrs.evolve(driver.capabilities, **same)


def test_the_file_names_no_place_and_no_machine(kept, tmp_path):
    kept.write(tmp_path / "again.json")
    written = (tmp_path / "again.json").read_text()
    assert written == (ROOT / "tests/matrix/results.json").read_text()
    assert not [word for word in ("127.0.0.1", "localhost", "/tmp", "/work", "/home") if word in written]


def test_every_pair_is_run_or_has_a_reason_why_not(kept):
    told = text(kept)
    for pair in (Pair(broker, backend) for broker, backend in product(BROKERS, BACKENDS)):
        if pair in pairs():
            assert f"| `{pair.broker}` | `{pair.backend}` |" in told
        else:
            assert f"`{pair}`" in told
            assert why_not(pair) in told


# The generator itself


def test_what_fails_is_shown_and_not_sound():
    pair = named("redis+mongodb")
    failed = shown(
        verdicts={**dict.fromkeys(workflow_clauses(), "pass"), "W3": "fail"}, reasons={"W3": "a member\nwas lost"}
    )
    matrix = Matrix({pair: failed})
    assert not failed.sound
    assert pair in lacking(matrix)
    assert f"{len(workflow_clauses()) - 1}, 1 **failed**" in text(matrix)
    assert "**W3** fail: a member was lost. On `redis+mongodb`." in text(matrix)
    assert "was not run" in text(matrix)  # all others


@pytest.mark.parametrize("name", ["lost", "unexpected", "duplicated"])
def test_what_is_lost_unexpected_or_duplicated_is_not_sound(name):
    assert shown().sound
    assert not shown(counts={"lost": 0, "unexpected": 0, "duplicated": 0, "recovered": 3, name: 1}).sound


def test_a_new_clause_makes_every_result_stale():
    every = {pair: shown() for pair in pairs()}
    assert lacking(Matrix(every)) == []
    older = {clause: verdict for clause, verdict in shown().verdicts.items() if clause != "W20"}
    assert lacking(Matrix({pair: shown(verdicts=older) for pair in pairs()})) == pairs()


def test_a_report_becomes_a_result_and_is_kept(tmp_path):
    rows = [
        {"clause": "W1", "verdict": "pass", "reason": ""},
        {"clause": "W20", "verdict": "not declared", "reason": "not of one store"},
    ]
    drivers = [
        {"kind": "broker", "name": "redis", "capabilities": {"durability": "power", "store": "redis 127.0.0.1:1/0"}},
        {"kind": "backend", "name": "mongodb", "capabilities": {"durability": "power", "store": None}},
    ]
    counts = {"lost": 0, "unexpected": 0, "duplicated": 0, "recovered": 7}
    report = {"profile": "quick", "contracts": [{"rows": rows, "counts": counts, "drivers": drivers}]}
    one, declared = from_report(report)
    pair = named("redis+mongodb")
    Matrix().with_pair(pair, one, declared).write(tmp_path / "kept.json")
    read = Matrix.read(tmp_path / "kept.json")
    assert read.pairs == {pair: one}
    assert one.reasons == {"W20": "not of one store"}
    assert read.declared["broker"] == {"redis": {"durability": "power", "store": "redis"}}
    assert any("redis   mongodb   1" in line and line.endswith("7") for line in table(read))


def test_naming_a_pair():
    with pytest.raises(ValueError, match=r"memory\+redis is not in the matrix: `memory://` lives in one process"):
        named("memory+redis")
    with pytest.raises(ValueError, match=r"there is no pair redis\+cassandra; there are memory\+memory, "):
        named("redis+cassandra")


def test_the_page_alone_is_written_without_running_anything(elsewhere, capsys):
    Matrix({named("redis+mongodb"): shown()}).write(elsewhere / "results.json")
    assert main(["--page"]) == 0
    assert (elsewhere / "guarantees.md").read_text() == text(Matrix.read(elsewhere / "results.json"))
    assert f"redis   mongodb   {len(workflow_clauses())}" in capsys.readouterr().out


def test_a_pair_that_cannot_be_run_is_reported(elsewhere, capfd, monkeypatch):
    monkeypatch.setattr("matrix.run._UNDER_TEST", elsewhere / "nowhere.py")
    assert main(["memory+memory"]) == 1
    assert "memory+memory: there is no sound result" in capfd.readouterr().err
