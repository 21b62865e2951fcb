"""The pytest plugin: options, what a check applies to, and the report at the end.

It is loaded in every run of pytest wherever the suite is installed, so it imports the suite only once a test file has.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from drivetrain_contract_tests.report import Report
from drivetrain_contract_tests.report_plugin import Gathering

if TYPE_CHECKING:
    from drivetrain_contract_tests.contract import Contract
    from drivetrain_contract_tests.profiles import Profile

__all__: list[str] = []

# So that a failing check shows its values.
pytest.register_assert_rewrite(
    *(f"drivetrain_contract_tests.{name}" for name in ("brokers", "backends", "values", "locks", "serializers")),
    *(f"drivetrain_contract_tests.{name}" for name in ("retry_policies", "workflows")),
)

_REPORT = pytest.StashKey[Report]()
#: The classes that this process has described already.
_TOLD = pytest.StashKey[set[str]]()
#: Where the word of a check travels, from a process that runs tests to the one that reports.
_WORD = "drivetrain_contract"
#: From ``-vv`` on, a failing check shows pytest's own traceback.
_TRACEBACK_VERBOSITY = 2


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the suite's options."""
    group = parser.getgroup("drivetrain contract")
    profiles = ("quick", "default", "thorough")
    group.addoption("--contract-profile", choices=profiles, default="default", help="how much is tried")
    group.addoption("--contract-seed", type=int, help="what random choices are drawn from; printed by each run")
    report = "write the report here too, as JSON or (.md) Markdown; may be given several times"
    group.addoption("--contract-report", type=Path, action="append", default=[], metavar="FILE", help=report)
    for kind in ("broker", "backend"):
        told = f"the URL of the {kind} that drivetrain_contract_tests.suite tests, with {{namespace}} in it"
        group.addoption(f"--contract-{kind}", metavar="URL", help=told)


def pytest_configure(config: pytest.Config) -> None:
    """Begin a report."""
    given = config.getoption("--contract-seed")
    sent = getattr(config, "workerinput", {}).get(_WORD)
    seed = next((one for one in (given, sent) if one is not None), secrets.randbelow(2**32))
    report = config.stash[_REPORT] = Report(str(config.getoption("--contract-profile")), seed)
    config.stash[_TOLD] = set()
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Gathering(report, config.getoption("--contract-report") or [], _WORD))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand the seed to a process of pytest-xdist."""
    node.workerinput[_WORD] = node.config.stash[_REPORT].seed


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(obj: object) -> Iterator[None]:
    """Refuse a class that has put something else in place of what it inherits; checks are `Contract.left_out`'s."""
    kind = _contract(obj)
    if kind is not None and (tampered := kind.tampered()):
        raise pytest.Collector.CollectError(
            f"{kind.__name__} overrides or deletes {', '.join(tampered)}: a driver's author inherits and adds nothing"
        )
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Give a class of checks its profile."""
    if (kind := _contract_of(item)) is not None:
        kind.profile = _profile(item.config)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Draw from the seed, and skip a check where its driver does not declare what it needs."""
    kind: Any = _contract_of(item)
    if kind is None:
        return (yield)
    from drivetrain_contract_tests.reaching import must_be_usable, taking_turns

    _, check = kind.checks().get(_name(item), (None, None))
    run = getattr(item.config, "workerinput", {}).get("testrunuid")
    turns = nullcontext() if run is None else taking_turns(kind, run, alone=check is not None and check.restarts)
    with kind.profile.seeded(), turns:
        if check is not None:
            must_be_usable(kind)
            item.instance.require(check)  # type: ignore[attr-defined]
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Send word of how a check ended along with its report, which pytest-xdist carries to where it is gathered."""
    told: Any = yield
    kind = _contract_of(item)
    if kind is not None and _name(item) in kind.checks() and (told.when == "call" or told.outcome != "passed"):
        from drivetrain_contract_tests import check_result
        from drivetrain_contract_tests.failure import text_of

        setattr(told, _WORD, check_result.word(item, kind, told, call, item.config.stash[_TOLD]))
        if told.failed:
            again = f"--contract-profile {kind.profile.name} --contract-seed {kind.profile.seed}"
            told.sections.append(("drivetrain contract", f"the same again: pytest {again} {item.nodeid}"))
            if told.when == "call" and call.excinfo is not None and item.config.get_verbosity() < _TRACEBACK_VERBOSITY:
                function, check = kind.checks()[_name(item)]
                script = item.instance.transcript.script()  # type: ignore[attr-defined]
                told.longrepr = text_of(check, function, _name(item), call.excinfo.value, script)
    return told


def _name(item: pytest.Item) -> str:
    return getattr(item, "originalname", item.name)


def _contract_of(item: pytest.Item) -> type[Contract] | None:
    return _contract(getattr(item, "cls", None))


def _contract(kind: object) -> type[Contract] | None:
    module = sys.modules.get("drivetrain_contract_tests.contract")
    is_one = module is not None and isinstance(kind, type) and issubclass(kind, module.Contract)
    return kind if is_one else None  # type: ignore[return-value]


def _profile(config: pytest.Config) -> Profile:
    from attrs import evolve

    from drivetrain_contract_tests.profiles import PROFILES

    report = config.stash[_REPORT]
    return evolve(PROFILES[report.profile], seed=report.seed)
