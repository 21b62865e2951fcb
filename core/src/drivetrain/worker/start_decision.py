"""Decides what to do with a delivery after its start was recorded, and how a suspect starts. Pure."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen
from msgspec.structs import replace

from drivetrain.contract import Outcome, State, Transition
from drivetrain.worker.unfinished import Unfinished

__all__ = ["LoneStart", "StartDecision", "decide_start", "lone_start", "max_shared_starts"]


class StartDecision(StrEnum):
    """What to do with a delivery whose start was requested."""

    #: This worker has the lease: run it.
    RUN = "run"
    #: This worker has the lease, but earlier starts never finished: run it alone, or dead-letter it.
    SUSPECT = "suspect"
    #: It has ended before: repeat what follows its end, and acknowledge.
    ENDED = "ended"
    #: This attempt has ended with a retry: publish the retry again, and acknowledge.
    RETRYING = "retrying"
    #: Another worker runs it now: release for later.
    BUSY = "busy"
    #: A newer attempt is known: acknowledge and drop.
    STALE = "stale"


def decide_start(outcome: Outcome, transition: Transition, *, shared_starts: int) -> StartDecision:
    """Decide what to do with a delivery.

    Args:
        outcome: the backend's answer.
        transition: the requested transition to STARTED.
        shared_starts: the number of unfinished starts that make it a suspect; see `max_shared_starts`.
    """
    before = outcome.before
    if outcome.applied:
        # A start that was requested twice, because the first answer was lost, counts once.
        again = before is not None and before.attempt == transition.attempt and before.run != transition.run
        suspect = again and before is not None and before.starts >= shared_starts
        return StartDecision.SUSPECT if suspect else StartDecision.RUN
    if before is None or before.state.terminal:
        return StartDecision.ENDED
    if before.attempt > transition.attempt:
        return StartDecision.STALE
    return StartDecision.RETRYING if before.state is State.RETRY else StartDecision.BUSY


def max_shared_starts(max_starts: int) -> int:
    """The number of starts of one attempt that share their process with other tasks; later starts are lone starts.

    Two, so that the death of one worker makes no task a suspect; one where ``max_starts`` would leave no lone start.
    """
    return max(1, min(2, max_starts - 1))


@frozen(kw_only=True)
class LoneStart:
    """A start of a suspect, a task whose earlier starts never finished. Nothing else runs in its process.

    Starts are recorded in batches, so a dead worker leaves many started tasks, of which most are harmless. Only a task
    that ran alone is known to have killed its process.
    """

    #: The payload before this start; recorded again when the task is given back without a crash.
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
