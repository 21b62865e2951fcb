"""What the answer to a start means, and how a task is started that may have killed its worker. Pure."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen
from msgspec.structs import replace

from drivetrain.contract import Outcome, State, Transition
from drivetrain.worker.unfinished import Unfinished

__all__ = ["LoneStart", "StartDecision", "decide_start", "lone_start", "max_shared_starts"]


class StartDecision(StrEnum):
    """What to do with a delivery after asking to start it."""

    #: The lease is ours: run it.
    RUN = "run"
    #: It is ours, but earlier starts of it came to nothing: run it alone, or put it aside.
    SUSPECT = "suspect"
    #: It has ended before: see to what follows it, and acknowledge.
    ENDED = "ended"
    #: This attempt is over and the next one decided: see that it is published, and acknowledge.
    RETRYING = "retrying"
    #: Another worker runs it now: release for later.
    BUSY = "busy"
    #: A newer attempt is known: acknowledge and drop.
    STALE = "stale"


def decide_start(outcome: Outcome, transition: Transition, *, shared_starts: int) -> StartDecision:
    """What to do after ``transition``, a transition to STARTED, was answered with ``outcome``.

    Args:
        outcome: the backend's answer.
        transition: what was asked.
        shared_starts: how many starts of one attempt may come to nothing before it is a suspect (`max_shared_starts`).
    """
    before = outcome.before
    if outcome.applied:
        # A start that is repeated because its answer was lost is one start.
        again = before is not None and before.attempt == transition.attempt and before.run != transition.run
        suspect = again and before is not None and before.starts >= shared_starts
        return StartDecision.SUSPECT if suspect else StartDecision.RUN
    if before is None or before.state.terminal:
        return StartDecision.ENDED
    if before.attempt > transition.attempt:
        return StartDecision.STALE
    return StartDecision.RETRYING if before.state is State.RETRY else StartDecision.BUSY


def max_shared_starts(max_starts: int) -> int:
    """How many of ``max_starts`` starts of one attempt happen beside other tasks; the others happen alone.

    Two, so that the death of one worker makes nobody a suspect; fewer where ``max_starts`` leaves no room for a lone
    start after them.
    """
    return max(1, min(2, max_starts - 1))


@frozen(kw_only=True)
class LoneStart:
    """A start of a suspect: a task whose earlier starts came to nothing, for its own fault or that of its company.

    Starts are recorded in batches, so a worker that dies leaves many tasks behind of which most did no harm, and some
    had not begun. Only a task that was alone is known to have killed its process.
    """

    #: What is recorded of the task before this start, and again when it is given back unharmed.
    before: Unfinished
    #: What is recorded right before it begins: this start is counted in ``lone_starts``.
    record: Unfinished
    #: Whether the death of the process condemns it. Then the process must have run nothing before.
    last: bool
    #: Whether the worker must run nothing else meanwhile: the worker has died with a last lone start.
    exclusive: bool
    #: How often it was tried, in words: ``started 5 times``.
    tally: str


def lone_start(known: Unfinished, *, max_starts: int, tally: str) -> LoneStart | None:
    """The next lone start of a suspect; None: it had all that it may have, and goes to the dead letters.

    Args:
        known: what is recorded of it.
        max_starts: how many starts of one attempt may come to nothing. With 1 there is no lone start: a task whose
            worker may have died of it is not started again.
        tally: how often it was tried, this start included, in words.
    """
    allowed = max_starts - max_shared_starts(max_starts)
    if allowed == 0 or known.lone_starts > allowed:
        return None
    number = known.lone_starts + 1
    record = replace(known, lone_starts=number)
    return LoneStart(before=known, record=record, last=number >= allowed, exclusive=number > allowed, tally=tally)
