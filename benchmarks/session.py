"""A run of the benchmarks: every measure of every contestant, in turn, again and again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import define, field, frozen

import one
from contestants import Entry
from measures import Measure
from place import Place
from processes import with_us
from servers import running

__all__ = ["Plan", "Results", "measure", "run"]

_LONGEST_SECONDS = 3600.0
#: How often each number of tasks at a time is tried.
_TRIALS = 3


@frozen(kw_only=True)
class Plan:
    """What to run."""

    entries: Sequence[Entry]
    measures: Sequence[Measure]
    rounds: int
    quick: bool
    #: Where contestants and servers have their files.
    where: Path
    #: In place of the measures' own numbers of tasks.
    tasks: int | None = None

    def size(self, measure: Measure, entry: Entry | None = None) -> int:
        """With how many tasks; for one contestant, its share."""
        if self.tasks is not None:
            return self.tasks
        size = (self.quick and measure.quick_size) or measure.size
        return int(size * entry.share) if entry is not None and measure.shared else size


@define
class Results:
    """What was found."""

    #: How each contestant was set up: in words, with which versions.
    setups: dict[str, Mapping[str, Any]] = field(factory=dict)
    #: The rate of draining with each number of tasks at a time, trial by trial.
    tuning: dict[str, dict[int, list[float]]] = field(factory=dict)
    #: The number of tasks at a time that was chosen.
    concurrency: dict[str, int] = field(factory=dict)
    #: By measure, contestant and metric: one value for each round.
    values: dict[str, dict[str, dict[str, list[float]]]] = field(factory=dict)
    #: What did not work, in words.
    failures: list[str] = field(factory=list)


def run(plan: Plan, drain: Measure) -> Results:
    """Run all of it; in a full run, the numbers of tasks at a time are chosen by ``drain``."""
    results = Results(concurrency={entry.name: entry.concurrency[0] for entry in plan.entries})
    if not plan.quick:
        _choose_concurrency(plan, drain, results)
    for number in range(plan.rounds):
        for measured in plan.measures:
            if number < measured.rounds:
                _tell(f"round {number + 1} of {min(plan.rounds, measured.rounds)}: {measured.name}")
                _measure_all(plan, measured, results)
    return results


def _choose_concurrency(plan: Plan, drain: Measure, results: Results) -> None:
    for number in range(_TRIALS):
        _tell(f"choosing numbers of tasks at a time, {number + 1} of {_TRIALS}")
        for entry, concurrency in _interleaved(plan.entries):
            size = int((drain.quick_size or drain.size) * entry.share)
            values = measure(drain, entry, concurrency, size, plan.where)["values"]
            results.tuning.setdefault(entry.name, {}).setdefault(concurrency, []).append(values["rate"])
    for name, rates in results.tuning.items():
        # By the best trial: a busy machine only ever makes one slower, and a wrong choice would not be fair.
        results.concurrency[name] = max(rates, key=lambda concurrency: max(rates[concurrency]))


def _interleaved(entries: Sequence[Entry]) -> Iterator[tuple[Entry, int]]:
    for place in range(max(len(entry.concurrency) for entry in entries)):
        for entry in entries:
            if 1 < len(entry.concurrency) > place:
                yield entry, entry.concurrency[place]


def _measure_all(plan: Plan, measured: Measure, results: Results) -> None:
    for entry in plan.entries:
        if not entry.takes_part_in(measured.name):
            continue
        try:
            found = measure(measured, entry, results.concurrency[entry.name], plan.size(measured, entry), plan.where)
        except Failed as failure:
            _tell(str(failure))
            results.failures.append(str(failure))
            continue
        results.setups[entry.name] = {key: found[key] for key in ("setup", "crash_safe", "versions")}
        series = results.values.setdefault(measured.name, {}).setdefault(entry.name, {})
        for key, value in found["values"].items():
            series.setdefault(key, []).append(value)


class Failed(Exception):
    """A measurement did not end well."""


def measure(
    measured: Measure, entry: Entry, concurrency: int, size: int, where: Path, before: Sequence[str] = ()
) -> Mapping[str, Any]:
    """Measure in a fresh process, with fresh files and servers; ``before`` goes before its command.

    Raises:
        Failed: something went wrong, or a result; what the process said stands on standard error.
    """
    with TemporaryDirectory(dir=where) as directory, running(entry.services, Path(directory)) as servers:
        place = Place(directory=Path(directory), servers=servers, concurrency=concurrency, processes=measured.processes)
        arguments = one.command("measure", measured.name, entry.name, size, place.as_json())
        printed = _output([*with_us(), *before, str(entry.python), *arguments])
    for line in printed.splitlines():
        with suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict) and "values" in found:
                return found
    raise Failed(f"{measured.name} of {entry.name} has failed")


def _output(command: Sequence[str]) -> str:
    # In a process group of its own, so that nothing of it is left, whatever became of it.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            return process.communicate(timeout=_LONGEST_SECONDS)[0]
        except subprocess.TimeoutExpired:
            return ""
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
