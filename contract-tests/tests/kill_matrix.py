"""The kill matrix: how many broken drivers each clause has caught, printed at the end of a run.

It is gathered from the reports of tests, so that it is complete under pytest-xdist too.
"""

from __future__ import annotations

from collections import Counter

import pytest

from drivetrain_contract_tests.clauses import clauses

__all__ = ["WORD", "KillMatrix"]

#: The property of a test's report in which it tells who has caught whom.
WORD = "drivetrain_contract_mutant"
_COLUMNS = 8


class KillMatrix:
    """A pytest plugin for the process that gathers reports."""

    def __init__(self):
        #: The check that has caught each broken driver, by clause and name; None: none has.
        self.caught: dict[tuple[str, str], str | None] = {}
        #: How many broken drivers there are, whether or not they are in this run.
        self.all = 0

    def pytest_runtest_logreport(self, report):
        for word, told in report.user_properties:
            if word == WORD and report.when == "call":
                self.caught[told["clause"], told["mutant"]] = told["check"]
                self.all = told["all"]

    @property
    def kills(self):
        """How many broken drivers each clause has caught."""
        return Counter(clause for (clause, _), check in self.caught.items() if check is not None)

    @property
    def idle(self):
        """The clauses that have caught none in a run of all broken drivers."""
        return [clause for clause in clauses() if not self.kills[clause]] if len(self.caught) == self.all else []

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        if self.caught and self.idle and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter, config):
        if not self.caught:
            return
        kills = self.kills
        terminalreporter.section("kill matrix")
        told = f"{kills.total()} of {self.all} broken drivers are caught; each clause has caught so many:"
        terminalreporter.write_line(told)
        asked = [clause for clause in clauses() if kills[clause] or len(self.caught) == self.all]
        for letter in dict.fromkeys(clause[0] for clause in asked):
            row = [f"{clause:>3} {kills[clause]:>3}" for clause in asked if clause.startswith(letter)]
            for first in range(0, len(row), _COLUMNS):
                terminalreporter.write_line("  " + "  |  ".join(row[first : first + _COLUMNS]))
        for clause in self.idle:
            terminalreporter.write_line(f"  {clause} has caught none", red=True)
        for (clause, mutant), check in self.caught.items():
            if check is None:
                terminalreporter.write_line(f"  not caught: {clause}, a driver that {mutant}", red=True)
            elif config.get_verbosity() > 0:
                terminalreporter.write_line(f"  {clause}: a driver that {mutant}, by {check}")
