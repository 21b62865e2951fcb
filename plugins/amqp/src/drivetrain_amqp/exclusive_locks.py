"""Locks across processes: a lock is an exclusive queue, which RabbitMQ gives to one connection at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pika import spec

from drivetrain.contract import Clock, ServiceError, ServiceUnavailable
from drivetrain_amqp.errors import LOCKED, reply_code
from drivetrain_amqp.topology import Names

__all__ = ["ExclusiveLocks"]

_TIMEOUT_SECONDS, _POLL_SECONDS = 30.0, 0.02


class ExclusiveLocks:
    """Named locks of one connection. RabbitMQ releases a lock when the connection that holds it ends. Thread-safe.

    Args:
        ask: sends a request, as `ConnectionManager.ask_if_exists`.
        names: the names of the app, whose locks these are.
        clock: the clock to wait with.
    """

    def __init__(self, ask: Callable[[str, Any], Any], names: Names, clock: Clock) -> None:
        self._ask, self._names, self._clock = ask, names, clock

    @contextmanager
    def holding(self, name: str) -> Iterator[None]:
        """Hold a lock; wait while another connection holds it.

        Raises:
            ServiceUnavailable: another connection still holds it after 30 seconds.
        """
        queue = self._names.lock(name)
        declare = spec.Queue.Declare(queue=queue, exclusive=True, auto_delete=True)
        self._wait_until_accepted(declare, name)
        try:
            yield
        finally:
            self._ask("unlocking", spec.Queue.Delete(queue=queue))

    def await_free(self, name: str) -> None:
        """Wait until no other connection holds a lock.

        Raises:
            ServiceUnavailable: another connection still holds it after 30 seconds.
        """
        self._wait_until_accepted(spec.Queue.Declare(queue=self._names.lock(name), passive=True), name)

    def _wait_until_accepted(self, method: Any, name: str) -> None:
        deadline = self._clock.monotonic() + _TIMEOUT_SECONDS
        while not self._is_accepted(method):
            if self._clock.monotonic() > deadline:
                raise ServiceUnavailable(
                    f"another connection has held the lock {name!r} for {_TIMEOUT_SECONDS:g} seconds; try again later"
                )
            self._clock.wait_event(threading.Event(), _POLL_SECONDS)

    def _is_accepted(self, method: Any) -> bool:
        """Send a request for the lock's queue, which RabbitMQ refuses while another connection has the queue."""
        try:
            self._ask("locking", method)
        except ServiceError as error:
            if reply_code(error) == LOCKED:
                return False
            raise
        return True
