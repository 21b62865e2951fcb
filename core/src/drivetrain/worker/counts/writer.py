"""The thread of a worker that writes what the worker has counted to the backend, minute by minute."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

from drivetrain.contract import ServiceError, ValueWrite
from drivetrain.worker.activity import Activity
from drivetrain.worker.counts.folder import CountsFolder
from drivetrain.worker.counts.stored import MINUTE, MinuteCounts, counted_tasks, minute_key, start_of, within_bytes
from drivetrain.worker.logs import get_logger
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.value_codec import encode

__all__ = ["WRITE_SECONDS", "CountsWriter"]

logger = get_logger("drivetrain.worker")

#: How often a worker writes, in seconds, if it has counted anything: a worker that dies loses the counts of this time.
WRITE_SECONDS = 5.0
#: How often a worker offers to fold the values of all workers, in seconds, if it has written anything meanwhile.
_FOLD_SECONDS = 60.0
#: The largest number of minutes that wait for a backend that is away.
_MOST_MINUTES = 60
#: The largest value, in bytes. A task takes about 150.
_LARGEST_BYTES = 400_000
#: What a value has besides the counts, in bytes.
_HEAD_BYTES = 200


class CountsWriter:
    """Writes the counts of a worker. A write holds all of a minute until then, so a repeated write changes nothing.

    The minute of a count is that of the write by this worker's clock, a few seconds late at most. Thus no minute
    changes long after its end, not even by a worker that was suspended for an hour.

    Args:
        runtime: the drivers of the app.
        activity: what the worker has done.
        retention_seconds: how long counts are kept.
    """

    def __init__(self, runtime: Runtime, activity: Activity, retention_seconds: float) -> None:
        self._runtime = runtime
        self._activity = activity
        self._retention_seconds = retention_seconds
        largest = runtime.backend.capabilities.largest_value_bytes or _LARGEST_BYTES
        self._largest_bytes = min(_LARGEST_BYTES, largest) - _HEAD_BYTES
        self._folder = CountsFolder(runtime, retention_seconds, self._largest_bytes)
        self._writer = _new_writer()
        #: The minute of the last counts.
        self._minute = 0
        #: The minute of the last counts, and those before it of which the last write may have failed; by key.
        self._minutes: dict[str, MinuteCounts] = {}
        self._unwritten = False
        self._fold_at = runtime.clock.monotonic() + _FOLD_SECONDS
        self._wrote = False
        self._end = threading.Event()
        self._failing = False

    def run(self) -> None:
        """Write until `stop`; then write what is left."""
        while not self._runtime.clock.wait_event(self._end, WRITE_SECONDS):
            self._safely("write counts", self.write)
            if self._wrote and self._runtime.clock.monotonic() >= self._fold_at:
                self._wrote, self._fold_at = False, self._runtime.clock.monotonic() + _FOLD_SECONDS
                self._safely("fold counts", self._folder.fold)
        self._safely("write counts", self.write)

    def stop(self) -> None:
        """End `run`."""
        self._end.set()

    def write(self) -> None:
        """Write what was counted since the last write.

        Raises:
            ServiceError: the backend could not be reached. The next call writes the same again, and what was counted
                meanwhile.
        """
        self._collect()
        if not self._unwritten:
            return
        self._runtime.backend.write_values(
            [
                ValueWrite(key=key, value=encode(one), expires_in_seconds=self._retention_seconds)
                for key, one in self._minutes.items()
            ]
        )
        self._unwritten, self._wrote = False, True

    def _collect(self) -> None:
        taken = self._activity.take()
        if not taken:
            return
        minute = start_of(self._runtime.clock.now(), MINUTE)
        if minute < self._minute:  # the clock was set back: a minute that is over must not change
            self._writer = _new_writer()
        self._minute = minute
        key = minute_key(minute, self._writer)
        present = self._minutes.get(key)
        if not self._unwritten:
            self._minutes.clear()
        before = () if present is None else present.tasks
        self._minutes[key] = MinuteCounts(
            start=minute,
            writer=self._writer,
            kept_seconds=self._retention_seconds,
            tasks=within_bytes(counted_tasks([before, taken]), self._largest_bytes),
        )
        self._unwritten = True
        if len(self._minutes) > _MOST_MINUTES:
            first = self._minutes.pop(next(iter(self._minutes)))
            logger.warning("the backend is away for too long; the counts of %s are lost", _shown(first.start))

    def _safely(self, what: str, do: Callable[[], None]) -> None:
        """Do something, and log the first failure of several in a row: the worker works without counts."""
        try:
            do()
        except ServiceError as error:
            if not self._failing:
                logger.warning("cannot %s: %s; retrying every %.0f s", what, error, WRITE_SECONDS)
            self._failed()
        except Exception:  # a third-party driver may raise anything; tasks do not depend on counts
            if not self._failing:
                logger.exception("unexpected error: cannot %s; retrying every %.0f s", what, WRITE_SECONDS)
            self._failed()
        else:
            self._failing = False

    def _failed(self) -> None:
        if not self._failing:
            # A value that is written again after a long time may have been folded meanwhile, so it must not grow.
            self._writer = _new_writer()
        self._failing = True


def _new_writer() -> str:
    return uuid4().hex[:12]


def _shown(start: int) -> str:
    return datetime.fromtimestamp(start, UTC).isoformat()
