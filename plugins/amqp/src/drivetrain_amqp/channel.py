"""A channel: requests and their answers, in order; what else comes goes to whoever has opened it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from pika import exceptions, spec

from drivetrain_amqp import wire
from drivetrain_amqp.errors import Timeout

if TYPE_CHECKING:
    from drivetrain_amqp.connection import Connection

__all__ = ["Channel", "Content"]


@frozen
class Content:
    """A method that carries a message, and the message."""

    method: Any
    properties: bytes
    body: bytes


@define(eq=False)
class _Asked:
    """Requests that were sent together."""

    count: int
    answers: list[Any] = field(factory=list)
    done: threading.Event = field(factory=threading.Event)


class Channel:
    """One channel. Thread-safe; the methods named ``on_…`` are called by the thread that reads."""

    def __init__(self, connection: Connection, number: int) -> None:
        self.connection, self.number = connection, number
        #: Why it is closed; None: it is open.
        self.error: Exception | None = None
        self._asked: deque[_Asked] = deque()
        # Whoever finds, while sending, that the connection is lost, ends its channels.
        self._lock = threading.RLock()
        self._on_close: list[Callable[[], None]] = []

    def open(self) -> None:
        """Open it."""
        self.ask(spec.Channel.Open())

    def ask(self, *methods: Any) -> list[Any]:
        """Send requests in one go, and wait for all their answers, which come in the same order.

        Raises:
            pika.exceptions.AMQPError: the channel or the connection was closed, or no answer came in time.
        """
        data = b"".join(wire.method(self.number, method) for method in methods)
        return self.ask_encoded(data, len(methods))

    def ask_encoded(self, data: bytes, count: int) -> list[Any]:
        """As `ask`, for requests that are encoded already."""
        asked = _Asked(count)
        with self._lock:
            self._check()
            self._asked.append(asked)
            self.connection.write(data)
        if not asked.done.wait(self.connection.call_timeout_seconds):
            # Later answers would be taken for those of other requests.
            self.connection.fail(Timeout(f"no answer within {self.connection.call_timeout_seconds:g} seconds"))
        if len(asked.answers) < count:
            raise self._reason()
        return asked.answers

    def barrier(self) -> None:
        """Wait until the server has seen what was sent on this channel before."""
        self.ask_encoded(_flow(self.number), 1)

    def write(self, data: bytes) -> None:
        """Send what has no answer."""
        with self._lock:
            self._check()
            self.connection.write(data)

    def close(self) -> None:
        """Close it and give its number back; raises nothing where it is closed already."""
        if self.error is None:
            try:
                self.ask(spec.Channel.Close(200, "", 0, 0))
            except exceptions.AMQPError:
                return  # it ended by itself, or the whole connection did
            self.end(exceptions.ChannelClosedByClient(200, "closed"))

    def call_at_end(self, call: Callable[[], None]) -> None:
        """Call it when the channel ends, by the thread that reads; at once if it has ended."""
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

    # Called by the thread that reads

    def on_method(self, method: Any) -> None:
        """An answer, or the server's own word."""
        if isinstance(method, spec.Channel.Close):
            self.connection.write(wire.method(self.number, spec.Channel.CloseOk()))
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
        if len(asked.answers) == asked.count:
            self._asked.popleft()
            asked.done.set()

    def on_ack(self, tag: int, multiple: bool, refused: bool) -> None:
        """The server confirms a publish, or refuses it."""


def _flow(number: int) -> bytes:
    return wire.method(number, spec.Channel.Flow(True))
