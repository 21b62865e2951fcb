"""Where the time of a task goes: py-spy looks 500 times a second which function runs in the thread that has the GIL.

An ordinary user may watch the processes that he starts (on macOS: only root). Nothing is stopped meanwhile. What
SQLite, the disk and waiting take is not among the functions: it is what is left of the time.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen

import one

__all__ = ["SUBJECTS", "Subject", "hot_spots"]

_RATE = 500
_LINES = 30
_ENTRY = "drivetrain sqlite, full"


@frozen(kw_only=True)
class Subject:
    """What to look at: those stacks of a measure's processes that have a frame like ``within``."""

    title: str
    measure: str
    #: The metric that says how many tasks a second there were.
    metric: str
    size: int
    #: How many of them this is about.
    share: float = 1.0
    within: str


SUBJECTS = (
    Subject(title="draining, in the worker", measure="drain", metric="rate", size=40_000, within=r"one\.py work "),
    Subject(
        title="sending one by one",
        measure="enqueue",
        metric="one_by_one",
        size=20_000,
        share=0.2,
        within=r"\bsend \(contestants",
    ),
    Subject(
        title="sending in bulk", measure="enqueue", metric="bulk", size=40_000, within=r"\bsend_many \(contestants"
    ),
)


def hot_spots(subject: Subject, threads: int, where: Path) -> str:
    """The functions that take most, as text."""
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if spy is None:
        raise SystemExit("PROFILE=1 needs py-spy: pip install py-spy")
    with TemporaryDirectory(dir=where) as directory:
        file = Path(directory, "stacks.txt")
        arguments = one.command("measure", subject.measure, _ENTRY, threads, subject.size, where)
        watch = [
            spy,
            "record",
            "--gil",
            "--nonblocking",
            "--subprocesses",
            "-r",
            str(_RATE),
            "-f",
            "raw",
            "-o",
            str(file),
        ]
        done = subprocess.run([*watch, "--", sys.executable, *arguments], capture_output=True, text=True, check=False)
        rate = _rate(done.stdout, subject.metric)
        if rate is None or not file.exists():
            raise SystemExit(f"{subject.title} could not be looked at:\n{done.stdout}{done.stderr}")
        return "\n".join(_lines(subject, list(_stacks(file.read_text(), subject.within)), 1e6 / rate))


def _rate(text: str, metric: str) -> float | None:
    """From what the measuring process printed, among what py-spy does."""
    for line in text.splitlines():
        if line.startswith("{"):
            return float(json.loads(line)["values"][metric])
    return None


def _stacks(text: str, within: str) -> Iterator[tuple[list[str], int]]:
    """The stacks of interest, each frame without its line, and how often each was seen."""
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [_frame(frame) for frame in stack.split(";")]
        if any(re.search(within, frame) for frame in frames) and "importlib" not in stack:
            yield [frame for frame in frames if not frame.startswith("process ")], int(count)


def _frame(frame: str) -> str:
    return re.sub(r"\((.*?)(?::\d+)?\)$", r"(\1)", frame)


def _lines(subject: Subject, stacks: Sequence[tuple[list[str], int]], microseconds: float) -> Iterator[str]:
    inside: Counter[str] = Counter()
    below: Counter[str] = Counter()
    for frames, count in stacks:
        inside.update(dict.fromkeys(frames[-1:], count))
        below.update(dict.fromkeys(frames, count))
    each = 1e6 / _RATE / (subject.size * subject.share)
    python = inside.total() * each
    yield f"## {subject.title}: {_ENTRY}"
    yield ""
    yield f"{microseconds:.0f} µs per task while watched, {python:.0f} of them in Python:"
    yield ""
    yield from _top("by itself", inside, each)
    yield ""
    yield from _top("with all that it calls", below, each)
    yield ""


def _top(title: str, counts: Mapping[str, int], each: float) -> Iterator[str]:
    yield f"{'µs':>7}  {title}"
    for frame, count in sorted(counts.items(), key=lambda one: -one[1])[:_LINES]:
        yield f"{count * each:7.1f}  {frame}"
