"""A channel: requests and their answers, in order; what else comes goes to whoever has opened it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from pika import exceptions, spec

from drivetrain_amqp import wire
from drivetrain_amqp.errors import Timeout

if TYPE_CHECKING:
    from drivetrain_amqp.connection import Connection

__all__ = ["Asked", "Channel", "Content"]


@frozen
class Content:
    """A method that carries a message, and the message."""

    method: Any
    properties: bytes
    body: bytes


@define(eq=False)
class Asked:
    """Requests that were sent together."""

    #: How many answers come, and how many of them, at the end, are those to the requests.
    expected: int
    count: int
    answers: list[Any] = field(factory=list)
    done: threading.Event = field(factory=threading.Event)


class Channel:
    """One channel. Thread-safe; the methods named ``on_…`` are called by whoever reads."""

    def __init__(self, connection: Connection, number: int) -> None:
        self.connection, self.number = connection, number
        #: Why it is closed; None: it is open.
        self.error: Exception | None = None
        self._asked: deque[Asked] = deque()
        #: What opens it, which is sent with the first request: then to open it costs no round trip.
        self._unopened = wire.method(number, spec.Channel.Open())
        #: What is sent with whatever is sent next.
        self._postponed = b""
        #: Whether we have said that it ends, which the server has not answered yet.
        self._closing = False
        # Whoever finds, while sending, that the connection is lost, ends its channels.
        self._lock = threading.RLock()
        self._on_close: list[Callable[[], None]] = []

    def open(self) -> None:
        """Open it, where that cannot wait for the first request."""

    def ask(self, *methods: Any) -> list[Any]:
        """Send requests in one go, and wait for all their answers, which come in the same order.

        Raises:
            pika.exceptions.AMQPError: the channel or the connection was closed, or no answer came in time.
        """
        return self.answers(self.begin(*methods))

    def begin(self, *methods: Any) -> Asked:
        """Send requests, as `ask`; `answers` waits for what comes back."""
        return self._begin(b"".join(wire.method(self.number, method) for method in methods), len(methods))

    def _begin(self, data: bytes, count: int) -> Asked:
        with self._lock:
            self._check()
            asked = Asked(count + bool(self._unopened), count)
            self._asked.append(asked)
            data, self._unopened, self._postponed = self._unopened + self._postponed + data, b"", b""
            self.connection.write(data)
        return asked

    def answers(self, asked: Asked) -> list[Any]:
        """Wait for the answers to what was sent; raises what `ask` does."""
        seconds = self.connection.call_timeout_seconds
        if not self.connection.wait(asked.done.is_set, asked.done.wait, seconds):
            # Later answers would be taken for those of other requests.
            self.connection.fail(Timeout(f"no answer within {seconds:g} seconds"))
        if len(asked.answers) < asked.expected:
            raise self._reason()
        return asked.answers[asked.expected - asked.count :]

    def barrier(self) -> None:
        """Wait until the server has seen what was sent on this channel before."""
        self.answers(self.begin_barrier(b""))

    def begin_barrier(self, data: bytes) -> Asked:
        """Send what has no answer; there is one, for `answers`, when the server has seen it."""
        return self._begin(data + _flow(self.number), 1)

    def write(self, data: bytes) -> None:
        """Send what has no answer."""
        if self._unopened:
            self.barrier()
        with self._lock:
            self._check()
            data, self._postponed = self._postponed + data, b""
            self.connection.write(data)

    def postpone(self, data: bytes) -> None:
        """Send what has no answer before whatever is sent next, and with it."""
        with self._lock:
            self._postponed += data

    def close(self) -> None:
        """Close it; raises nothing where it is closed already. Its number is free when the server has answered."""
        closed = exceptions.ChannelClosedByClient(200, "closed")
        with self._lock:
            if self.error is None and not self._unopened:
                with suppress(exceptions.AMQPError):  # then the connection is lost, and has ended this channel
                    self.connection.write(wire.method(self.number, spec.Channel.Close(200, "", 0, 0)))
                    self.error, self._closing = closed, True
                return
        self.end(closed)

    def call_at_end(self, call: Callable[[], None]) -> None:
        """Call it when the channel ends, in any thread; at once if it has ended."""
        self._on_close.append(call)
        if self.error is not None:
            call()

    def end(self, error: Exception) -> None:
        """Note why it is closed, and wake everybody who waits."""
        with self._lock:
            if self.error is None:
                self.error = error
            asked, self._asked = list(self._asked), deque()
        self.connection.forget(self)
        for each in asked:
            each.done.set()
        for call in list(self._on_close):
            call()

    def _check(self) -> None:
        if self.error is not None:
            raise self._reason()

    def _reason(self) -> Exception:
        reason = self.error or exceptions.ChannelWrongStateError("closed")
        return type(reason)(*reason.args)  # a new one: each that is raised has a traceback of its own

    # Called by whoever reads, one at a time

    def on_method(self, method: Any) -> None:
        """An answer, or the server's own word."""
        if isinstance(method, spec.Channel.CloseOk):
            self.end(exceptions.ChannelClosedByClient(200, "closed"))
            return
        if isinstance(method, spec.Channel.Close):
            self.connection.write(wire.method(self.number, spec.Channel.CloseOk()))
            if not self._closing:  # otherwise both have said so at once, and the answer to us is still to come
                self.end(exceptions.ChannelClosedByBroker(method.reply_code or 0, method.reply_text or ""))
            return
        self.answer(method)

    def on_content(self, content: Content) -> None:
        """A message came, as an answer or by itself."""
        self.answer(content)

    def answer(self, what: Any) -> None:
        """Give the request that waits longest its answer."""
        asked = self._asked[0] if self._asked else None
        if asked is None:
            return
        asked.answers.append(what)
        if len(asked.answers) == asked.expected:
            self._asked.popleft()
            asked.done.set()

    def on_ack(self, tag: int, multiple: bool, refused: bool) -> None:
        """The server confirms a publish, or refuses it."""


def _flow(number: int) -> bytes:
    return wire.method(number, spec.Channel.Flow(True))
