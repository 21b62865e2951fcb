"""Paused queues: workers receive nothing from them until they are resumed. Stored as versioned values.

The watch of a worker's pauses also sees a request to stop the worker: both are read in one call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from drivetrain.contract import ServiceError, VersionedValue, VersionedValues
from drivetrain.worker.logs import get_logger
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.stop_requests import StopRequest, decode_stop_request, stop_key
from drivetrain.worker.value_codec import decode
from drivetrain.worker.value_waiting import wait_for_values

__all__ = ["PAUSE_PREFIX", "Pause", "PauseWatch", "pause_key", "read_pauses"]

logger = get_logger("drivetrain.worker")

#: The keys of pauses begin with it.
PAUSE_PREFIX = "pauses/"
#: How often a worker reads the pauses of its queues where the backend does not notify, or is away, in seconds.
_POLL_SECONDS = 0.5
#: How often it reads them in any case, in seconds.
_REREAD_SECONDS = 60.0


class Pause(Struct, frozen=True, kw_only=True):
    """Why and since when a queue is paused.

    Attributes:
        since: when it was paused, in Unix seconds.
        why: the reason that the operator gave; empty: none.
        by: the operator; empty: unknown.
    """

    since: float
    why: str = ""
    by: str = ""


def pause_key(queue: str) -> str:
    """The key of the pause of a queue."""
    return PAUSE_PREFIX + queue


def _decode(value: bytes) -> Pause:
    """The pause. A value that cannot be read is a pause without a reason."""
    try:
        return decode(value, Pause)
    except ValueError:
        return Pause(since=0.0, why="(this pause was written by another version of drivetrain)")


def read_pauses(backend: VersionedValues, queues: Sequence[str]) -> Mapping[str, Pause]:
    """The pauses of those of ``queues`` that are paused.

    Raises:
        ServiceError: the backend could not be reached.
    """
    stored = backend.read_values([pause_key(queue) for queue in queues])
    return _pauses(dict(zip(queues, stored, strict=True)))


def _pauses(stored: Mapping[str, VersionedValue | None]) -> Mapping[str, Pause]:
    return {queue: _decode(one.value) for queue, one in stored.items() if one is not None}


class PauseWatch:
    """Knows which queues of a worker are paused: at once where the backend notifies, else within a second. Thread-safe.

    One thread reads the pauses, that of `run`. With two readers, the older answer could be kept for a minute.

    Args:
        runtime: the drivers of the app.
        queues: the queues of the worker, in order.
        worker: the name of the worker.

    Attributes:
        stop_requested: called in the thread of `run` with each new request to stop the worker.
    """

    def __init__(self, runtime: Runtime, queues: Sequence[str], worker: str) -> None:
        self.stop_requested: Callable[[StopRequest], None] = lambda _request: None
        self._runtime = runtime
        self._queues = tuple(queues)
        self._keys = (*map(pause_key, self._queues), stop_key(worker))
        self._stop_version = 0
        self._stores = runtime.backend.capabilities.stores
        self._end = threading.Event()
        self._changed = threading.Event()
        self._failing = False
        #: Set when the pauses have been read for the first time.
        self._known = threading.Event()
        #: The versions of the pauses that were read last, by key; 0: the queue is not paused.
        self._seen: Mapping[str, int] = {}
        #: The queues that are not paused, in order. A new tuple when it changes.
        self.open_queues = self._queues

    def run(self) -> None:
        """Follow changes until `stop`. It may return two seconds after `stop`."""
        while not self._end.is_set():
            try:
                self._pass_on(self._refresh())
                if not self._end.is_set():
                    self._wait()
            except ServiceError as error:
                self._warn(f"cannot read which queues are paused: {error}; the last known pauses hold")
                self._runtime.clock.wait_event(self._end, _POLL_SECONDS)
            except Exception:  # a third-party driver may raise anything, and this thread must live on
                if not self._failing:
                    logger.exception("unexpected error while reading which queues are paused; retrying")
                self._failing = True
                self._runtime.clock.wait_event(self._end, _POLL_SECONDS)

    def stop(self) -> None:
        """End `run`."""
        self._end.set()
        self.wake()

    def refresh(self) -> None:
        """Read the pauses now. Only for the thread of `run`, or where `run` is not called.

        Raises:
            ServiceError: the backend could not be reached.
        """
        if self._stores:
            self._refresh()

    def _refresh(self) -> VersionedValue | None:
        """Read the pauses; the request to stop the worker."""
        *pauses, stop = values = self._runtime.backend.read_values(self._keys)
        self._seen = {key: 0 if one is None else one.version for key, one in zip(self._keys, values, strict=True)}
        stored = dict(zip(self._queues, pauses, strict=True))
        open_queues = tuple(queue for queue in self._queues if stored[queue] is None)
        if open_queues != self.open_queues:
            self._log(_pauses(stored))
            self.open_queues = open_queues
            self._changed.set()
        self._failing = False
        self._known.set()
        return stop

    def _pass_on(self, stop: VersionedValue | None) -> None:
        if stop is None or stop.version == self._stop_version:
            return
        self._stop_version = stop.version
        if (request := decode_stop_request(stop.value)) is not None:
            self.stop_requested(request)

    def wait_until_known(self) -> None:
        """Wait until `run` has read the pauses for the first time, or until `wake` is called."""
        if self._stores:
            self._runtime.clock.wait_event(self._known, None)

    def wait_for_change(self, known: tuple[str, ...], seconds: float) -> None:
        """Wait until `open_queues` is another tuple than ``known``, or `wake` is called; at most ``seconds``.

        For one thread.
        """
        if self.open_queues is known and self._runtime.clock.wait_event(self._changed, seconds):
            self._changed.clear()

    def wake(self) -> None:
        """End the present or the next `wait_for_change`, and `wait_until_known`."""
        self._known.set()
        self._changed.set()

    def _wait(self) -> None:
        wait_for_values(
            self._runtime.backend,
            self._runtime.clock,
            self._seen,
            timeout_seconds=_REREAD_SECONDS,
            end=self._end,
            poll_seconds=_POLL_SECONDS,
        )

    def _log(self, paused: Mapping[str, Pause]) -> None:
        for queue, pause in paused.items():
            if queue in self.open_queues:
                why = f": {pause.why}" if pause.why else ""
                logger.warning("queue %s is paused%s; this worker receives nothing from it", queue, why)
        for queue in self._queues:
            if queue not in paused and queue not in self.open_queues:
                logger.info("queue %s is resumed", queue)

    def _warn(self, text: str) -> None:
        if not self._failing:
            logger.warning("%s", text)
        self._failing = True
