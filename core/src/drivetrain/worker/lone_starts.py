"""The lone starts of suspects: tasks whose earlier starts never finished. Pure."""

from __future__ import annotations

from attrs import frozen
from msgspec.structs import replace

from drivetrain.worker.start_decision import max_shared_starts
from drivetrain.worker.unfinished import Unfinished

__all__ = ["LoneStart", "lone_start"]


@frozen(kw_only=True)
class LoneStart:
    """A start of a suspect. Nothing else runs in its process.

    Starts are recorded in batches, so a dead worker leaves many started tasks, of which most are harmless. Only a task
    that ran alone is known to have killed its process.
    """

    #: The payload before this start; recorded again when the run is released without a crash.
    before: Unfinished
    #: The payload that is recorded right before it begins, with this start counted in ``lone_starts``.
    record: Unfinished
    #: Whether the death of the process dead-letters the task. The process must then be a new one.
    last: bool
    #: Whether the worker must run nothing else at the same time: the worker has died in a last lone start.
    exclusive: bool
    #: The number of its starts, in words: ``started 5 times``.
    tally: str


def lone_start(known: Unfinished, *, max_starts: int, tally: str) -> LoneStart | None:
    """The next lone start of a suspect; None: it has no starts left, and is dead-lettered.

    Args:
        known: the payload of its record.
        max_starts: the largest number of unfinished starts of one attempt. With 1 there is no lone start: a task is not
            started again after its worker died.
        tally: the number of its starts, this one included, in words.
    """
    allowed = max_starts - max_shared_starts(max_starts)
    if allowed == 0 or known.lone_starts > allowed:
        return None
    number = known.lone_starts + 1
    record = replace(known, lone_starts=number)
    return LoneStart(before=known, record=record, last=number >= allowed, exclusive=number > allowed, tally=tally)
