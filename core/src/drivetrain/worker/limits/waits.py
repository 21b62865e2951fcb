"""Waits of attempts for limits: their messages and records carry them. Pure."""

from __future__ import annotations

from collections.abc import Container
from typing import cast

from msgspec import Struct, ValidationError, convert, to_builtins

from drivetrain.contract import LimitWait, Message, Plain
from drivetrain.worker.publisher import LIMITED_HEADER, PARKED_HEADER, RESERVED_HEADER
from drivetrain.worker.value_codec import decode, encode

__all__ = ["WaitingFor", "begin_wait", "ended_waits", "line_number", "waiting_of"]


class _Waits(Struct, frozen=True, array_like=True):
    """The header of a waiting message.

    Attributes:
        limit: the name of the limit for which it waits.
        since: since when, in Unix seconds.
        earlier: its earlier waits: the names of the limits, and seconds.
    """

    limit: str
    since: float
    earlier: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, message: Message) -> _Waits | None:
        text = message.headers.get(LIMITED_HEADER)
        try:
            return None if text is None else decode(text.encode(), cls)
        except ValueError:
            return None  # another version of drivetrain, or another program, has written it

    def ended(self, now: float) -> tuple[tuple[str, float], ...]:
        return (*self.earlier, (self.limit, max(0.0, now - self.since)))


class WaitingFor(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A limit for which a task waits.

    Attributes:
        limit: the name of the limit.
        since: since when, in Unix seconds.
        key: the key of the limit; empty: unknown.
        number: its number in the line of that key; None: it waits for a rate.
        until: the instant that is reserved for it, in Unix seconds; None: it waits in a line.
    """

    limit: str
    since: float
    key: str = ""
    number: int | None = None
    until: float | None = None

    @classmethod
    def load(cls, plain: Plain) -> WaitingFor | None:
        """The value of `dump`; None: it is something else."""
        try:
            return convert(plain, cls)
        except ValidationError:
            return None

    def dump(self) -> Plain:
        """It, for a record."""
        return cast("Plain", to_builtins(self))


def begin_wait(message: Message, limit: str, now: float) -> tuple[str, float]:
    """The value of `LIMITED_HEADER` for a message that waits for a limit from now on, or that goes on waiting for it.

    Args:
        message: the message as it was delivered.
        limit: the name of the limit.
        now: Unix seconds.

    Returns:
        The value; and since when it waits for this limit, in Unix seconds.
    """
    waits = _Waits.of(message)
    if waits is None:
        waits = _Waits(limit, now)
    elif waits.limit != limit:
        waits = _Waits(limit, now, waits.ended(now))
    return encode(waits).decode(), waits.since


def ended_waits(message: Message, known: Container[str], now: float) -> tuple[LimitWait, ...]:
    """The waits of a message whose task may start at ``now`` (Unix seconds).

    Args:
        message: the message.
        known: the names of the limits of its task. Others are left out: a message may come from anywhere.
        now: Unix seconds.
    """
    waits = _Waits.of(message)
    return () if waits is None else tuple(LimitWait(*one) for one in waits.ended(now) if one[0] in known)


def line_number(message: Message) -> tuple[str, int] | None:
    """The key of the limit, and the number in its line, of a message that waits there or has waited there."""
    number, _, key = message.headers.get(PARKED_HEADER, "").partition(":")
    return (key, int(number)) if number.isdecimal() else None


def waiting_of(message: Message) -> WaitingFor | None:
    """The limit for which a message waits in its queue; None: for none."""
    waits = _Waits.of(message)
    if waits is None:
        return None
    number = line_number(message)
    if number is not None:
        return WaitingFor(limit=waits.limit, since=waits.since, key=number[0], number=number[1])
    try:
        until = float(message.headers.get(RESERVED_HEADER, "").rpartition(":")[2])
    except ValueError:
        return None  # it may start, and waits for a worker
    return WaitingFor(limit=waits.limit, since=waits.since, until=until)
