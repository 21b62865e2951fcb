"""When a message is certainly gone: it was missed by several searches, for long enough. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import evolve, frozen

from drivetrain.contract import BrokerCapabilities, Hold
from drivetrain.worker.rescue.overdue import Overdue

__all__ = ["SEARCHES", "MissedMessages", "certainty_seconds"]

#: A message is gone when this number of searches in a row has missed it.
SEARCHES = 5
#: The pause between two searches, in leases: a message in flight in one search is no longer in flight in the next.
_LEASES_APART = 1.25


def certainty_seconds(
    broker: BrokerCapabilities, *, lease_seconds: float, version_mismatch_seconds: float
) -> float | None:
    """How long searches must miss a message before it is certainly gone; None: that is never certain. Pure.

    Args:
        broker: the capabilities of the broker.
        lease_seconds: how long workers hold messages, in seconds.
        version_mismatch_seconds: how long a message that a worker cannot run is offered to others, in seconds.
    """
    needed = [(SEARCHES - 1) * _LEASES_APART * lease_seconds]
    if broker.hold is Hold.CONNECTION:
        if broker.longest_hold_seconds is None:
            return None  # a consumer that hangs may hold a message without limit, and no search would see it
        needed.append(2 * broker.longest_hold_seconds)  # held by one consumer, released, and held by the next one
    if not broker.peeks:
        needed.append(2 * version_mismatch_seconds)  # delayed several times in that time, and not visible
    return max(needed)


@frozen
class _Missed:
    version: tuple[object, ...]
    #: When it was missed first, by the monotonic clock.
    since: float
    searches: int


class MissedMessages:
    """Counts how often and how long messages were missed by consecutive searches. Does no I/O."""

    def __init__(self, seconds: float) -> None:
        """Make it.

        Args:
            seconds: how long a message must be missed until it is certainly gone, in seconds.
        """
        self._seconds = seconds
        self._missed: Mapping[str, _Missed] = {}

    def update(self, missing: Iterable[Overdue], now: float) -> Sequence[Overdue]:
        """Add the result of a search; the tasks whose message is certainly gone.

        Args:
            missing: the tasks whose message this search missed. All others are forgotten.
            now: the time of the monotonic clock, in seconds.
        """
        missing = list(missing)
        self._missed = {one.record.task_id: self._again(one, now) for one in missing}
        return [one for one in missing if self._certain(self._missed[one.record.task_id], now)]

    def _again(self, one: Overdue, now: float) -> _Missed:
        before = self._missed.get(one.record.task_id)
        if before is None or before.version != one.version:
            return _Missed(one.version, now, 1)
        return evolve(before, searches=before.searches + 1)

    def _certain(self, missed: _Missed, now: float) -> bool:
        return missed.searches >= SEARCHES and now - missed.since >= self._seconds
