"""Folds the counts that workers have written into one value for each step of time; see `counts.stored`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from drivetrain.contract import ValueWrite, VersionedValue, VersionedValues, chunks
from drivetrain.worker.counts.stored import (
    COUNTS_PREFIX,
    MINUTE_PREFIX,
    FoldedCounts,
    MinuteCounts,
    Step,
    folded,
    folded_key,
    start_of,
    steps,
    within_bytes,
)
from drivetrain.worker.logs import get_logger
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.value_codec import decode, encode
from drivetrain.worker.value_listing import values_under

__all__ = ["FOLD_EVERY_SECONDS", "CountsFolder", "StoredMinute", "read_folded", "stored_minutes"]

logger = get_logger("drivetrain.worker")

#: How often one of the workers folds, in seconds.
FOLD_EVERY_SECONDS = 60.0
#: A value that was not written for this time is not written again, unless its worker could not reach the backend.
_SETTLED_SECONDS = 120.0
#: The key of the turn to fold: the worker that writes it folds, and the others do not until it has expired.
_TURN_KEY = COUNTS_PREFIX + "turn"
#: How many values of workers it folds in one turn at most, and how many folded values it reads and writes at once.
_MOST_AT_ONCE, _VALUES_AT_ONCE = 2000, 20


class StoredMinute(Struct, frozen=True):
    """A stored value of a worker.

    Attributes:
        key: its key.
        stored: the value.
        counts: the counts in it.
    """

    key: str
    stored: VersionedValue
    counts: MinuteCounts

    @property
    def settled(self) -> bool:
        """Whether its worker does not write it again: by the backend's clock, its last write is a while ago."""
        left = self.stored.expires_in_seconds
        return left is not None and self.counts.kept_seconds - left >= _SETTLED_SECONDS


class CountsFolder:
    """Folds the values of all workers. Any number of workers may fold at once.

    Args:
        runtime: the drivers of the app.
        retention_seconds: how long counts are kept.
        largest_bytes: the size of the largest folded value.
    """

    def __init__(self, runtime: Runtime, retention_seconds: float, largest_bytes: int) -> None:
        self._runtime = runtime
        self._steps = steps(retention_seconds)
        self._largest_bytes = largest_bytes

    def fold(self) -> None:
        """Fold, unless another worker has done so within `FOLD_EVERY_SECONDS`.

        Raises:
            ServiceError: the backend could not be reached. What is folded is not counted twice.
        """
        turn = ValueWrite(key=_TURN_KEY, value=b"", if_version=0, expires_in_seconds=FOLD_EVERY_SECONDS)
        if self._runtime.backend.write_values([turn])[0].written:
            settled = (one for one in stored_minutes(self._runtime.backend) if one.settled)
            self._fold(list(islice(settled, _MOST_AT_ONCE)))

    def _fold(self, minutes: Sequence[StoredMinute]) -> None:
        now = self._runtime.clock.now()
        groups = defaultdict[tuple[Step, int], list[StoredMinute]](list)
        for one in minutes:
            for step in self._steps:
                start = start_of(one.counts.start, step.seconds)
                if _lasts(step, start, now) > 0:
                    groups[step, start].append(one)
        remaining: set[str] = set()
        for some in chunks(list(groups.items()), _VALUES_AT_ONCE):
            remaining |= self._fold_groups(some, now)
        # By version: a value that was written meanwhile stays, and is found to be folded already.
        self._runtime.backend.write_values(
            [
                ValueWrite(key=one.key, value=None, if_version=one.stored.version)
                for one in minutes
                if one.key not in remaining
            ]
        )

    def _fold_groups(self, groups: Sequence[tuple[tuple[Step, int], list[StoredMinute]]], now: float) -> set[str]:
        """Write folded values; the keys of the values that are not folded, because another worker folds them now."""
        keys = [folded_key(start, step.seconds) for (step, start), _ in groups]
        writes: list[ValueWrite] = []
        written: list[list[StoredMinute]] = []
        remaining: set[str] = set()
        for key, stored, ((step, start), minutes) in zip(
            keys, self._runtime.backend.read_values(keys), groups, strict=True
        ):
            before = read_folded(key, stored)
            if before is None:
                remaining.update(one.key for one in minutes)
                continue
            after = folded(before, [one.counts for one in minutes], start)
            if after is before:
                continue  # an earlier call has folded them, and did not get to remove them
            writes.append(self._write(key, stored, after, _lasts(step, start, now)))
            written.append(minutes)
        for minutes, outcome in zip(written, self._runtime.backend.write_values(writes), strict=True):
            if not outcome.written:
                remaining.update(one.key for one in minutes)
        return remaining

    def _write(self, key: str, before: VersionedValue | None, after: FoldedCounts, seconds: float) -> ValueWrite:
        room = self._largest_bytes - len(encode(FoldedCounts(minutes=after.minutes)))
        return ValueWrite(
            key=key,
            value=encode(replace(after, tasks=within_bytes(after.tasks, room))),
            if_version=0 if before is None else before.version,
            expires_in_seconds=seconds,
        )


def read_folded(key: str, stored: VersionedValue | None) -> FoldedCounts | None:
    """The folded counts in a value. None if they cannot be read, which is logged."""
    if stored is None:
        return FoldedCounts()
    try:
        return decode(stored.value, FoldedCounts)
    except ValueError as error:
        logger.warning("cannot read the counts %s: %s; they may have a newer version", key, error)
        return None


def stored_minutes(backend: VersionedValues) -> Iterator[StoredMinute]:
    """The values of workers that are stored and not folded yet. One that cannot be read is logged.

    Raises:
        ServiceError: the backend could not be reached.
    """
    for name, stored in values_under(backend, MINUTE_PREFIX):
        key = MINUTE_PREFIX + name
        try:
            yield StoredMinute(key, stored, decode(stored.value, MinuteCounts))
        except ValueError as error:
            logger.warning("cannot read the counts %s: %s; they may have a newer version", key, error)


def _lasts(step: Step, start: int, now: float) -> float:
    """How long a folded value is kept from now, in seconds. A start far in the future comes from a wrong clock."""
    return min(start - now, 0.0) + step.seconds + step.kept_seconds
