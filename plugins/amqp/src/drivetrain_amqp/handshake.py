"""The beginning of a connection: who we are, what both sides agree on, which virtual host."""

from __future__ import annotations

import time
from typing import Any

from attrs import evolve, frozen
from pika import credentials, exceptions, frame, spec

from drivetrain_amqp import wire
from drivetrain_amqp.errors import Timeout
from drivetrain_amqp.options import Options
from drivetrain_amqp.stream import Stream

__all__ = ["Agreed", "closed_by_broker", "decoded", "shake_hands"]

_LARGEST_FRAME_BYTES = 131_072
_MOST_CHANNELS = 2_047
_LOCALE = "en_US"
_CLIENT: Any = {
    "product": "drivetrain-amqp",
    "platform": "Python",
    "capabilities": {
        "authentication_failure_close": True,
        "basic.nack": True,
        "connection.blocked": True,
        "consumer_cancel_notify": True,
        "exchange_exchange_bindings": True,
        "publisher_confirms": True,
    },
}


@frozen
class Agreed:
    """What both sides have agreed on."""

    largest_frame_bytes: int
    most_channels: int
    #: 0: none.
    heartbeat_seconds: float
    #: What has come of the next frame already.
    frames: wire.Frames
    #: Methods that came right after the last answer.
    early: tuple[Any, ...] = ()


def decoded(payload: bytes) -> Any:
    """The method of pika's that a frame holds.

    Raises:
        pika.exceptions.AMQPError: none that is known.
    """
    number = int.from_bytes(payload[:4], "big")
    kind = spec.methods.get(number)
    if kind is None:
        raise exceptions.UnexpectedFrameError(f"method {number:#x}")
    found: Any = kind()
    found.decode(payload, 4)
    return found


def closed_by_broker(close: spec.Connection.Close) -> exceptions.ConnectionClosedByBroker:
    """The error that says why the server has closed the connection."""
    return exceptions.ConnectionClosedByBroker(close.reply_code or 0, close.reply_text or "")


class _Talk:
    """Methods on channel 0, one after the other."""

    def __init__(self, stream: Stream, seconds: float) -> None:
        self.stream = stream
        self._deadline = time.monotonic() + seconds
        self.frames = wire.Frames()
        self.came: list[Any] = []

    def write(self, data: bytes) -> None:
        self.stream.write(data, lambda _: time.monotonic() < self._deadline)

    def say(self, method: Any) -> None:
        self.write(wire.method(0, method))

    def hear(self, *kinds: Any) -> Any:
        while not self.came:
            left = self._deadline - time.monotonic()
            data = self.stream.read(left) if left > 0 else None
            if data is None:
                raise Timeout("the server does not answer")
            if not data:
                raise exceptions.IncompatibleProtocolError("the server has ended the connection before it was open")
            self.came += [decoded(payload) for kind, _, payload in self.frames.feed(data) if kind == wire.METHOD]
        found = self.came.pop(0)
        if isinstance(found, spec.Connection.Close):
            self.say(spec.Connection.CloseOk())
            raise closed_by_broker(found)
        if not isinstance(found, kinds):
            raise exceptions.UnexpectedFrameError(found)
        return found


def shake_hands(stream: Stream, options: Options) -> Agreed:
    """Open the connection.

    Raises:
        pika.exceptions.AMQPError: the server refuses us, or does not speak AMQP 0-9-1.
        OSError: the stream is lost.
    """
    talk = _Talk(stream, options.connection_timeout_seconds)
    talk.write(frame.ProtocolHeader().marshal())
    start = talk.hear(spec.Connection.Start)
    tune = _log_in(talk, options, start)
    agreed = _agree(tune, options.heartbeat_seconds, talk.frames)
    talk.say(spec.Connection.TuneOk(agreed.most_channels, agreed.largest_frame_bytes, int(agreed.heartbeat_seconds)))
    talk.say(spec.Connection.Open(options.vhost))
    try:
        talk.hear(spec.Connection.OpenOk)
    except exceptions.ConnectionClosedByBroker as error:
        raise exceptions.ProbableAccessDeniedError(error.reply_text) from error
    return evolve(agreed, early=tuple(talk.came))


def _log_in(talk: _Talk, options: Options, start: Any) -> Any:
    by_certificate = options.cert_file and not options.password and b"EXTERNAL" in _bytes(start.mechanisms).split()
    kind, answer = "EXTERNAL", ""
    if not by_certificate:
        kind = credentials.PlainCredentials.TYPE
        answer = f"\0{options.user}\0{options.password}"
    talk.say(spec.Connection.StartOk(_CLIENT, kind, answer, _LOCALE))
    try:
        return talk.hear(spec.Connection.Tune)
    except exceptions.ConnectionClosedByBroker as error:
        raise exceptions.ProbableAuthenticationError(error.reply_text) from error


def _bytes(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode()


def _agree(tune: Any, heartbeat_seconds: float, frames: wire.Frames) -> Agreed:
    # Zero means no limit, on either side.
    largest = min(tune.frame_max or _LARGEST_FRAME_BYTES, _LARGEST_FRAME_BYTES)
    channels = min(tune.channel_max or _MOST_CHANNELS, _MOST_CHANNELS)
    ours = max(1, round(heartbeat_seconds)) if heartbeat_seconds else 0
    heartbeat = min(ours, tune.heartbeat) if ours and tune.heartbeat else ours
    return Agreed(largest, channels, heartbeat, frames)
