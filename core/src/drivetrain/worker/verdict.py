"""What the answer to a start means. Pure."""

from __future__ import annotations

from enum import StrEnum

from drivetrain.contract import Outcome, State, Transition

__all__ = ["Verdict", "judge"]


class Verdict(StrEnum):
    """What to do with a delivery after asking to start it."""

    #: The lease is ours: run it.
    RUN = "run"
    #: It is ours, but its workers died too often: to the dead letters.
    CRASHED = "crashed"
    #: It has ended before: see to what follows it, and acknowledge.
    ENDED = "ended"
    #: This attempt is over and the next one decided: see that it is published, and acknowledge.
    RETRYING = "retrying"
    #: Another worker runs it now: release for later.
    BUSY = "busy"
    #: A newer attempt is known: acknowledge and drop.
    STALE = "stale"


def judge(outcome: Outcome, wish: Transition, *, max_starts: int) -> Verdict:
    """What to do after ``wish``, a transition to STARTED, was answered with ``outcome``.

    Args:
        outcome: the backend's answer.
        wish: what was asked.
        max_starts: how many starts of one attempt may come to nothing, because their worker died.
    """
    before = outcome.before
    if outcome.applied:
        # A start that is repeated because its answer was lost is one start.
        again = before is not None and before.attempt == wish.attempt and before.run != wish.run
        crashed = again and before is not None and before.starts >= max_starts
        return Verdict.CRASHED if crashed else Verdict.RUN
    if before is None or before.state.terminal:
        return Verdict.ENDED
    if before.attempt > wish.attempt:
        return Verdict.STALE
    return Verdict.RETRYING if before.state is State.RETRY else Verdict.BUSY
