"""Where the time of a task goes: py-spy looks 500 times a second which function runs in the thread that has the GIL.

An ordinary user may watch the processes that he starts (on macOS: only root). Nothing is stopped meanwhile. What
the servers, the disk and waiting take is not among the functions: it is what is left of the time.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen

from contestants import Entry
from measures import MEASURES
from session import Failed, measure

__all__ = ["SUBJECTS", "Subject", "hot_spots"]

_RATE = 500
_LINES = 30


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


def hot_spots(subject: Subject, entry: Entry, where: Path) -> str:
    """The functions that take most, as text.

    Raises:
        SystemExit: there is no py-spy, or it could not look.
    """
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if spy is None:
        raise SystemExit("PROFILE=1 needs py-spy: pip install py-spy")
    with TemporaryDirectory(dir=where) as directory:
        file = Path(directory, "stacks.txt")
        watch = [spy, "record", "--gil", "--nonblocking", "--subprocesses", "-r", str(_RATE), "-f", "raw"]
        measured = MEASURES[subject.measure]
        try:
            found = measure(
                measured, entry, entry.concurrency[0], subject.size, where, before=[*watch, "-o", str(file), "--"]
            )
        except Failed as failure:
            raise SystemExit(f"{subject.title} could not be looked at: {failure}") from failure
        stacks = list(_stacks(file.read_text(), subject.within))
    return "\n".join(_lines(subject, entry, stacks, 1e6 / found["values"][subject.metric]))


def _stacks(text: str, within: str) -> Iterator[tuple[list[str], int]]:
    """The stacks of interest, each frame without its line, and how often each was seen."""
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [_frame(frame) for frame in stack.split(";")]
        if any(re.search(within, frame) for frame in frames) and "importlib" not in stack:
            yield [frame for frame in frames if not frame.startswith("process ")], int(count)


def _frame(frame: str) -> str:
    return re.sub(r"\((.*?)(?::\d+)?\)$", r"(\1)", frame)


def _lines(
    subject: Subject, entry: Entry, stacks: Sequence[tuple[list[str], int]], microseconds: float
) -> Iterator[str]:
    inside: Counter[str] = Counter()
    below: Counter[str] = Counter()
    for frames, count in stacks:
        inside.update(dict.fromkeys(frames[-1:], count))
        below.update(dict.fromkeys(frames, count))
    each = 1e6 / _RATE / (subject.size * subject.share)
    python = inside.total() * each
    yield f"## {subject.title}: {entry.name}"
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
