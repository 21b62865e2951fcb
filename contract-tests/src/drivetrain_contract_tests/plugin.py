"""The pytest plugin: options, what a check applies to, and the report at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivetrain_contract_tests.clauses import check_of
from drivetrain_contract_tests.contract import Contract
from drivetrain_contract_tests.profiles import PROFILES
from drivetrain_contract_tests.report import Report

__all__: list[str] = []

_REPORT = pytest.StashKey[Report]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the suite's options."""
    group = parser.getgroup("drivetrain contract")
    group.addoption("--contract-profile", choices=sorted(PROFILES), default="default", help="how much is tried")
    group.addoption("--contract-report", type=Path, help="write the report here, as .json or .md")


def pytest_configure(config: pytest.Config) -> None:
    """Begin a report."""
    config.stash[_REPORT] = Report()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Give a check its profile and service, and skip it where its driver does not declare what it needs."""
    contract = getattr(item, "instance", None)
    if isinstance(contract, Contract):
        kind: Any = type(contract)
        kind.profile = PROFILES[item.config.getoption("--contract-profile")]
        if (check := check_of(getattr(item, "function", None))) is not None:
            contract.require(check)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Take note of how a check ended."""
    told: Any = yield
    check = check_of(getattr(item, "function", None))
    if check is not None and (told.when == "call" or told.failed or told.skipped):
        reason = told.longrepr[2] if isinstance(told.longrepr, tuple) else told.longreprtext
        item.config.stash[_REPORT].add(item.cls.__name__, check.clauses, told.outcome, reason)
    return told


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table of clauses, and write it where asked."""
    report = config.stash[_REPORT]
    if not report.rows():
        return
    terminalreporter.section("drivetrain contract")
    terminalreporter.write_line(report.text())
    path = config.getoption("--contract-report")
    if path is not None:
        report.write(path)
