"""The rescuer of a worker: it searches for lost tasks in a thread, in one worker at a time."""

from __future__ import annotations

import threading

from drivetrain.contract import ServiceError
from drivetrain.worker.logs import get_logger
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.rescue.ending import LostTaskEnder
from drivetrain.worker.rescue.missed_messages import SEARCHES, MissedMessages, certainty_seconds
from drivetrain.worker.rescue.searching import Found, LostTaskSearch, SearchResult
from drivetrain.worker.retrying import GaveUp, Retrier
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.value_lock import ValueLock

__all__ = ["Rescuer", "rescuer"]

logger = get_logger("drivetrain.rescue")

#: The name of the lock of the worker that searches. Two workers may search at once; one alone saves work.
_LOCK = "drivetrain.rescue"


def rescuer(runtime: Runtime, options: WorkerOptions) -> Rescuer | None:
    """The rescuer of a worker; None: it is switched off, or the drivers cannot list what it needs."""
    if options.rescue_after_seconds is None or not runtime.backend.capabilities.lists_tasks:
        return None
    needed = certainty_seconds(
        runtime.broker.capabilities,
        lease_seconds=options.lease_seconds,
        version_mismatch_seconds=options.version_mismatch_seconds,
    )
    return None if needed is None else Rescuer(runtime, options, max(needed, options.rescue_after_seconds))


class Rescuer:
    """Searches for lost tasks, and ends them, until it is stopped. `run` is the target of a thread."""

    def __init__(self, runtime: Runtime, options: WorkerOptions, seconds: float) -> None:
        """Make it.

        Args:
            runtime: whose drivers.
            options: of the worker.
            seconds: how long a message must be missed until it is certainly gone, in seconds.
        """
        self._runtime = runtime
        self._seconds = seconds
        self._pause_seconds = seconds / (SEARCHES - 1)
        self._end = threading.Event()
        self._lock = ValueLock(lambda: runtime.backend, _LOCK, seconds=2 * self._pause_seconds)
        self._missed_messages = MissedMessages(seconds)
        self._warned = False
        retrier = Retrier(runtime.clock, give_up=self._end)
        self._search = LostTaskSearch(
            runtime, lease_seconds=options.lease_seconds, missed_messages=self._missed_messages, retrier=retrier
        )
        self._ender = LostTaskEnder(
            runtime,
            worker=options.name,
            lease_seconds=options.lease_seconds,
            retrier=retrier,
            stopped=self._end.is_set,
        )

    def run(self) -> None:
        """Search at regular intervals until `stop` is called."""
        while not self._runtime.clock.wait_event(self._end, self._pause_seconds):
            try:
                self.search()
            except GaveUp:
                break
            except ServiceError as error:
                logger.warning("cannot search for lost tasks: %s; retrying in %.0f s", error, self._pause_seconds)
            except Exception:  # this thread must survive any error
                logger.exception(
                    "unexpected error while searching for lost tasks; retrying in %.0f s", self._pause_seconds
                )
        self._let_go()

    def stop(self) -> None:
        """End `run`."""
        self._end.set()

    def search(self) -> list[Found]:
        """Search once, if this worker has the lock, and end lost tasks; what was done."""
        if not self._leads():
            self._missed_messages.update((), 0.0)  # another worker searches: start to count again when it has ended
            return []
        result = self._search.search(self._pause_seconds)
        self._warn(result)
        return list(self._ender.end(result.lost))

    def _leads(self) -> bool:
        """Whether this worker holds the lock, and so is the one that searches."""
        return self._lock.renew() or self._lock.acquire()

    def _let_go(self) -> None:
        try:
            self._lock.release()
        except ServiceError as error:
            logger.debug("cannot release the lock %s: %s; it expires", _LOCK, error)

    def _warn(self, result: SearchResult) -> None:
        """Warn of tasks that only an operator can decide on; once, until there are none."""
        latest = self._runtime.clock.now() - self._seconds
        unclear = [found for found in result.unclear if found.overdue.since <= latest]
        if unclear and not self._warned:
            text = "at least %d overdue tasks may be lost, but this is not certain: %s; run `drivetrain rescue`"
            logger.warning(text, len(unclear), unclear[0].reason)
        self._warned = bool(unclear)
