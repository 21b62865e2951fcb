"""A connection to RabbitMQ with its channels: requests and replies, heartbeats, and back-pressure by the server."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from struct import Struct
from typing import Any, TypeVar

from attrs import define, field
from pika import exceptions, spec
from pika.connection import Parameters

from drivetrain.contract import Host
from drivetrain_amqp.errors import Timeout
from drivetrain_amqp.protocol import frames
from drivetrain_amqp.protocol.frames import Content, ContentAssembly, decode_method, method_frame
from drivetrain_amqp.protocol.read_loop import Handlers, ReadLoop
from drivetrain_amqp.protocol.transport import Transport, closed_by_broker, log_in

__all__ = ["Channel", "Connection", "Request"]

logger = logging.getLogger("drivetrain.amqp")

C = TypeVar("C", bound="Channel")

_ACK, _NACK, _DELIVER, _RETURN, _GET_OK = (60 << 16 | method for method in (80, 120, 60, 50, 71))
_WITH_CONTENT = {_DELIVER, _RETURN, _GET_OK}
_METHOD_INDEX = Struct(">I")
_TAG = Struct(">QB")
_CLOSE_SECONDS = 2.0
_REFRESH_REASON = "the access token was refreshed"


class Connection:
    """An open connection. Thread-safe. A lost connection stays lost; `ConnectionManager` makes a new one.

    A background thread keeps it alive and reads while no other thread waits; see `ReadLoop`. Any thread may write.
    """

    def __init__(self, parameters: Parameters, *, call_timeout_seconds: float) -> None:
        """Connect and log in.

        Raises:
            pika.exceptions.AMQPError: RabbitMQ refuses the connection.
            OSError: the host cannot be reached.
        """
        self.call_timeout_seconds = call_timeout_seconds
        self.host = Host(parameters.host, parameters.port)
        #: What `Declarer` has declared by this connection.
        self.declared: set[Any] = set()
        #: Why it is lost; None: it is open.
        self.error: Exception | None = None
        self._blocked_timeout_seconds = parameters.blocked_connection_timeout or 0.0
        self._blocked_at: float | None = None
        self._changed = threading.Condition()
        self._channels: dict[int, Channel] = {}
        self._incomplete: dict[int, ContentAssembly] = {}
        self._lock = threading.Lock()
        self._transport = Transport(parameters)
        self._read_loop = ReadLoop(self._transport, Handlers(self._take_bytes, self._beat, self.fail))
        try:
            self._agreed = log_in(self._transport, parameters)
            self._written_at = self._heard_at = time.monotonic()
            for method in self._agreed.early_methods:
                self._take_own_method(method)
            self._read_loop.start(f"drivetrain-amqp {self.host}")
        except BaseException:  # raised again: nobody else has the socket to close
            self._transport.close()
            raise
        self.max_frame_bytes = self._agreed.max_frame_bytes

    @property
    def ended(self) -> threading.Event:
        """Set when the connection is lost or closed, and no thread reads it any more."""
        return self._read_loop.ended

    def channel(self, kind: Callable[[Connection, int], C]) -> C:
        """A new open channel."""
        with self._lock:
            numbers = range(1, self._agreed.max_channels + 1)
            number = next((each for each in numbers if each not in self._channels), None)
            if number is None:
                raise exceptions.NoFreeChannels
            channel = kind(self, number)
            self._channels[number] = channel
        if self.error is not None:
            channel.end(self.error)
        channel.open()
        return channel

    def forget(self, channel: Channel) -> None:
        """Free the number of a closed channel."""
        with self._lock:
            if self._channels.get(channel.number) is channel:
                del self._channels[channel.number]

    def write(self, data: bytes) -> None:
        """Send frames.

        Raises:
            pika.exceptions.AMQPError: the connection is lost.
        """
        if self.error is not None:
            raise _copy(self.error)
        try:
            self._transport.write(data, self._keeps_waiting)
        except OSError as error:
            lost = exceptions.StreamLostError(f"lost while sending: {error}")
            self.fail(lost)
            raise lost from error
        self._written_at = time.monotonic()

    def _keeps_waiting(self, waited_seconds: float) -> bool:
        return self.blocked or waited_seconds < self.call_timeout_seconds

    def update_secret(self, secret: str) -> None:
        """Send a new access token. RabbitMQ closes the connection if it refuses the token.

        Raises:
            pika.exceptions.AMQPError: the connection is lost.
        """
        self.write(method_frame(0, spec.Connection.UpdateSecret(secret, _REFRESH_REASON)))

    @property
    def blocked(self) -> bool:
        """Whether RabbitMQ, short of memory or disk space, accepts no messages at present."""
        return self._blocked_at is not None

    def wait_unblocked(self) -> None:
        """Wait until RabbitMQ accepts messages again.

        Raises:
            pika.exceptions.AMQPError: the connection is lost, or was blocked for too long.
        """
        if self._blocked_at is not None:
            with self._changed:
                while self.blocked and self.error is None:
                    self._changed.wait(1.0)
        if self.error is not None:
            raise _copy(self.error)

    def fail(self, error: Exception) -> None:
        """Mark the connection as lost for this reason; every wait ends with the error."""
        with self._lock:
            if self.error is not None:
                return
            self.error = error
            channels = list(self._channels.values())
        self._read_loop.stop()
        for channel in channels:
            channel.end(error)
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Close the connection after RabbitMQ has processed what was sent."""
        if self.error is None:
            try:
                self.write(method_frame(0, spec.Connection.Close(200, "closed", 0, 0)))
            except exceptions.AMQPError:
                pass  # it is lost already, which ends it as well
            else:
                self.ended.wait(_CLOSE_SECONDS)
        self.fail(exceptions.ConnectionClosedByClient(200, "closed"))

    def wait(self, done: Callable[[], bool], sleep: Callable[[float], object], seconds: float) -> bool:
        """Wait until ``done()``, which must be true once the connection is lost; see `ReadLoop.wait`."""
        return self._read_loop.wait(done, sleep, seconds)

    # Called by the thread that reads

    def _take_bytes(self, data: bytes) -> None:
        self._heard_at = time.monotonic()
        for kind, number, payload in self._agreed.splitter.feed(data):
            if kind == frames.METHOD:
                self._take_method(number, payload)
            elif kind == frames.HEADER:
                self._incomplete[number].add_header(payload)
                self._hand_over(number)
            elif kind == frames.BODY:
                self._incomplete[number].add_body(payload)
                self._hand_over(number)

    def _beat(self) -> float:
        """Send a heartbeat if one is due; in how many seconds at the latest to call again."""
        now, interval = time.monotonic(), self._agreed.heartbeat_seconds
        if self._blocked_at is not None and now - self._blocked_at > self._blocked_timeout_seconds:
            raise exceptions.ConnectionBlockedTimeout(
                f"RabbitMQ accepted no messages for {self._blocked_timeout_seconds:g} seconds (blocked_timeout_seconds)"
            )
        wait = 1.0 if self._blocked_at is not None else 3600.0
        if not interval:
            return wait
        if now - self._heard_at > 2 * interval:
            raise exceptions.AMQPHeartbeatTimeout(f"the server has sent nothing for {2 * interval:g} seconds")
        if now - self._written_at >= interval / 2:
            self._transport.try_write(frames.heartbeat_frame())
            self._written_at = now
        return min(wait, interval / 2)

    def _take_method(self, number: int, payload: bytes) -> None:
        (index,) = _METHOD_INDEX.unpack_from(payload)
        channel = self._channels.get(number)
        if index in _WITH_CONTENT:
            self._incomplete[number] = ContentAssembly(payload if index == _DELIVER else decode_method(payload))
        elif channel is None:
            self._take_own_method(decode_method(payload))
        elif index in {_ACK, _NACK}:
            tag, bits = _TAG.unpack_from(payload, 4)
            channel.on_ack(tag, bool(bits & 1), index == _NACK)
        else:
            channel.on_method(decode_method(payload))

    def _take_own_method(self, method: Any) -> None:
        if isinstance(method, spec.Connection.Close):
            self._transport.try_write(method_frame(0, spec.Connection.CloseOk()))
            raise closed_by_broker(method)
        if isinstance(method, spec.Connection.CloseOk):
            raise exceptions.ConnectionClosedByClient(200, "closed")
        if isinstance(method, spec.Connection.Blocked):
            logger.warning(
                "RabbitMQ at %s accepts no messages now (%s); publishers wait for up to %g seconds",
                self.host, method.reason, self._blocked_timeout_seconds,
            )  # fmt: skip
            self._blocked_at = time.monotonic()
        elif isinstance(method, spec.Connection.Unblocked):
            logger.warning("RabbitMQ at %s accepts messages again", self.host)
            self._blocked_at = None
            with self._changed:
                self._changed.notify_all()

    def _hand_over(self, number: int) -> None:
        assembly = self._incomplete[number]
        if assembly.complete:
            del self._incomplete[number]
            channel = self._channels.get(number)
            if channel is not None:
                channel.on_content(assembly.content())


@define(eq=False)
class Request:
    """Methods that were sent together, and their replies."""

    #: How many replies come; the last ``count`` of them answer the caller's methods.
    expected: int
    count: int
    replies: list[Any] = field(factory=list)
    done: threading.Event = field(factory=threading.Event)


class Channel:
    """A channel: requests, and their replies in order. Thread-safe; the thread that reads calls ``on_…``."""

    def __init__(self, connection: Connection, number: int) -> None:
        self.connection, self.number = connection, number
        #: Why it is closed; None: it is open.
        self.error: Exception | None = None
        self._requests: deque[Request] = deque()
        #: ``channel.open``, sent with the first request, so that opening costs no round trip.
        self._unopened = method_frame(number, spec.Channel.Open())
        #: Frames to send together with the next write.
        self._postponed = b""
        #: Whether this side has sent ``channel.close`` and waits for the reply.
        self._closing = False
        # Reentrant: a thread that finds the connection lost while it sends also ends the channels.
        self._lock = threading.RLock()
        self._on_close: list[Callable[[], None]] = []

    def open(self) -> None:
        """Open the channel now, in subclasses that cannot wait for the first request."""

    def request(self, *methods: Any) -> list[Any]:
        """Send methods together and wait for all replies, which come in the same order.

        Raises:
            pika.exceptions.AMQPError: the channel or the connection was closed, or no reply came in time.
        """
        return self.replies(self.begin(*methods))

    def begin(self, *methods: Any) -> Request:
        """Send methods as `request` does; `replies` waits for the replies."""
        return self._begin(b"".join(method_frame(self.number, method) for method in methods), len(methods))

    def _begin(self, data: bytes, count: int) -> Request:
        with self._lock:
            self._check_open()
            request = Request(count + bool(self._unopened), count)
            self._requests.append(request)
            data, self._unopened, self._postponed = self._unopened + self._postponed + data, b"", b""
            self.connection.write(data)
        return request

    def replies(self, request: Request) -> list[Any]:
        """Wait for the replies to a request; raises as `request`."""
        seconds = self.connection.call_timeout_seconds
        if not self.connection.wait(request.done.is_set, request.done.wait, seconds):
            # The channel would take a late reply for the reply to another request.
            self.connection.fail(Timeout(f"no answer within {seconds:g} seconds (call_timeout_seconds)"))
        if len(request.replies) < request.expected:
            raise self._reason()
        return request.replies[request.expected - request.count :]

    def barrier(self) -> None:
        """Wait until RabbitMQ has processed what this channel has sent."""
        self.replies(self.begin_barrier(b""))

    def begin_barrier(self, data: bytes) -> Request:
        """Send frames that have no reply; the request is done when RabbitMQ has processed them."""
        return self._begin(data + method_frame(self.number, spec.Channel.Flow(True)), 1)

    def write(self, data: bytes) -> None:
        """Send frames that have no reply."""
        if self._unopened:
            self.barrier()
        with self._lock:
            self._check_open()
            data, self._postponed = self._postponed + data, b""
            self.connection.write(data)

    def postpone(self, data: bytes) -> None:
        """Send frames that have no reply together with the next write."""
        with self._lock:
            self._postponed += data

    def close(self) -> None:
        """Close the channel without waiting. Its number is free again when RabbitMQ has replied."""
        closed = exceptions.ChannelClosedByClient(200, "closed")
        with self._lock:
            if self.error is None and not self._unopened:
                with suppress(exceptions.AMQPError):  # then the connection is lost, which has ended this channel
                    self.connection.write(method_frame(self.number, spec.Channel.Close(200, "", 0, 0)))
                    self.error, self._closing = closed, True
                return
        self.end(closed)

    def call_at_end(self, call: Callable[[], None]) -> None:
        """Call it when the channel ends, in any thread; at once if it has ended."""
        self._on_close.append(call)
        if self.error is not None:
            call()

    def end(self, error: Exception) -> None:
        """Record why the channel is closed; every wait ends."""
        with self._lock:
            if self.error is None:
                self.error = error
            requests, self._requests = list(self._requests), deque()
        self.connection.forget(self)
        for each in requests:
            each.done.set()
        for call in list(self._on_close):
            call()

    def _check_open(self) -> None:
        if self.error is not None:
            raise self._reason()

    def _reason(self) -> Exception:
        return _copy(self.error or exceptions.ChannelWrongStateError("closed"))

    def on_method(self, method: Any) -> None:
        """Take a reply, or a method that RabbitMQ has sent by itself."""
        if isinstance(method, spec.Channel.CloseOk):
            self.end(exceptions.ChannelClosedByClient(200, "closed"))
            return
        if isinstance(method, spec.Channel.Close):
            self.connection.write(method_frame(self.number, spec.Channel.CloseOk()))
            if not self._closing:  # otherwise both sides have closed it at once, and the reply is still to come
                self.end(exceptions.ChannelClosedByBroker(method.reply_code or 0, method.reply_text or ""))
            return
        self._take_reply(method)

    def on_content(self, content: Content) -> None:
        """Take a message: a reply, or one that RabbitMQ has sent by itself."""
        self._take_reply(content)

    def _take_reply(self, reply: Any) -> None:
        request = self._requests[0] if self._requests else None
        if request is None:
            return
        request.replies.append(reply)
        if len(request.replies) == request.expected:
            self._requests.popleft()
            request.done.set()

    def on_ack(self, tag: int, multiple: bool, refused: bool) -> None:
        """Take RabbitMQ's confirm or refusal of a publish."""


def _copy(error: Exception) -> Exception:
    """A new error of the same kind: each raised one has a traceback of its own."""
    return type(error)(*error.args)
