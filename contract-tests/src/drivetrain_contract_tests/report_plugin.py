"""The report at the end of a run of pytest."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivetrain_contract_tests.markdown import summary
from drivetrain_contract_tests.report import ContractReport, Report, Row

__all__ = ["Gathering"]

_COLOURS = {"fail": {"red": True}, "pass": {"green": True}, "not run": {"yellow": True}, "not declared": {}}


class Gathering:
    """A pytest plugin for the process that gathers: prints the report, and writes it where asked."""

    def __init__(self, report: Report, paths: list[Path], word: str) -> None:
        self._report, self._paths, self._word = report, paths, word

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take note of how a check ended."""
        told = getattr(report, self._word, None)
        if told is not None:
            self._report.add(told)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Write the report."""
        for path in self._paths if self._report else ():
            self._report.write(path)

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        """Print the report: a line for each class, and what is not passed; all clauses with ``-v``."""
        if not self._report:
            return
        terminalreporter.section("drivetrain contract")
        for certificate in self._report.certificates:
            _print(
                certificate, terminalreporter, config.get_terminal_writer().fullwidth, whole=config.get_verbosity() > 0
            )
        self._print_end(terminalreporter)

    def _print_end(self, terminal: Any) -> None:
        for path in self._paths:
            terminal.write_line(f"written to {path}")
        again = f"--contract-profile {self._report.profile} --contract-seed {self._report.seed}"
        terminal.write_line(f"the same choices again: {again}")


def _print(certificate: ContractReport, terminal: Any, width: int, *, whole: bool) -> None:
    counted = certificate.summary()
    line = f"{certificate.test}: {summary(counted)}  ({certificate.title()})"
    verdict = next((one for one in ("fail", "pass") if counted[one]), "not run")
    terminal.write_line(line, bold=True, **_COLOURS[verdict])
    for row, numbers in _grouped(certificate.rows(), whole=whole):
        terminal.write_line(_shown(row, numbers, width), **_COLOURS[row.verdict])
    for found in certificate.undeclared:
        told = f"  warning: {found['capability']} is not declared, yet works: {found['told']}"
        terminal.write_line(told, yellow=True)
    if (counts := certificate.counts) is not None:
        told = f"{counts.lost} lost, {counts.unexpected} unexpected, {counts.duplicated} duplicated"
        terminal.write_line(f"  tasks: {told}, {counts.recovered} recovered")


def _grouped(rows: list[Row], *, whole: bool) -> Iterator[tuple[Row, list[str]]]:
    """The rows to show; those that say the same together."""
    groups: dict[tuple[str, str], tuple[Row, list[str]]] = {}
    for row in rows:
        key = (row.verdict, row.clause if whole or row.verdict == "fail" else row.reason)
        groups.setdefault(key, (row, []))[1].append(row.clause)
    for row, numbers in groups.values():
        if whole or row.verdict != "pass":
            yield row, numbers


def _shown(row: Row, numbers: list[str], width: int) -> str:
    head = f"  {row.verdict:<12}  "
    told = f"{', '.join(numbers)}: {row.reason or row.text}"
    return textwrap.fill(told, max(width, 60), initial_indent=head, subsequent_indent=" " * len(head))
