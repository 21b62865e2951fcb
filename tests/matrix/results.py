"""What runs of the matrix have shown, as the file beside this one keeps it: no times, no places, no machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen

from drivetrain_contract_tests.clauses import clauses
from matrix.pairs import Pair, named, pairs

__all__ = ["COUNTS", "FILE", "Matrix", "Shown", "from_report", "lacking", "without_place", "workflow_clauses"]

FILE = Path(__file__).with_name("results.json")
COUNTS = ("lost", "unexpected", "duplicated", "recovered")

#: Servers and files have places; which of them are one, the scheme says.
_PLACE = "store"
#: What changes how a worker asks, and nothing that anybody is promised.
_TUNING = {"receive_wait_seconds"}


@frozen
class Shown:
    """What the last run of a pair has shown."""

    profile: str
    #: How each clause ended: pass, fail, not declared, not run.
    verdicts: Mapping[str, str]
    #: Why, of each clause that has not passed.
    reasons: Mapping[str, str]
    counts: Mapping[str, int]

    @property
    def passed(self) -> int:
        """How many clauses have."""
        return sum(verdict == "pass" for verdict in self.verdicts.values())

    @property
    def sound(self) -> bool:
        """Whether no clause has failed, and nothing was lost, unexpected or duplicated."""
        return "fail" not in self.verdicts.values() and not any(
            count for name, count in self.counts.items() if name != "recovered"
        )


@frozen
class Matrix:
    """All that is kept."""

    pairs: Mapping[Pair, Shown] = field(factory=dict)
    #: What each driver has declared in these runs, by kind and scheme.
    declared: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(factory=lambda: {"broker": {}, "backend": {}})

    @classmethod
    def read(cls, path: Path | None = None) -> Matrix:
        """What the file keeps; nothing where there is none."""
        path = path or FILE
        if not path.exists():
            return cls()
        kept = json.loads(path.read_text("utf-8"))
        return cls({named(name): Shown(**shown) for name, shown in kept["pairs"].items()}, kept["declared"])

    def write(self, path: Path | None = None) -> None:
        """Keep it: the same bytes for the same outcome."""
        kept = {
            "pairs": {str(pair): attrs.asdict(self.pairs[pair]) for pair in pairs() if pair in self.pairs},
            "declared": self.declared,
        }
        (path or FILE).write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", "utf-8")

    def with_pair(self, pair: Pair, shown: Shown, declared: Mapping[str, Mapping[str, Any]]) -> Matrix:
        """With what a run has shown in place of what was known of that pair."""
        return Matrix(
            {**self.pairs, pair: shown},
            {kind: {**known, getattr(pair, kind): declared[kind]} for kind, known in self.declared.items()},
        )


def from_report(document: Mapping[str, Any]) -> tuple[Shown, dict[str, dict[str, Any]]]:
    """What the contract suite's report says of a pair, and what its drivers declare by kind."""
    [contract] = document["contracts"]
    rows = contract["rows"]
    shown = Shown(
        profile=document["profile"],
        verdicts={row["clause"]: row["verdict"] for row in rows},
        reasons={row["clause"]: row["reason"] for row in rows if row["verdict"] != "pass"},
        counts=contract["counts"] or dict.fromkeys(COUNTS, 0),
    )
    drivers = contract["drivers"]
    return shown, {driver["kind"]: without_place(driver["name"], driver["capabilities"]) for driver in drivers}


def without_place(scheme: str, capabilities: Mapping[str, Any]) -> dict[str, Any]:
    """Capabilities as the file keeps them."""
    told = {name: value for name, value in capabilities.items() if name not in _TUNING}
    return {**told, _PLACE: scheme if capabilities[_PLACE] is not None else None}


#: The letters of clauses on workflows, schedules (ticks) and limits (flow control).
_ON_PAIRS = "WTF"


def workflow_clauses() -> list[str]:
    """The clauses on pairs, of the contract as it is now: on workflows, schedules and limits."""
    return [number for number in clauses() if number[0] in _ON_PAIRS]


def lacking(matrix: Matrix) -> list[Pair]:
    """Pairs that were never run, have failed, or were run for another set of clauses than there is now."""
    wanted = set(workflow_clauses())
    found = matrix.pairs
    return [
        pair for pair in pairs() if pair not in found or not found[pair].sound or set(found[pair].verdicts) != wanted
    ]
