"""The word of a check: how it ended, as plain values, so that it can be sent from process to process."""

from __future__ import annotations

from typing import Any

import pytest

from drivetrain_contract_tests.contract import Contract, NotDeclared
from drivetrain_contract_tests.failure import reason_of
from drivetrain_contract_tests.report import Ended

__all__ = ["word"]

_LONGEST_REASON = 300


def word(
    item: Any, kind: type[Contract], report: pytest.TestReport, call: pytest.CallInfo[None], known: set[str]
) -> dict[str, Any]:
    """What `drivetrain_contract_tests.report.Report.add` takes.

    Args:
        item: the check, as pytest has it.
        kind: its class.
        report: the report of pytest.
        call: the phase that has ended.
        known: the classes that this process has described already; this one is added.
    """
    name = getattr(item, "originalname", item.name)
    ended = _ended(kind, name, report, call)
    return {
        "class": item.parent.nodeid,
        "test": kind.__name__,
        "check": name,
        "verdict": ended.verdict,
        "reason": ended.reason,
        "findings": item.instance.findings.document() if getattr(item, "instance", None) else {},
        "about": _about(item.parent.nodeid, kind, known),
    }


def _about(name: str, kind: type[Contract], known: set[str]) -> dict[str, Any] | None:
    if name in known:
        return None
    try:
        drivers = [subject.document() for subject in kind.subjects()]
    except Exception:  # noqa: BLE001  its author's factory is broken: every check says so
        drivers = []
    else:
        known.add(name)
    checks = {check: list(said.clauses) for check, (_, said) in kind.checks().items()}
    return {"contract": _standard(kind).__name__, "checks": checks, "drivers": drivers}


def _standard(kind: type[Contract]) -> type:
    """The contract that an author's class is a child of; the suite's own files are authors too."""
    return next(
        one
        for one in kind.__mro__
        if one.__module__.startswith("drivetrain_contract_tests.") and ".suite." not in one.__module__
    )


def _ended(kind: type[Contract], name: str, report: pytest.TestReport, call: pytest.CallInfo[None]) -> Ended:
    if report.outcome == "skipped":
        return _skipped(report, call)
    if report.outcome == "failed":
        function, _ = kind.checks().get(name, (None, None))
        return Ended("fail", _reason(report, call, _one_line(function.__doc__ or "") if function else ""))
    if name in kind.left_out():
        return Ended("fail", "the standard check was overridden")
    return Ended("pass")


def _skipped(report: pytest.TestReport, call: pytest.CallInfo[None]) -> Ended:
    if (reason := getattr(report, "wasxfail", None)) is not None:
        return Ended("fail", f"known to fail: {reason.removeprefix('reason: ')}")
    declared = call.excinfo is not None and call.excinfo.errisinstance(NotDeclared)
    return Ended("not declared" if declared else "not run", _reason(report, call).removeprefix("Skipped: "))


def _reason(report: pytest.TestReport, call: pytest.CallInfo[None], about: str = "") -> str:
    if call.excinfo is None:
        return _one_line(report.longreprtext)
    error = call.excinfo.value
    if isinstance(error, (pytest.skip.Exception, pytest.fail.Exception)):
        said = _one_line(str(error)) or "without a message"
    else:
        said = reason_of(error, about)[:_LONGEST_REASON]
    return said if report.when == "call" else f"in {report.when}: {said}"


def _one_line(text: str) -> str:
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return first[:_LONGEST_REASON]
