"""A run of the benchmarks: every measure of every contestant, in turn, again and again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

import one
from contestants import Entry
from measures import Measure

__all__ = ["Plan", "Results", "run"]

_LONGEST_SECONDS = 1800.0
#: How often each number of threads is tried.
_TRIALS, _QUICK_TRIALS = 5, 2


@frozen(kw_only=True)
class Plan:
    """What to run."""

    entries: Sequence[Entry]
    measures: Sequence[Measure]
    rounds: int
    quick: bool
    #: Where contestants have their files: on the disk that is to be measured.
    where: Path

    def size(self, measure: Measure) -> int:
        """With how many tasks."""
        return measure.quick_size if self.quick else measure.size


@define
class Results:
    """What was found."""

    #: How each contestant was set up, in words.
    setups: dict[str, str] = field(factory=dict)
    #: The rate of draining with each number of threads, round by round.
    tuning: dict[str, dict[int, list[float]]] = field(factory=dict)
    #: The number of threads chosen.
    threads: dict[str, int] = field(factory=dict)
    #: By measure, contestant and metric: one value for each round.
    values: dict[str, dict[str, dict[str, list[float]]]] = field(factory=dict)


def run(plan: Plan, drain: Measure) -> Results:
    """Run all of it; the numbers of threads are chosen by ``drain``."""
    results = Results()
    _choose_threads(plan, drain, results)
    for number in range(plan.rounds):
        for measure in plan.measures:
            if number < measure.rounds:
                _tell(f"round {number + 1} of {min(plan.rounds, measure.rounds)}: {measure.name}")
                _measure_all(plan, measure, results)
    return results


def _choose_threads(plan: Plan, drain: Measure, results: Results) -> None:
    trials = _QUICK_TRIALS if plan.quick else _TRIALS
    for number in range(trials):
        _tell(f"choosing numbers of threads, {number + 1} of {trials}")
        for entry, threads in _interleaved(plan.entries):
            values = _child(plan, drain, entry, threads, size=drain.quick_size)["values"]
            results.tuning.setdefault(entry.name, {}).setdefault(threads, []).append(values["rate"])
    for name, rates in results.tuning.items():
        # By the best trial: a busy machine only ever makes one slower, and a wrong choice would not be fair.
        results.threads[name] = max(rates, key=lambda threads: max(rates[threads]))


def _interleaved(entries: Sequence[Entry]) -> Iterator[tuple[Entry, int]]:
    for threads in sorted({threads for entry in entries for threads in entry.threads}):
        for entry in entries:
            if threads in entry.threads:
                yield entry, threads


def _measure_all(plan: Plan, measure: Measure, results: Results) -> None:
    for entry in plan.entries:
        if measure.name in entry.without:
            continue
        found = _child(plan, measure, entry, results.threads[entry.name], size=plan.size(measure))
        results.setups[entry.name] = found["setup"]
        series = results.values.setdefault(measure.name, {}).setdefault(entry.name, {})
        for key, value in found["values"].items():
            series.setdefault(key, []).append(value)


def _child(plan: Plan, measure: Measure, entry: Entry, threads: int, *, size: int) -> Mapping[str, Any]:
    """Measure in a fresh process, with fresh files."""
    arguments = one.command("measure", measure.name, entry.name, threads, size, plan.where)
    done = subprocess.run(
        [sys.executable, *arguments], stdout=subprocess.PIPE, text=True, timeout=_LONGEST_SECONDS, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{measure.name} of {entry.name} has failed; what it said is above")
    found: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
