"""What a run has shown, clause by clause. Not run is never counted as passed."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Literal

from attrs import asdict, frozen

from drivetrain_contract_tests.clauses import clauses

__all__ = ["Report", "Row", "Verdict"]

Verdict = Literal["pass", "fail", "not declared", "not run"]

#: The version of the JSON form.
_SCHEMA = 1


@frozen
class Row:
    """One clause for one driver."""

    driver: str
    clause: str
    text: str
    verdict: Verdict
    reason: str


class Report:
    """Collects how checks ended."""

    def __init__(self) -> None:
        self._ended: dict[str, dict[str, list[tuple[str, str]]]] = defaultdict(lambda: defaultdict(list))

    def add(self, driver: str, numbers: tuple[str, ...], outcome: str, reason: str) -> None:
        """Take note of a check of ``driver`` that holds these clauses."""
        for number in numbers:
            self._ended[driver][number].append((outcome, reason))

    def rows(self) -> list[Row]:
        """A row for each clause of each kind of contract that was run, for each driver."""
        return [row for driver, ended in sorted(self._ended.items()) for row in self._rows(driver, ended)]

    def _rows(self, driver: str, ended: dict[str, list[tuple[str, str]]]) -> list[Row]:
        kinds = {number[0] for number in ended}
        return [
            Row(driver, number, text, *_verdict(ended.get(number, [])))
            for number, text in clauses().items()
            if number[0] in kinds
        ]

    def text(self) -> str:
        """The table, for a terminal."""
        lines = [f"{row.driver:30} {row.clause:4} {row.verdict:12} {row.reason.splitlines()[0][:60] if row.reason else ''}" for row in self.rows()]
        return "\n".join(line.rstrip() for line in lines)

    def write(self, path: Path) -> None:
        """Write it as JSON or Markdown, by the ending of ``path``."""
        path.write_text(self._json() if path.suffix == ".json" else self._markdown(), "utf-8")

    def _json(self) -> str:
        return json.dumps({"schema": _SCHEMA, "rows": [asdict(row) for row in self.rows()]}, indent=2)

    def _markdown(self) -> str:
        lines = ["| driver | clause | verdict | reason |", "| --- | --- | --- | --- |"]
        lines += [f"| {row.driver} | {row.clause} | {row.verdict} | {row.reason} |" for row in self.rows()]
        return "\n".join(lines) + "\n"


def _verdict(ended: list[tuple[str, str]]) -> tuple[Verdict, str]:
    for outcome, verdict in (("failed", "fail"), ("passed", "pass"), ("skipped", "not declared")):
        for one, reason in ended:
            if one == outcome:
                return verdict, "" if verdict == "pass" else reason  # type: ignore[return-value]
    return "not run", "no check of this clause was run"
