"""What a chaos run has shown: what was promised, beside what happened. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from chaos.story import Expected
from chaos.tasks import RunEvent

__all__ = ["LOST", "Disturbance", "Findings", "Sent", "judge"]

#: The outcome of a workflow that did not end.
LOST = "lost"


@frozen
class Sent:
    """A workflow that was sent, and how it ended."""

    expected: Expected
    #: Nested lists of labels, FAILED, LOST, or None where it was cancelled.
    outcome: Any
    #: When its handle reported that it has ended; Unix seconds.
    ended_at: float


@frozen
class Disturbance:
    """A fault: what was done to whom, and for how long its effects may last."""

    kind: str
    #: The process of a worker; None: the service, and so every worker.
    pid: int | None
    #: Unix seconds.
    began: float
    ended: float


@frozen
class Findings:
    """What is wrong, each as a line to read; and how much was tried."""

    #: Tasks that did not end, and runs that are missing.
    lost: Sequence[str] = ()
    #: Results that are not those of the reference interpreter, and cancelled tasks that ran.
    wrong: Sequence[str] = ()
    #: Runs that began after their workflow had ended.
    repeated: Sequence[str] = ()
    #: Two runs of one task at the same time, while the worker of the first was alive and undisturbed.
    overlapping: Sequence[str] = ()
    #: What stayed behind, and errors of workers that nobody expects.
    left_over: Sequence[str] = ()
    tasks: int = 0
    #: Runs that a fault cut off, and that were made good.
    recovered: int = 0
    faults: Mapping[str, int] = field(factory=dict)

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.wrong or self.repeated or self.overlapping or self.left_over)


def judge(
    sent: Sequence[Sent],
    events: Iterable[RunEvent],
    disturbances: Sequence[Disturbance],
    *,
    lease_seconds: float,
    left_over: Sequence[str] = (),
) -> Findings:
    """Compare what was promised with what happened.

    Args:
        sent: all workflows that the broker has taken.
        events: all runs.
        disturbances: all faults.
        lease_seconds: for this long after a fault, a run may be taken over from a worker that still runs it.
        left_over: what was found after the end that should not be there.
    """
    by_label: dict[str, list[RunEvent]] = defaultdict(list)
    for event in events:
        by_label[event.label].append(event)
    found: dict[str, list[str]] = {"lost": [], "wrong": [], "repeated": [], "overlapping": []}
    recovered = 0
    for one in sent:
        if one.outcome == LOST:
            found["lost"].append(f"{one.expected.workflow!r} did not end")
        elif one.outcome != one.expected.outcome:
            found["wrong"].append(f"{one.outcome!r} instead of {one.expected.outcome!r}")
        for label, attempts in one.expected.attempts.items():
            runs = [event for event in by_label[label] if event.kind == "begin"]
            missing = attempts - len({run.attempt for run in runs})
            # A workflow that fails ends before all of its members have run.
            if missing > 0:
                found["lost"].append(f"{label}: {missing} of {attempts} attempts never ran")
            recovered += max(0, len(runs) - attempts)
        found["repeated"] += _repeated(one, by_label)
    for label, runs in by_label.items():
        found["overlapping"] += _overlapping(label, runs, disturbances, lease_seconds)
    found["wrong"] += _cancelled_that_ran(sent, by_label)
    faults = Counter(disturbance.kind for disturbance in disturbances)
    tasks = sum(len(one.expected.attempts) for one in sent)
    return Findings(**found, left_over=left_over, tasks=tasks, recovered=recovered, faults=faults)


def _repeated(sent: Sent, by_label: Mapping[str, list[RunEvent]]) -> list[str]:
    # Only the end of a whole group is observed, and the other members of a failed group continue.
    if not isinstance(sent.outcome, list) or len(sent.expected.attempts) != 1:
        return []
    (label,) = sent.expected.attempts
    late = [run for run in by_label[label] if run.kind == "begin" and run.at > sent.ended_at]
    return [f"{label} (attempt {run.attempt}) began again {run.at - sent.ended_at:.2f} s after its end" for run in late]


def _overlapping(
    label: str, events: Sequence[RunEvent], disturbances: Sequence[Disturbance], lease_seconds: float
) -> list[str]:
    found = []
    began: RunEvent | None = None
    for event in events:
        if event.kind == "end":
            began = None if began is not None and began.pid == event.pid else began
        elif began is None or began.attempt != event.attempt:
            began = event
        else:
            if not _excused(began, event, disturbances, lease_seconds):
                found.append(f"{label}: process {event.pid} began it while process {began.pid} still ran it")
            began = event
    return found if any(event.kind == "end" for event in events) else []


def _excused(first: RunEvent, second: RunEvent, disturbances: Sequence[Disturbance], lease_seconds: float) -> bool:
    """Whether a fault explains that ``second`` began before ``first`` had ended."""
    return any(
        disturbance.pid in {None, first.pid}
        and disturbance.began <= second.at
        and disturbance.ended + lease_seconds >= first.at
        for disturbance in disturbances
    )


def _cancelled_that_ran(sent: Sequence[Sent], by_label: Mapping[str, list[RunEvent]]) -> list[str]:
    labels = [one.expected.workflow.kwargs["label"] for one in sent if one.expected.cancelled]  # type: ignore[attr-defined]
    return [f"{label} was cancelled, and ran" for label in labels if by_label.get(label)]
