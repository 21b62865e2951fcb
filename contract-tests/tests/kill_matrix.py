"""The kill matrix: which broken drivers each clause has caught, in which profile, and how fast; printed after a run.

It is gathered from the reports of tests, so that it is complete under pytest-xdist too. A run of all broken drivers
fails when a clause has caught none, or when a profile has caught fewer than it promises.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from attrs import frozen

from drivetrain_contract_tests.clauses import clauses

__all__ = ["PROMISED", "WORD", "KillMatrix"]

#: The property of a test's report in which it says what has caught a broken driver.
WORD = "drivetrain_contract_mutant"
#: The share of all broken drivers that each profile catches, at least. A thorough run tries what a default one does.
PROMISED = {"quick": 0.90, "default": 0.97, "thorough": 1.0}
_COLUMNS = 8
#: How many of the slowest are shown.
_SLOWEST = 10


@frozen
class _Caught:
    """What has become of one broken driver."""

    #: None: no check has caught it.
    check: str | None
    profile: str | None
    seconds: float | None


class KillMatrix:
    """A pytest plugin for the process that gathers reports."""

    def __init__(self):
        #: By clause and name of the broken driver.
        self.caught: dict[tuple[str, str], _Caught] = {}
        #: How many broken drivers there are, whether or not they are in this run.
        self.all = 0

    def pytest_runtest_logreport(self, report):
        for word, told in report.user_properties:
            if word == WORD and report.when == "call":
                caught = _Caught(told["check"], told["profile"], told["seconds"])
                self.caught[told["clause"], told["mutant"]] = caught
                self.all = told["all"]

    @property
    def kills(self):
        """How many broken drivers each clause has caught."""
        return Counter(clause for (clause, _), one in self.caught.items() if one.check is not None)

    @property
    def is_whole(self):
        """Whether all broken drivers were in this run."""
        return len(self.caught) == self.all

    @property
    def idle(self):
        """The clauses that have caught none in a run of all broken drivers."""
        return [clause for clause in clauses() if not self.kills[clause]] if self.is_whole else []

    @property
    def shares(self) -> Mapping[str, float]:
        """The share of the broken drivers of this run that each profile catches: a longer one catches those too."""
        first = Counter(one.profile for one in self.caught.values())
        names = list(PROMISED)
        return {
            name: sum(first[each] for each in names[: place + 1]) / len(self.caught) for place, name in enumerate(names)
        }

    @property
    def broken_promises(self):
        """The profiles that have caught fewer than they promise in a run of all broken drivers."""
        return [name for name, share in self.shares.items() if share < PROMISED[name]] if self.is_whole else []

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        faulty = self.caught and (self.idle or self.broken_promises)
        if faulty and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter, config):
        if not self.caught:
            return
        terminalreporter.section("kill matrix")
        self._print_counts(terminalreporter)
        for name, share in self.shares.items():
            line = f"  profile {name:<8} catches {share:6.1%}, and promises {PROMISED[name]:.0%}"
            terminalreporter.write_line(line, red=name in self.broken_promises)
        slow = sorted(self.caught.items(), key=lambda item: -(item[1].seconds or 0))
        whole = config.get_verbosity() > 0
        for (clause, mutant), one in self.caught.items() if whole else slow[:_SLOWEST]:
            if one.check is not None:
                how = f"{one.seconds:5.1f} s, {one.profile:<8}"
                terminalreporter.write_line(f"  {clause:>3} {how} a driver that {mutant}, by {one.check}")
        for clause in self.idle:
            terminalreporter.write_line(f"  {clause} has caught none", red=True)
        for (clause, mutant), one in self.caught.items():
            if one.check is None:
                terminalreporter.write_line(f"  not caught: {clause}, a driver that {mutant}", red=True)

    def _print_counts(self, terminalreporter):
        kills = self.kills
        told = f"{kills.total()} of {self.all} broken drivers are caught; each clause has caught so many:"
        terminalreporter.write_line(told)
        asked = [clause for clause in clauses() if kills[clause] or self.is_whole]
        for letter in dict.fromkeys(clause[0] for clause in asked):
            row = [f"{clause:>3} {kills[clause]:>3}" for clause in asked if clause.startswith(letter)]
            for first in range(0, len(row), _COLUMNS):
                terminalreporter.write_line("  " + "  |  ".join(row[first : first + _COLUMNS]))
