"""The rescue that every worker does beside its tasks, one worker at a time."""

from __future__ import annotations

import threading

from drivetrain.contract import ServiceError
from drivetrain.worker.logs import get_logger
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.rescue import SEARCHES, Found, MissedMessages, Rescue, SearchResult, certainty_seconds
from drivetrain.worker.retrying import GaveUp, Retrier
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.value_lock import ValueLock

__all__ = ["Rescuer", "rescuer"]

logger = get_logger("drivetrain.rescue")

#: The name of the lock that lets one worker look at a time. Two that look do no harm; it saves work.
_LOCK = "drivetrain.rescue"


def rescuer(runtime: Runtime, options: WorkerOptions) -> Rescuer | None:
    """The rescuer of a worker; None: it is switched off, or these drivers cannot tell what is lost."""
    if options.rescue_after_seconds is None or not runtime.backend.capabilities.lists_tasks:
        return None
    needed = certainty_seconds(
        runtime.broker.capabilities,
        lease_seconds=options.lease_seconds,
        version_mismatch_seconds=options.version_mismatch_seconds,
    )
    return None if needed is None else Rescuer(runtime, options, max(needed, options.rescue_after_seconds))


class Rescuer:
    """Looks for lost tasks in a thread of its own until it is stopped."""

    def __init__(self, runtime: Runtime, options: WorkerOptions, seconds: float) -> None:
        """Make it.

        Args:
            runtime: whose drivers.
            options: of the worker.
            seconds: for how long a message must have been missed.
        """
        self._runtime = runtime
        self._seconds = seconds
        self._pause_seconds = seconds / (SEARCHES - 1)
        self._end = threading.Event()
        self._lock = ValueLock(lambda: runtime.backend, _LOCK, seconds=2 * self._pause_seconds)
        self._missed_messages = MissedMessages(seconds)
        self._warned = False
        self._rescue = Rescue(
            runtime,
            worker=options.name,
            lease_seconds=options.lease_seconds,
            missed_messages=self._missed_messages,
            retrier=Retrier(runtime.clock, give_up=self._end),
            stopped=self._end.is_set,
        )

    def run(self) -> None:
        """Look every so often until `stop`."""
        while not self._runtime.clock.wait_event(self._end, self._pause_seconds):
            try:
                self.search()
            except GaveUp:
                break
            except ServiceError as error:
                logger.warning("cannot search for lost tasks: %s; retrying in %.0f s", error, self._pause_seconds)
            except Exception:  # whatever it is, this thread must live on
                logger.exception(
                    "unexpected error while searching for lost tasks; retrying in %.0f s", self._pause_seconds
                )
        self._let_go()

    def stop(self) -> None:
        """End `run`."""
        self._end.set()

    def search(self) -> list[Found]:
        """Look once, if it is this worker's turn, and end what is lost; what was done."""
        if not self._leads():
            self._missed_messages.update((), 0.0)  # somebody else looks; what was missed here is of no use later
            return []
        search = self._rescue.search(self._pause_seconds)
        self._warn(search)
        return list(self._rescue.end(search.lost))

    def _leads(self) -> bool:
        """Whether it is this worker that looks: the one that holds the lock, for as long as it lives."""
        return self._lock.renew() or self._lock.acquire()

    def _let_go(self) -> None:
        try:
            self._lock.release()
        except ServiceError as error:
            logger.debug("cannot release the lock %s: %s; it expires", _LOCK, error)

    def _warn(self, search: SearchResult) -> None:
        """Say that there are tasks that only an operator can decide on; once, until there are none."""
        latest = self._runtime.clock.now() - self._seconds
        unclear = [found for found in search.unclear if found.overdue.since <= latest]
        if unclear and not self._warned:
            text = "at least %d overdue tasks may be lost, but this is not certain: %s; run `drivetrain rescue`"
            logger.warning(text, len(unclear), unclear[0].reason)
        self._warned = bool(unclear)
