"""One connection at a time, across processes: the lock is a queue that RabbitMQ gives to one connection only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pika import spec

from drivetrain.contract import Clock, ServiceError, ServiceUnavailable
from drivetrain_amqp.asking import Admin, ask_if_there
from drivetrain_amqp.errors import LOCKED, reply_code
from drivetrain_amqp.names import Names

__all__ = ["Exclusion"]

_PATIENCE_SECONDS, _PAUSE_SECONDS = 30.0, 0.02


class Exclusion:
    """Locks by name. A lock ends with the connection that holds it.

    Args:
        admin: opens a channel of the connection that is to hold the locks.
        names: of the app, within which the locks hold.
        clock: to wait by.
    """

    def __init__(self, admin: Admin, names: Names, clock: Clock) -> None:
        self._admin, self._names, self._clock = admin, names, clock

    @contextmanager
    def holding(self, what: str) -> Iterator[None]:
        """Hold a lock; wait while another connection has it.

        Raises:
            ServiceUnavailable: another connection has had it for 30 seconds.
        """
        lock = self._names.lock(what)
        declare = spec.Queue.Declare(queue=lock, exclusive=True, auto_delete=True)
        self._wait_until(lambda: self._is_not_refused(declare), what)
        try:
            yield
        finally:
            ask_if_there(self._admin, "unlocking", spec.Queue.Delete(queue=lock))

    def await_free(self, what: str) -> None:
        """Return when no connection has a lock.

        Raises:
            ServiceUnavailable: another connection has had it for 30 seconds.
        """
        look = spec.Queue.Declare(queue=self._names.lock(what), passive=True)
        self._wait_until(lambda: self._is_not_refused(look), what)

    def _is_not_refused(self, method: Any) -> bool:
        """Ask for a lock, which is refused where another connection has it."""
        try:
            ask_if_there(self._admin, "locking", method)
        except ServiceError as error:
            if reply_code(error) == LOCKED:
                return False
            raise
        return True

    def _wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        deadline = self._clock.monotonic() + _PATIENCE_SECONDS
        while not is_so():
            if self._clock.monotonic() > deadline:
                raise ServiceUnavailable(
                    f"another connection has held the lock of {what!r} for {_PATIENCE_SECONDS:g} seconds; try later"
                )
            self._clock.wait_event(threading.Event(), _PAUSE_SECONDS)
