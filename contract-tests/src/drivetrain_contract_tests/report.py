"""What a run has shown, clause by clause. Not run is never counted as passed."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import asdict, define, field, frozen

from drivetrain_contract_tests import markdown
from drivetrain_contract_tests.clauses import clauses
from drivetrain_contract_tests.findings import Counts

__all__ = ["SCHEMA", "VERDICTS", "ContractReport", "Ended", "Report", "Row"]

#: The name and version of the JSON form. A reader that knows a version reads all that have the same number.
SCHEMA = "drivetrain-contract-report/1"

#: What can be said of a clause; of several checks of one clause, the first of these counts, but for ``not declared``,
#: which says nothing where another check has passed.
VERDICTS = ("fail", "not run", "pass", "not declared")


@frozen
class Ended:
    """How one check ended."""

    verdict: str
    reason: str = ""


@frozen
class Row:
    """One clause for one class of tests."""

    clause: str
    text: str
    verdict: str
    reason: str
    #: How each check of this clause ended.
    checks: Mapping[str, str]


@define
class ContractReport:
    """What was shown for one class of tests."""

    #: The name of the class that the driver's author wrote.
    test: str
    #: The contract that it is a child of.
    contract: str = ""
    #: The clauses of each standard check.
    checks: dict[str, Sequence[str]] = field(factory=dict)
    #: The drivers under test.
    drivers: list[dict[str, Any]] = field(factory=list)
    #: How each check ended that was run, as often as it ended.
    ended: dict[str, list[Ended]] = field(factory=lambda: defaultdict(list))
    undeclared: list[dict[str, str]] = field(factory=list)
    counts: Counts | None = None

    def about(self, told: Mapping[str, Any]) -> None:
        """Take note of what is tested."""
        self.contract, self.checks = told["contract"], told["checks"]
        self.drivers = told["drivers"] or self.drivers  # none where the factory failed

    def add(self, check: str, ended: Ended, findings: Mapping[str, Any]) -> None:
        """Take note of how a check ended."""
        self.ended[check].append(ended)
        self.undeclared += [found for found in findings.get("undeclared", ()) if found not in self.undeclared]
        if findings.get("counts"):
            self.counts = (self.counts or Counts()) + Counts(**findings["counts"])

    def rows(self) -> list[Row]:
        """A row for each clause of this contract."""
        held = {number for numbers in self.checks.values() for number in numbers}
        return [self._row(number, text) for number, text in clauses().items() if number in held]

    def _row(self, number: str, text: str) -> Row:
        checks = [check for check, numbers in self.checks.items() if number in numbers]
        ended = {check: _together(self.ended.get(check, ())) for check in checks}
        verdict = next(one for one in VERDICTS if any(each.verdict == one for each in ended.values()))
        reason = next(_reasons(ended, verdict), "") if verdict != "pass" else ""
        return Row(number, text, verdict, reason, {check: each.verdict for check, each in ended.items()})

    def summary(self) -> Counter[str]:
        """How many clauses there are of each verdict."""
        return Counter(row.verdict for row in self.rows())

    def title(self) -> str:
        """What is tested, in a line."""
        return ", ".join(_driver_title(driver) for driver in self.drivers) or "driver unknown"

    def document(self) -> dict[str, Any]:
        """As plain values."""
        summary = self.summary()
        return {
            "test": self.test,
            "contract": self.contract,
            "drivers": self.drivers,
            "summary": {verdict: summary[verdict] for verdict in sorted(VERDICTS)},
            "counts": asdict(self.counts) if self.counts is not None else None,
            "warnings": self.undeclared,
            "rows": [asdict(row) for row in self.rows()],
        }


class Report:
    """Collects how checks ended.

    Args:
        profile: the name of the profile.
        seed: what random choices were drawn from.
    """

    def __init__(self, profile: str = "default", seed: int = 0) -> None:
        self.profile, self.seed = profile, seed
        self._certificates: dict[str, ContractReport] = {}

    def __bool__(self) -> bool:
        return bool(self._certificates)

    @property
    def certificates(self) -> list[ContractReport]:
        """What was shown, class by class."""
        return list(self._certificates.values())

    @property
    def failed(self) -> bool:
        """Whether any clause has failed."""
        return any(one.summary()["fail"] for one in self.certificates)

    def add(self, told: Mapping[str, Any]) -> None:
        """Take note of what a process that runs tests has sent about a check."""
        certificate = self._certificates.setdefault(told["class"], ContractReport(told["test"]))
        if told["about"] is not None:
            certificate.about(told["about"])
        certificate.add(told["check"], Ended(told["verdict"], told["reason"]), told["findings"])

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "schema": SCHEMA,
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "suite": _distribution("drivetrain-contract-tests"),
            "core": _distribution("drivetrain"),
            "python": platform.python_version(),
            "platform": platform.system(),
            "profile": self.profile,
            "seed": self.seed,
            "failed": self.failed,
            "contracts": [certificate.document() for certificate in self.certificates],
        }

    def write(self, path: Path) -> None:
        """Write it as Markdown or JSON, by the ending of ``path``."""
        document = self.document()
        told = markdown.text(document) if path.suffix == ".md" else json.dumps(document, indent=2) + "\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(told, "utf-8")


def _together(ended: Sequence[Ended]) -> Ended:
    """How a check has ended that was run several times, or in several phases."""
    if not ended:
        return Ended("not run", "it was left out of this run")
    return min(ended, key=lambda one: VERDICTS.index(one.verdict))


def _reasons(ended: Mapping[str, Ended], verdict: str) -> Iterator[str]:
    rest = "; its other checks have passed" if any(one.verdict == "pass" for one in ended.values()) else ""
    for one in ended.values():
        if one.verdict == verdict:
            yield f"{one.reason}{rest}" if verdict == "not run" else one.reason


def _driver_title(driver: Mapping[str, Any]) -> str:
    name = f"{driver['name']}:// " if driver["kind"] in {"broker", "backend"} and driver["name"] else ""
    shown = f"{name}{driver['kind']}{'' if name or not driver['name'] else ' ' + driver['name']}"
    return f"{shown} of {driver['distribution']} {driver['version']}" if driver["distribution"] else shown


def _distribution(name: str) -> dict[str, str]:
    return {"distribution": name, "version": importlib.metadata.version(name)}
