"""The frame of the suite: which checks there are, which of them are run, and what is reported of them."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner

import drivetrain_contract_tests
from drivetrain.contract import evolve
from drivetrain_contract_tests import PROFILES, Service, clauses
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.command import main
from drivetrain_contract_tests.comparing import assert_same
from drivetrain_contract_tests.contract import Contract, NotDeclared, NotRun
from drivetrain_contract_tests.report import SCHEMA, Report

CONTRACTS = [
    getattr(drivetrain_contract_tests, name) for name in drivetrain_contract_tests.__all__ if name.endswith("Contract")
]

#: A serializer's contract is the quickest to hold: no service, no waiting.
HEAD = """
import json
import pytest
from drivetrain.contract import SerializationError
from drivetrain.drivers.json import JsonSerializer
from drivetrain_contract_tests import SerializerContract

class Broken(JsonSerializer):
    content_type = "broken"
"""


class Outcome:
    """A run of pytest in a process of its own."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        path = directory / "contract-report.json"
        command = [sys.executable, "-m", "pytest", "-c", "pytest.ini", "-p", "no:cacheprovider"]
        asked = ("--contract-profile=quick", f"--contract-report={path}")
        done = subprocess.run(
            [*command, *asked, *arguments], cwd=directory, capture_output=True, text=True, check=False, timeout=100
        )
        self.code, self.said = done.returncode, done.stdout + done.stderr
        self.document = json.loads(path.read_text()) if path.exists() else {"contracts": []}

    def contract(self, test: str):
        """What is said of one class."""
        return next(one for one in self.document["contracts"] if one["test"] == test)

    def row(self, clause: str, test: str = "TestIt"):
        """What is said of one clause."""
        return next(row for row in self.contract(test)["rows"] if row["clause"] == clause)


@pytest.fixture
def certify(tmp_path):
    """Run pytest on a file that a driver's author might write."""

    def certify(code: str, *arguments: str) -> Outcome:
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        (tmp_path / "test_it.py").write_text(HEAD + textwrap.dedent(code))
        return Outcome(tmp_path, *arguments)

    return certify


# Clauses and checks


def test_every_clause_is_held_by_a_check():
    held = {number for kind in CONTRACTS for _, check in kind.checks().values() for number in check.clauses}
    assert [number for number in clauses() if number not in held] == []


@pytest.mark.parametrize("kind", CONTRACTS, ids=lambda kind: kind.__name__)
def test_every_check_cites_a_clause(kind):
    tests = [name for name in dir(kind) if name.startswith("test_") and name != "test_no_check_is_left_out"]
    assert [name for name in tests if name not in kind.checks()] == []
    assert [name for name, (_, check) in kind.checks().items() if not check.clauses] == []


@pytest.mark.parametrize("kind", CONTRACTS, ids=lambda kind: kind.__name__)
def test_every_check_says_what_it_checks(kind):
    assert [name for name, (function, _) in kind.checks().items() if not function.__doc__] == []


def test_a_clause_that_is_not_there_cannot_be_cited():
    with pytest.raises(KeyError):
        holds("B4711")


def test_the_clauses_are_numbered_without_a_gap():
    numbers: dict[str, list[int]] = {}
    for number in clauses():
        numbers.setdefault(number[0], []).append(int(number[1:]))
    assert all(sorted(found) == list(range(1, len(found) + 1)) for found in numbers.values())
    assert set(numbers) == set("BRVLWTFSP")


# What is run


class Capable(Contract):
    """A contract of one check, for a driver that declares what is said here."""

    __module__ = "drivetrain_contract_tests.capable"
    told: object = None

    def declared(self):
        return self.told

    @holds("B35", needs="lists_queues")
    def test_lists(self):
        """Needs a capability."""
        self.warn_undeclared("ordered", "it came in order")
        self.report_counts(lost=1)
        self.report_counts(recovered=2)

    @holds("B40", restarts=True)
    def test_restarts(self):
        """Needs a service that can be stopped."""


def capabilities(**given):
    from drivetrain.contract import BrokerCapabilities, Durability

    return BrokerCapabilities(durability=Durability.NONE, **given)


def test_a_check_is_skipped_only_by_a_capability():
    Capable.told = capabilities()
    with pytest.raises(NotDeclared, match="not declared: lists_queues"):
        Capable.run_check("test_lists", Service(), PROFILES["quick"])
    with pytest.raises(NotRun, match="cannot be stopped"):
        Capable.run_check("test_restarts", Service(), PROFILES["quick"])


def test_a_check_reports_its_other_findings():
    Capable.told = capabilities(lists_queues=True)
    found = Capable.run_check("test_lists", Service(), PROFILES["quick"])
    assert [one.capability for one in found.undeclared] == ["ordered"]
    assert (found.counts.lost, found.counts.recovered) == (1, 2)


def test_the_same_seed_makes_the_same_choices():
    from hypothesis import given
    from hypothesis import strategies as st

    def drawn(seed):
        profile, seen = evolve(PROFILES["quick"], seed=seed), []

        @profile.settings()
        @given(st.integers())
        def draw(number):
            seen.append(number)

        with profile.seeded():
            draw()
        return seen

    assert drawn(1) == drawn(1) != drawn(2)


def test_profiles_of_hypothesis_do_not_change_the_examples():
    import hypothesis

    before, name = repr(PROFILES["quick"].settings()), hypothesis.settings.get_current_profile_name()
    hypothesis.settings.register_profile(
        "contrary",
        max_examples=1,
        stateful_step_count=1,
        derandomize=True,
        database=None,
        deadline=1,
        print_blob=False,
        report_multiple_bugs=False,
        verbosity=hypothesis.Verbosity.quiet,
        phases=[],
        suppress_health_check=[],
    )
    hypothesis.settings.load_profile("contrary")
    try:
        assert repr(PROFILES["quick"].settings()) == before
    finally:
        hypothesis.settings.load_profile(name)


def test_a_long_difference_is_reported_in_one_line():
    numbers = list(range(100_000))
    assert_same(numbers, tuple(numbers), "the numbers")
    with pytest.raises(
        AssertionError, match="the numbers: at place 7 is 8 and should be 7; they are 99999 and should be"
    ):
        assert_same([*numbers[:7], *numbers[8:]], numbers, "the numbers")
    with pytest.raises(AssertionError, match="at place 2 is nothing and should be 3"):
        assert_same([1, 2], [1, 2, 3], "the numbers")


def test_a_failing_check_shows_its_values(certify):
    outcome = certify(
        """
        from drivetrain_contract_tests import BackendContract, Service
        from drivetrain.drivers.memory import MemoryBackend

        class Forgets(MemoryBackend):
            def load_bodies(self, keys):
                return [None for _ in keys]

        @pytest.fixture(scope="session")
        def backend_service():
            return Service(backend_maker=lambda url, context: Forgets("", context.clock))

        class TestIt(BackendContract):
            pass
        """,
        "-k",
        "bodies_are_kept_until",
    )
    assert outcome.code == 1
    assert "assert [None, None, None] == [b'2', b'1', b'']" in outcome.said


def test_an_overridden_or_deleted_check_fails(certify):
    outcome = certify(
        """
        class TestIt(SerializerContract):
            serializer = "json"
            test_threads_do_not_meet = None

            def test_large_and_deep_values_come_back_as_they_were(self):
                pass
        """,
        "-k",
        "large_and_deep or threads or left_out",
    )
    assert outcome.code == 1
    assert "overridden or deleted: test_large_and_deep" in outcome.said
    assert "test_threads_do_not_meet" in outcome.said
    assert outcome.row("S1")["verdict"] == "fail"
    assert outcome.row("S5")["verdict"] == "not run"


def test_a_check_that_is_expected_to_fail_is_neither_a_failure_nor_a_pass(certify):
    outcome = certify(
        """
        class TestIt(SerializerContract):
            serializer = Broken()

            @pytest.mark.xfail(strict=True, reason="issue 12")
            def test_the_content_type_is_a_media_type_and_constant(self):
                super().test_the_content_type_is_a_media_type_and_constant()
        """,
        "-k",
        "content_type",
    )
    assert outcome.code == 0, outcome.said
    assert outcome.row("S4")["verdict"] == "fail"
    assert outcome.row("S4")["reason"] == "known to fail: issue 12"


@pytest.mark.parametrize("mark", ["xfail(reason='flaky')", "xfail(strict=True)", "skip(reason='slow')"])
def test_no_other_mark_lets_a_check_be_overridden(mark, certify):
    outcome = certify(
        f"""
        class TestIt(SerializerContract):
            serializer = Broken()

            @pytest.mark.{mark}
            def test_the_content_type_is_a_media_type_and_constant(self):
                super().test_the_content_type_is_a_media_type_and_constant()
        """,
        "-k",
        "content_type or left_out",
    )
    assert outcome.code == 1
    assert outcome.row("S4")["verdict"] in {"fail", "not run"}


@pytest.mark.parametrize("how", ["test_no_check_is_left_out = None", "require = lambda self, check: pytest.skip()"])
def test_the_frame_cannot_be_overridden(how, certify):
    outcome = certify(
        f"""
        class TestIt(SerializerContract):
            serializer = "json"
            test_threads_do_not_meet = None
            {how}
        """
    )
    assert outcome.code != 0
    assert f"TestIt overrides or deletes {how.split()[0]}" in outcome.said


# The report


def test_what_fails_is_shown_and_the_run_fails(certify):
    outcome = certify("class TestIt(SerializerContract):\n    serializer = Broken()")
    assert outcome.code == 1
    assert "TestIt: 4 pass, 1 fail" in outcome.said
    assert "S4: 'broken' is not a media type" in outcome.said
    assert "--contract-seed" in outcome.said
    assert outcome.document["failed"]
    assert outcome.row("S4")["checks"] == {"test_the_content_type_is_a_media_type_and_constant": "fail"}


def test_the_report_names_the_tested_drivers_and_their_versions(certify):
    outcome = certify('class TestIt(SerializerContract):\n    serializer = "json"', "--contract-seed=7", "-v")
    document = outcome.document
    assert (document["schema"], document["profile"], document["seed"]) == (SCHEMA, "quick", 7)
    assert document["suite"]["distribution"] == "drivetrain-contract-tests"
    assert document["core"]["distribution"] == "drivetrain"
    told = outcome.contract("TestIt")
    assert told["contract"] == "SerializerContract"
    assert told["summary"] == {"pass": 5, "fail": 0, "not declared": 0, "not run": 0}
    [driver] = told["drivers"]
    assert (driver["name"], driver["distribution"]) == ("json", "drivetrain")
    assert "S3: Loading executes nothing" in outcome.said, "with -v, every clause is shown"


def test_what_was_left_out_of_a_run_is_not_passed(certify):
    outcome = certify('class TestIt(SerializerContract):\n    serializer = "json"', "-k", "edges or threads")
    assert outcome.row("S1")["verdict"] == "not run", "others of its checks were not run"
    assert outcome.row("S1")["reason"] == "it was left out of this run; its other checks have passed"
    assert outcome.row("S2")["verdict"] == "not run"
    assert outcome.row("S5")["verdict"] == "pass"


def test_a_skip_of_the_author_s_is_not_passed(certify):
    outcome = certify(
        """
        @pytest.fixture
        def serializer(request):
            pytest.skip("no server here")

        class TestIt(SerializerContract):
            @pytest.fixture(autouse=True)
            def needs_a_server(self):
                pytest.skip("no server here")

            serializer = "json"
        """
    )
    assert outcome.contract("TestIt")["summary"]["not run"] == 5
    assert outcome.row("S1")["reason"] == "in setup: no server here"


def test_a_broken_factory_is_a_failure(certify):
    outcome = certify(
        """
        @pytest.fixture(scope="session")
        def serializer():
            raise OSError("no such server")

        class TestIt(SerializerContract):
            pass
        """
    )
    assert outcome.code == 1
    assert outcome.contract("TestIt")["summary"]["fail"] == 5
    assert outcome.row("S1")["reason"] == "in setup: OSError: no such server"


def test_a_factory_that_is_missing_is_a_failure(certify):
    outcome = certify("class TestIt(SerializerContract):\n    pass")
    assert outcome.code == 1
    assert outcome.contract("TestIt")["summary"]["fail"] == 5


def test_the_report_is_gathered_from_several_processes(certify):
    outcome = certify(
        """
        class TestIt(SerializerContract):
            serializer = "json"

        class TestOther(SerializerContract):
            serializer = Broken()
        """,
        "-n2",
        "--contract-seed=7",
    )
    assert outcome.contract("TestIt")["summary"]["pass"] == 5, outcome.said
    assert outcome.contract("TestOther")["summary"] == {"pass": 4, "fail": 1, "not declared": 0, "not run": 0}
    assert outcome.said.count("TestIt: 5 pass") == 1


def test_a_report_in_markdown(certify, tmp_path):
    certify('class TestIt(SerializerContract):\n    serializer = "json"', f"--contract-report={tmp_path / 'told.md'}")
    lines = (tmp_path / "told.md").read_text().splitlines()
    assert lines[0] == "# Contract report"
    assert "## TestIt: 5 pass" in lines
    assert "| S4 | ✔ pass | The content type is constant, and a media type. |  |" in lines


def word(check="test_lists", verdict="pass", reason="", **findings):
    checks = {"test_lists": ["B35"], "test_too": ["B35"]}
    about = {"contract": "BrokerContract", "checks": checks, "drivers": []}
    told = {"check": check, "verdict": verdict, "reason": reason, "findings": findings, "about": about}
    return {"class": "a.py::TestA", "test": "TestA", **told}


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("pass", "pass", "pass"),
        ("pass", "not declared", "pass"),
        ("not declared", "not declared", "not declared"),
        ("pass", "not run", "not run"),
        ("not declared", "not run", "not run"),
        ("pass", "fail", "fail"),
        ("not run", "fail", "fail"),
    ],
)
def test_the_verdict_of_several_checks_of_a_clause(one, other, together):
    report = Report()
    report.add(word(verdict=one, reason=one))
    report.add(word("test_too", verdict=other, reason=other))
    [row] = report.certificates[0].rows()
    assert row.verdict == together


def test_counts_and_warnings_add_up():
    report = Report()
    counts = {"lost": 0, "unexpected": 0, "duplicated": 1, "recovered": 2}
    warning = {"capability": "ordered", "told": "it came in order"}
    for check in ("test_lists", "test_too"):
        report.add(word(check, counts=counts, undeclared=[warning]))
    document = report.document()["contracts"][0]
    assert document["counts"] == {"lost": 0, "unexpected": 0, "duplicated": 2, "recovered": 4}
    assert document["warnings"] == [warning]


def test_pytest_pays_nothing_where_no_driver_is_tested(tmp_path):
    (tmp_path / "test_other.py").write_text(
        "import sys\n\ndef test_it():\n    assert not {'hypothesis.core', 'drivetrain'} & set(sys.modules)\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    outcome = Outcome(tmp_path, "-p", "no:hypothesispytest", "-p", "no:schemathesis")
    assert outcome.code == 0, outcome.said
    assert "drivetrain contract" not in outcome.said


# The command


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("drivetrain-contract")
    return subprocess.run([program, *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=110)


@pytest.mark.slow
def test_the_command_certifies_memory(tmp_path, request):
    if request.config.getoption("--contract-profile") == "quick":
        pytest.skip("takes a minute: run by make test CONTRACT=default")
    # Somebody else's settings of pytest are none of its business.
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    done = command(
        "--backend", "memory://{namespace}", "--profile", "quick", "--seed", "3", "--report", "told.json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads((tmp_path / "told.json").read_text())
    told = {one["contract"]: one["summary"] for one in document["contracts"]}
    assert document["seed"] == 3
    assert [summary["fail"] for summary in told.values()] == [0, 0, 0]
    assert told["BackendContract"]["pass"] > 30
    assert told["ValueContract"]["pass"] >= 9, "V3 and V10 are not run whole: nobody can restart it"
    assert told["LockContract"]["pass"] >= 5, "L5 is not run whole: nobody can restart it"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pytest.ini", "told.json"], "it leaves nothing behind"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "say what to test"),
        (["--broker", "memory://"], "as the option that keeps"),
        (["--broker", "memory://"], "memory://{namespace}"),
        (["--backend", "sqlite:///work.db"], "sqlite:///some/directory/{namespace}.db"),
        (["--broker", "zoo://user:hunter2@h/{namespace}"], "no installed package serves zoo://"),
        (
            ["--broker", "memory://{namespace}", "--certify", "no_such_package"],
            "the package 'no_such_package' is not installed",
        ),
        (["--broker", "nonsense{namespace}"], "not a driver URL"),
    ],
)
def test_the_command_names_the_missing_parts(arguments, told, tmp_path):
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert told in " ".join(done.stderr.split())
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(("code", "written"), [(0, True), (1, False)])
def test_a_driver_that_has_passed_is_certified_in_its_package(code, written, tmp_path, monkeypatch):
    """The report lies where the wheel ships it, and only where no clause has failed."""
    (tmp_path / "mine_driver").mkdir()
    (tmp_path / "mine_driver" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)

    def run(arguments):
        paths = [each.partition("=")[2] for each in arguments if each.startswith("--contract-report=")]
        Path(paths[-1]).write_text("{}")
        return code

    monkeypatch.setattr("drivetrain_contract_tests.command._run", run)
    arguments = ["--broker", "memory://{namespace}", "--certify", "mine_driver"]
    assert CliRunner().invoke(main, arguments).exit_code == code
    assert (tmp_path / "mine_driver" / "contract-report.json").exists() is written
