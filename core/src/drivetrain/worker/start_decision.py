"""Decides what to do with a delivery after its start was requested. Pure."""

from __future__ import annotations

from enum import StrEnum

from drivetrain.contract import Outcome, State, Transition

__all__ = ["StartDecision", "decide_start", "max_shared_starts"]


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
