"""What became of one task that an operator acted on."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

__all__ = ["TaskOutcome", "Verdict", "done", "failed", "skipped"]


class Verdict(StrEnum):
    """What became of one task.

    Attributes:
        DONE: the action was done.
        SKIPPED: there was nothing to do: the task is in another state, or another task of its workflow is the one to
            act on.
        FAILED: the action cannot be done.
    """

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@frozen
class TaskOutcome:
    """What became of one task. Immutable."""

    task_id: str
    verdict: Verdict
    #: Why the action was not done; empty: it was.
    reason: str = ""


def done(task_id: str) -> TaskOutcome:
    """The action was done."""
    return TaskOutcome(task_id, Verdict.DONE)


def skipped(task_id: str, reason: str) -> TaskOutcome:
    """There was nothing to do."""
    return TaskOutcome(task_id, Verdict.SKIPPED, reason)


def failed(task_id: str, reason: str) -> TaskOutcome:
    """The action cannot be done."""
    return TaskOutcome(task_id, Verdict.FAILED, reason)
