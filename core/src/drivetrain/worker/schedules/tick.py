"""A tick: one instant of a schedule. Its ids are functions of it, so sending a tick twice is sending it once. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b

from attrs import frozen
from msgspec import Struct

__all__ = ["SentTick", "Tick", "TickKind", "read_tick", "tick_header", "tick_ids"]


#: The digits by which UUIDs are marked, for each digit of a digest.
_VARIANTS = {f"{digit:x}": "89ab"[digit % 4] for digit in range(16)}


class TickKind(StrEnum):
    """Why a tick was sent.

    Attributes:
        SCHEDULED: its instant had come.
        TRIGGERED: an operator has triggered the schedule.
        BACKFILLED: an operator has sent the ticks of a past period.
    """

    SCHEDULED = "scheduled"
    TRIGGERED = "triggered"
    BACKFILLED = "backfilled"


@frozen
class Tick:
    """The tick for which a task runs; see `TaskContext.tick`.

    Attributes:
        schedule: the id of the schedule.
        instant: the planned instant, in UTC, without jitter; of a triggered tick the time of the trigger.
        kind: why it was sent.
    """

    schedule: str
    instant: datetime
    kind: TickKind = TickKind.SCHEDULED


class SentTick(Struct, frozen=True, array_like=True):
    """A tick whose workflow was sent, and has not ended as far as the schedulers know.

    Attributes:
        instant: its instant, in Unix seconds.
        label: distinguishes ticks of the same instant; empty for the schedule's own.
        size: how many ids its workflow has.
        last: which of these ids is that of the last task or group.
    """

    instant: float
    label: str
    size: int
    last: int


def tick_ids(incarnation: str, instant: float, label: str = "") -> Callable[[int], str]:
    """A function that returns the id of the n-th task or group of a tick's workflow.

    The ids have the form of UUID version 7, as all ids have: those of later ticks sort later.

    Args:
        incarnation: the incarnation of the schedule.
        instant: the instant of the tick, in Unix seconds.
        label: see `SentTick.label`.
    """
    milliseconds = round(instant * 1000)
    seed = blake2b(f"{incarnation} {milliseconds} {label} ".encode("utf-8", "surrogatepass"), digest_size=10)
    time = f"{milliseconds & (1 << 48) - 1:012x}"

    def nth(number: int) -> str:
        digest = seed.copy()
        digest.update(b"%d" % number)
        text = digest.hexdigest()
        return f"{time}7{text[:3]}{_VARIANTS[text[3]]}{text[4:19]}"

    return nth


def tick_header(schedule: str, instant: float, kind: TickKind) -> str:
    """The header by which the tasks of a tick know it."""
    return f"{round(instant * 1000)} {kind} {schedule}"


def read_tick(header: str) -> Tick | None:
    """The tick of a header; None: another program has written something else into it."""
    milliseconds, _, rest = header.partition(" ")
    kind, _, schedule = rest.partition(" ")
    try:
        return Tick(schedule, datetime.fromtimestamp(int(milliseconds) / 1000, UTC), TickKind(kind))
    except (ValueError, OverflowError, OSError):
        return None
