"""Waiting for a message or for the end of a task: look once, then sleep until the server notifies.

A waiter registers its channel in Redis, in the same step in which it finds nothing. The producer publishes to the
registered channels. A subscription and not a blocking command: one wait is for several queues or tasks, perhaps on
several nodes of a cluster, and `close` must end it at once.
"""

from __future__ import annotations

import secrets
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from drivetrain.contract import reset_after_fork
from drivetrain_redis.connection import Client, ServerConnection, socket_of
from drivetrain_redis.errors import CLIENT_ERRORS, mapped
from drivetrain_redis.options import Options
from drivetrain_redis.scripts import pack

__all__ = ["Waiting"]

T = TypeVar("T")

#: A waiter looks again after this time, in seconds: its connection may have died silently.
_LONGEST_SLEEP_SECONDS = 15.0
#: How many idle subscriptions are kept for the next waits.
_IDLE_SUBSCRIPTIONS = 4


class Subscription:
    """A subscription to a channel of its own. Used by one thread at a time, except for `wake`."""

    def __init__(self, prefix: str, connect: Callable[[], ServerConnection]) -> None:
        """Make it; `subscribe` connects.

        Args:
            prefix: of the channel's name.
            connect: opens a connection.
        """
        #: That of the client when this was subscribed.
        self.generation = 0
        self.channel = f"{prefix}:bell:{secrets.token_hex(8)}"
        self._connect = connect
        self._connection: ServerConnection | None = None
        self._poll = select.poll()
        # Another thread of this process wakes the waiter by writing to one end.
        self._inner, self._outer = socket.socketpair()
        self._inner.setblocking(False)
        self._outer.setblocking(False)
        self._poll.register(self._inner, select.POLLIN)

    def subscribe(self) -> None:
        """Subscribe, if not subscribed. Earlier notifications may be lost: look once more afterwards.

        Raises:
            redis.RedisError, OSError: the server cannot be reached, or refuses.
        """
        if self._connection is not None:
            return
        connection = self._connect()
        try:
            connection.redis.send_packed_command([pack(("SUBSCRIBE", self.channel))])
            connection.redis.read_response(push_request=True)
            self._poll.register(socket_of(connection.redis), select.POLLIN)
        except BaseException:  # raised again: nobody else has the connection
            connection.close()
            raise
        self._connection = connection

    def wait(self, seconds: float) -> list[bytes]:
        """Wait for notifications; those that came. Empty after the time, and when another thread has called `wake`.

        Args:
            seconds: how long at most.

        Raises:
            redis.RedisError: the connection is lost.
        """
        ready = [file for file, _ in self._poll.poll(max(0.0, seconds * 1000.0))]
        if self._inner.fileno() in ready:
            with suppress(BlockingIOError):
                while self._inner.recv(64):
                    continue
        if self._connection is None or ready in ([], [self._inner.fileno()]):
            return []
        return self._notifications(self._connection)

    def _notifications(self, connection: ServerConnection) -> list[bytes]:
        found = []
        try:
            while connection.redis.can_read(0):
                found.append(_content(connection.redis.read_response(push_request=True)))
        except BaseException:  # raised again: notifications may be lost with the connection
            self.disconnect()
            raise
        return found

    def wake(self) -> None:
        """Wake the waiter. Thread-safe."""
        with suppress(OSError):  # full: the waiter is awake already; closed: there is none
            self._outer.send(b"!")

    def disconnect(self) -> None:
        """Close the connection; the next `subscribe` opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._poll = select.poll()  # the lost socket may be closed already, and so have no number
            self._poll.register(self._inner, select.POLLIN)
            connection.close()

    def close(self) -> None:
        """Close everything."""
        self.disconnect()
        self._inner.close()
        self._outer.close()


def _content(push: Any) -> bytes:
    return push[2] if isinstance(push, list) and len(push) == 3 and isinstance(push[2], bytes) else b""


class Waiting:
    """Lets threads wait for something on a server. Thread-safe.

    It measures time by the machine's own clock, for the server lives in real time.
    """

    def __init__(self, options: Options, client: Client) -> None:
        self._options = options
        self._client = client
        self._lock = threading.Lock()
        self._closings = 0
        self._idle: deque[Subscription] = deque()
        self._used: set[Subscription] = set()
        reset_after_fork(self)

    def until(
        self,
        look: Callable[[float, str], tuple[float, list[T]]],
        nothing: list[T],
        wait_seconds: float,
        read: Callable[[list[bytes]], list[T]],
    ) -> list[T]:
        """Look until something is found or the time is over.

        Args:
            look: takes the longest sleep in seconds, and the channel to register. Returns how long to sleep at most,
                and what it found. The last look gets no channel.
            nothing: the result if this object is closed meanwhile.
            wait_seconds: how long in all.
            read: what notifications alone bring, without another look.
        """
        deadline = time.monotonic() + wait_seconds
        closings = self._closings
        subscription = self._take()
        try:
            while True:
                self._subscribe(subscription)
                rest = deadline - time.monotonic()
                pause, found = look(max(0.0, rest), subscription.channel if rest > 0 else "")
                if rest <= 0 or found:
                    return found
                notifications = self._sleep(subscription, min(rest, pause))
                if notifications and (found := read(notifications)):
                    return found  # also when this object is closed: a message may have been handed over
                if self._closings != closings:
                    # Another look would register nothing, and find nothing.
                    return nothing
        except BaseException:
            subscription.disconnect()  # its server may be another one next time
            raise
        finally:
            self._give_back(subscription, closings)

    def _subscribe(self, subscription: Subscription) -> None:
        generation = self._client.generation
        if subscription.generation != generation:
            subscription.disconnect()
        try:
            subscription.subscribe()
        except CLIENT_ERRORS as error:
            raise mapped(error, self._options.shown) from error
        subscription.generation = generation

    def _sleep(self, subscription: Subscription, seconds: float) -> list[bytes]:
        try:
            return subscription.wait(min(seconds, _LONGEST_SLEEP_SECONDS))
        except CLIENT_ERRORS:
            # Lost, perhaps long ago, and other connections with it. Subscribing again shows whether the server is away.
            self._client.close()
            return []

    def _take(self) -> Subscription:
        with self._lock:
            idle = self._idle.pop() if self._idle else None
            subscription = idle or Subscription(self._options.prefix, self._client.connect)
            self._used.add(subscription)
            return subscription

    def _give_back(self, subscription: Subscription, closings: int) -> None:
        with self._lock:
            self._used.discard(subscription)
            keep = self._closings == closings and len(self._idle) < _IDLE_SUBSCRIPTIONS
            if keep:
                self._idle.append(subscription)
        if not keep:
            subscription.close()

    def close(self) -> None:
        """Wake all waiters, and close the idle subscriptions."""
        with self._lock:
            self._closings += 1
            idle, self._idle = self._idle, deque()
            for subscription in self._used:
                subscription.wake()
        for subscription in idle:
            subscription.close()

    def after_fork(self) -> None:
        """See `drivetrain.contract.ForkAware`: the subscriptions are the parent's."""
        self._lock = threading.Lock()
        self._idle, self._used = deque(), set()
