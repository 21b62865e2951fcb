"""What chaos runs have shown, as the file beside this one keeps it, and as people read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from chaos.judging import Findings
from matrix.pairs import Pair

__all__ = ["FILE", "keep", "kept", "rows", "table"]

FILE = Path(__file__).with_name("results.json")
_COUNTS = ("lost", "wrong", "repeated", "overlapping", "left_over")
_SHOWN = 20


def table(findings: Findings) -> Iterator[str]:
    """The findings, for a terminal."""
    faults = ", ".join(f"{number} x {kind}" for kind, number in sorted(findings.faults.items()))
    yield f"{findings.tasks} tasks; {findings.recovered} runs repeated after a fault; faults: {faults or 'none'}"
    for name in _COUNTS:
        lines = getattr(findings, name)
        yield f"{name}: {len(lines)}"
        yield from (f"    {line}" for line in lines[:_SHOWN])


def kept() -> dict[str, Any]:
    """By pair: seconds, tasks, faults, recovered, and the number of each kind of finding."""
    return dict(json.loads(FILE.read_text("utf-8"))) if FILE.exists() else {}


def keep(pair: Pair, seconds: float, findings: Findings) -> None:
    """Write what a run has shown; it replaces an earlier run of the same pair."""
    shown = {
        "seconds": seconds,
        "tasks": findings.tasks,
        "faults": dict(sorted(findings.faults.items())),
        "recovered": findings.recovered,
        **{name: len(getattr(findings, name)) for name in _COUNTS},
    }
    FILE.write_text(json.dumps({**kept(), str(pair): shown}, indent=2, sort_keys=True) + "\n", "utf-8")


def rows(results: Mapping[str, Any]) -> Iterator[str]:
    """The table of ``docs/guarantees.md``."""
    yield "| pair | seconds | faults | tasks | recovered | lost | wrong | repeated | overlapping | left over |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for pair, shown in results.items():
        faults = ", ".join(f"{number} x {kind}" for kind, number in shown["faults"].items())
        numbers = " | ".join(str(shown[name]) for name in ("tasks", "recovered", *_COUNTS))
        yield f"| `{pair}` | {shown['seconds']:g} | {faults} | {numbers} |"
