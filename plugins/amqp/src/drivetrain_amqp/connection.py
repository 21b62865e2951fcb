"""A connection: one thread keeps it alive, and reads it while nobody waits for it; any thread may write."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from struct import Struct
from typing import Any, TypeVar

from pika import exceptions, spec

from drivetrain.contract import Host
from drivetrain_amqp import wire
from drivetrain_amqp.channel import Channel, Content
from drivetrain_amqp.handshake import closed_by_broker, decoded, shake_hands
from drivetrain_amqp.options import Options
from drivetrain_amqp.reading import Handlers, Reading
from drivetrain_amqp.stream import Stream

__all__ = ["Connection"]

logger = logging.getLogger("drivetrain.amqp")

C = TypeVar("C", bound=Channel)

_ACK, _NACK, _DELIVER, _RETURN, _GET_OK = (60 << 16 | method for method in (80, 120, 60, 50, 71))
_CONTENTS = {_DELIVER, _RETURN, _GET_OK}
_NUMBER = Struct(">I")
_TAG = Struct(">QB")
_SIZE = Struct(">Q")
_CLOSE_SECONDS = 2.0


class Connection:
    """An open connection. Thread-safe. Once it is lost it stays so; a new one is made."""

    def __init__(self, options: Options, host: Host) -> None:
        """Connect.

        Raises:
            pika.exceptions.AMQPError: refused.
            OSError: not reached.
        """
        self.call_timeout_seconds = options.call_timeout_seconds
        self.host = host
        #: Names that were declared by it already, so that they need not be again.
        self.declared: set[Any] = set()
        #: Why it is lost; None: it is open.
        self.error: Exception | None = None
        self._blocked_timeout_seconds = options.blocked_timeout_seconds
        self._blocked_at: float | None = None
        self._changed = threading.Condition()
        self._channels: dict[int, Channel] = {}
        self._parts: dict[int, _Parts] = {}
        self._lock = threading.Lock()
        self._stream = Stream(options, host)
        self._reading = Reading(self._stream, Handlers(self._take_in, self._beat, self.fail))
        try:
            self._agreed = shake_hands(self._stream, options)
            self._written_at = self._heard_at = time.monotonic()
            for method in self._agreed.early:
                self._take_own(method)
            self._reading.start(f"drivetrain-amqp {host}")
        except BaseException:
            self._stream.close()
            raise
        self.largest_frame_bytes = self._agreed.largest_frame_bytes

    def channel(self, kind: Callable[[Connection, int], C]) -> C:
        """A new channel, open."""
        with self._lock:
            number = next(
                (each for each in range(1, self._agreed.most_channels + 1) if each not in self._channels), None
            )
            if number is None:
                raise exceptions.NoFreeChannels
            channel = kind(self, number)
            self._channels[number] = channel
        if self.error is not None:
            channel.end(self.error)
        channel.open()
        return channel

    def forget(self, channel: Channel) -> None:
        """Give the number of a closed channel back."""
        with self._lock:
            if self._channels.get(channel.number) is channel:
                del self._channels[channel.number]

    def write(self, data: bytes) -> None:
        """Send.

        Raises:
            pika.exceptions.AMQPError: the connection is lost.
        """
        if self.error is not None:
            raise type(self.error)(*self.error.args)
        try:
            self._stream.write(data, self._is_patient)
        except OSError as error:
            lost = exceptions.StreamLostError(f"lost while sending: {error}")
            self.fail(lost)
            raise lost from error
        self._written_at = time.monotonic()

    def _is_patient(self, waited_seconds: float) -> bool:
        return self.blocked or waited_seconds < self.call_timeout_seconds

    @property
    def blocked(self) -> bool:
        """Whether the server, short of memory or disk, takes no messages at the moment."""
        return self._blocked_at is not None

    def wait_unblocked(self) -> None:
        """Wait until it takes messages again.

        Raises:
            pika.exceptions.AMQPError: it was lost, or blocked for too long.
        """
        if self._blocked_at is not None:
            with self._changed:
                while self.blocked and self.error is None:
                    self._changed.wait(1.0)
        if self.error is not None:
            raise type(self.error)(*self.error.args)

    def fail(self, error: Exception) -> None:
        """Count as lost, for this reason: everybody who waits is told."""
        with self._lock:
            if self.error is not None:
                return
            self.error = error
            channels = list(self._channels.values())
        self._reading.stop()
        for channel in channels:
            channel.end(error)
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Say goodbye, so that the server has seen all that was sent, and end."""
        if self.error is None:
            try:
                self.write(wire.method(0, spec.Connection.Close(200, "closed", 0, 0)))
            except exceptions.AMQPError:
                pass  # then it is lost, which is as well
            else:
                self._reading.ended.wait(_CLOSE_SECONDS)
        self.fail(exceptions.ConnectionClosedByClient(200, "closed"))

    def wait(self, done: Callable[[], bool], sleep: Callable[[float], object], seconds: float) -> bool:
        """Wait until ``done()``, which is true once this connection is lost; see `Reading.wait`."""
        return self._reading.wait(done, sleep, seconds)

    # Called by whoever reads

    def _take_in(self, data: bytes) -> None:
        self._heard_at = time.monotonic()
        for kind, number, payload in self._agreed.frames.feed(data):
            self._take(kind, number, payload)

    def _beat(self) -> float:
        """Send a sign of life if it is time; how long to wait for the other side's."""
        now, every = time.monotonic(), self._agreed.heartbeat_seconds
        if self._blocked_at is not None and now - self._blocked_at > self._blocked_timeout_seconds:
            raise exceptions.ConnectionBlockedTimeout(
                f"RabbitMQ took no messages for {self._blocked_timeout_seconds:g} seconds (blocked_timeout_seconds)"
            )
        wait = 1.0 if self._blocked_at is not None else 3600.0
        if not every:
            return wait
        if now - self._heard_at > 2 * every:
            raise exceptions.AMQPHeartbeatTimeout(f"the server has been silent for {2 * every:g} seconds")
        if now - self._written_at >= every / 2:
            self._stream.try_write(wire.heartbeat())
            self._written_at = now
        return min(wait, every / 2)

    def _take(self, kind: int, number: int, payload: bytes) -> None:
        if kind == wire.METHOD:
            self._take_method(number, payload)
        elif kind == wire.HEADER:
            self._parts[number].head(payload)
            self._hand_over(number)
        elif kind == wire.BODY:
            self._parts[number].add(payload)
            self._hand_over(number)

    def _take_method(self, number: int, payload: bytes) -> None:
        (which,) = _NUMBER.unpack_from(payload)
        channel = self._channels.get(number)
        if which in _CONTENTS:
            self._parts[number] = _Parts(payload if which == _DELIVER else decoded(payload))
        elif channel is None:
            self._take_own(decoded(payload))
        elif which in {_ACK, _NACK}:
            tag, bits = _TAG.unpack_from(payload, 4)
            channel.on_ack(tag, bool(bits & 1), which == _NACK)
        else:
            channel.on_method(decoded(payload))

    def _take_own(self, method: Any) -> None:
        if isinstance(method, spec.Connection.Close):
            self._stream.try_write(wire.method(0, spec.Connection.CloseOk()))
            raise closed_by_broker(method)
        if isinstance(method, spec.Connection.CloseOk):
            raise exceptions.ConnectionClosedByClient(200, "closed")
        if isinstance(method, spec.Connection.Blocked):
            logger.warning(
                "RabbitMQ at %s takes no messages now (%s); publishers wait for up to %g seconds",
                self.host, method.reason, self._blocked_timeout_seconds,
            )  # fmt: skip
            self._blocked_at = time.monotonic()
        elif isinstance(method, spec.Connection.Unblocked):
            logger.warning("RabbitMQ at %s takes messages again", self.host)
            self._blocked_at = None
            with self._changed:
                self._changed.notify_all()

    def _hand_over(self, number: int) -> None:
        parts = self._parts[number]
        if parts.complete:
            del self._parts[number]
            channel = self._channels.get(number)
            if channel is not None:
                channel.on_content(parts.content())


class _Parts:
    """A message whose frames come one by one."""

    __slots__ = ("_body", "_left", "_method", "_properties")

    def __init__(self, method: Any) -> None:
        self._method = method
        self._properties = b""
        self._left = -1
        self._body: list[bytes] = []

    def head(self, payload: bytes) -> None:
        (self._left,) = _SIZE.unpack_from(payload, 4)
        self._properties = payload[12:]

    def add(self, payload: bytes) -> None:
        self._left -= len(payload)
        self._body.append(payload)

    @property
    def complete(self) -> bool:
        return self._left == 0

    def content(self) -> Content:
        return Content(self._method, self._properties, self._body[0] if len(self._body) == 1 else b"".join(self._body))
