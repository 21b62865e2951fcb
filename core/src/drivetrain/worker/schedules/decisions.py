"""Which ticks to send now: misfires, catching up, overlaps. Pure functions of what is stored, and of the time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from attrs import frozen

from drivetrain.worker.schedules.instants import Instants
from drivetrain.worker.schedules.state import Misfire, Overlap

__all__ = ["ON_TIME_SECONDS", "DueTicks", "Sending", "apply_overlap", "due_ticks"]

#: A tick that is sent at most this late is not late, in seconds: another scheduler may have died meanwhile.
ON_TIME_SECONDS = 15.0
#: The most ticks that are sent at once while they are not late.
_MOST_ON_TIME = 1000
#: The most dropped ticks that are counted at once.
_MOST_COUNTED = 100


@frozen(kw_only=True)
class DueTicks:
    """What is due.

    Attributes:
        ticks: the instants to send, in order.
        dropped: how many instants are too late to be sent; at most 100 are counted.
        cursor: the new cursor.
    """

    ticks: tuple[float, ...]
    dropped: int
    cursor: float


def due_ticks(
    instants: Instants,
    *,
    cursor: float,
    now: float,
    misfire: Misfire = "latest",
    catch_up: float = 3600.0,
    catch_up_limit: int = 100,
    remaining: int | None = None,
) -> DueTicks:
    """The ticks to send now.

    Args:
        instants: the instants of the schedule.
        cursor: all ticks up to this instant are decided, in Unix seconds.
        now: the time by which ticks are due, in Unix seconds; with jitter, less the delay of the schedule.
        misfire: which of the late ticks are sent.
        catch_up: how late a tick may be, in seconds.
        catch_up_limit: the most late ticks.
        remaining: the most ticks that the schedule may still send; None: no limit.
    """
    first = instants.after(cursor)
    if first is None or first > now or remaining == 0:
        return DueTicks(ticks=(), dropped=0, cursor=cursor)
    on_time_from = max(cursor, now - ON_TIME_SECONDS)
    if first > on_time_from:  # nearly always
        on_time_from = cursor
    on_time = list(islice(instants.between(on_time_from, now), _MOST_ON_TIME))
    limit = _late_limit(misfire, catch_up_limit, on_time)
    late_from = max(cursor, now - catch_up)
    late = instants.newest(late_from, on_time_from, limit) if limit and late_from < on_time_from else []
    ticks = [*late, *on_time]
    # Counted from the cursor on, so that an outage of weeks costs no more than the limit.
    too_late = instants.count(cursor, on_time_from, _MOST_COUNTED)
    return DueTicks(
        ticks=tuple(ticks if remaining is None else ticks[:remaining]),
        dropped=max(0, too_late - len(late)),
        cursor=on_time[-1] if on_time else on_time_from,
    )


def _late_limit(misfire: Misfire, catch_up_limit: int, on_time: Sequence[float]) -> int:
    """How many late ticks are sent."""
    if misfire == "all":
        return catch_up_limit
    return int(misfire == "latest" and not on_time)


@frozen(kw_only=True)
class Sending:
    """What becomes of due ticks.

    Attributes:
        send: the instants to send, in order.
        waiting: the tick that waits for the end of the workflow before; None: none does.
        skipped: how many ticks are not sent.
        cancel: whether the workflow before is cancelled.
    """

    send: tuple[float, ...]
    waiting: float | None = None
    skipped: int = 0
    cancel: bool = False


def apply_overlap(rule: Overlap, ticks: Sequence[float], *, running: bool, waiting: float | None) -> Sending:
    """What becomes of due ticks while the workflow of the tick before may run.

    Args:
        rule: the rule of the schedule.
        ticks: the due ticks, in order.
        running: whether a workflow of the schedule has not ended.
        waiting: the tick that waited before; None: none did.
    """
    due = tuple(ticks) if waiting is None else (waiting, *ticks)
    if rule == "allow" or not due:
        return Sending(send=due)
    if rule == "cancel_previous":
        return Sending(send=due[-1:], skipped=len(due) - 1, cancel=running)
    send = () if running else due[:1]
    others = due[len(send) :]
    if rule == "skip":
        return Sending(send=send, skipped=len(others))
    # One waits: the newest, since that is what its task will find when it runs.
    return Sending(send=send, waiting=others[-1] if others else None, skipped=max(0, len(others) - 1))
