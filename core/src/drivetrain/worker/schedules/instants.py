"""The instants of a schedule, in Unix seconds: those of its timetable, between its start and its end. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import islice

from drivetrain.contract import DrivetrainError, Timetable

__all__ = ["Instants", "TimetableFailed", "jitter_seconds"]

#: The first width in which the newest instants are searched for, in seconds.
_FIRST_WIDTH = 60.0
_MOST_KNOWN = 8


class TimetableFailed(DrivetrainError):
    """A timetable raised an error, or an instant that is not later than the given one."""


class Instants:
    """The instants of a schedule, to the millisecond.

    Args:
        timetable: the timetable.
        start: no instant before this time, in Unix seconds; None: no limit.
        end: no instant after this time, in Unix seconds; None: no limit.
    """

    def __init__(self, timetable: Timetable, start: float | None = None, end: float | None = None) -> None:
        self._timetable = timetable
        self._start = start
        self._end = end
        #: The last questions and their answers: each step of a tick asks the same ones again.
        self._known: dict[float, float | None] = {}

    def after(self, instant: float) -> float | None:
        """The first instant after this one; None: there is none.

        Raises:
            TimetableFailed: the timetable is broken.
        """
        if instant in self._known:
            return self._known[instant]
        found = self._find(instant)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[instant] = found
        return found

    def _find(self, instant: float) -> float | None:
        if self._start is not None and instant < self._start:
            instant = self._start - 0.001
        try:
            found = self._timetable.after(datetime.fromtimestamp(instant, UTC))
            seconds = None if found is None else round(found.timestamp() * 1000) / 1000
        except Exception as error:
            raise TimetableFailed(f"the timetable {self._timetable!r} has failed: {error}") from error
        if seconds is None or (self._end is not None and seconds > self._end):
            return None
        if seconds <= instant:
            raise TimetableFailed(f"the timetable {self._timetable!r} returned {found}, which is not after {instant}")
        return seconds

    def between(self, after: float, until: float) -> Iterator[float]:
        """The instants after ``after`` and not after ``until``, in order."""
        following = self.after(after)
        while following is not None and following <= until:
            yield following
            following = self.after(following)

    def newest(self, after: float, until: float, count: int) -> list[float]:
        """The last ``count`` instants after ``after`` and not after ``until``, in order.

        It looks at few others, however many instants there are.
        """
        width = _FIRST_WIDTH
        while True:
            begin = max(after, until - width)
            found = deque(self.between(begin, until), maxlen=count)
            if len(found) == count or begin == after:
                return list(found)
            width *= 4

    def count(self, after: float, until: float, limit: int) -> int:
        """How many instants are after ``after`` and not after ``until``; at most ``limit``."""
        return sum(1 for _ in islice(self.between(after, until), limit))


def jitter_seconds(schedule_id: str, longest: float) -> float:
    """By how much the ticks of a schedule are sent after their instants: the same for all schedulers.

    Args:
        schedule_id: the id of the schedule.
        longest: the longest delay, in seconds.
    """
    if not longest:
        return 0.0
    digest = blake2b(schedule_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return round(longest * int.from_bytes(digest, "big") / 2**64, 3)
