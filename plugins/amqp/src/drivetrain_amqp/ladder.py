"""Delays as a ladder of queues: one for each digit of each place of a number in base 32. Pure; see docs/decisions/0010.

A delay in milliseconds is written in base 32, lowest digit first, as the words of a routing key. A message climbs from
its lowest digit to its highest: at each level it waits in the queue of that digit, and passes to the next exchange at
once where the digit is 0. What leaves a queue, by that queue's one time to live, goes to the exchange of the next level
too; where the number has no more digits, that exchange passes it on to its destination.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from attrs import frozen

from drivetrain_amqp.names import Names, token
from drivetrain_amqp.topology import Bind, BindExchange, Declaration, DeclareExchange, DeclareQueue

__all__ = [
    "LEVELS",
    "LONGEST_DELAY_SECONDS",
    "RUNGS",
    "Rung",
    "delay_milliseconds",
    "due_binding",
    "exchange",
    "exchanges",
    "levels_for",
    "path",
    "route",
    "rung",
    "rungs_of",
]

_BASE_BITS = 5
_BASE = 2**_BASE_BITS
#: RabbitMQ's timers take up to 2 ** 32 milliseconds.
_LONGEST_BITS = 32
LEVELS = -(-_LONGEST_BITS // _BASE_BITS)
LONGEST_DELAY_SECONDS = (2**_LONGEST_BITS - 10) / 1000


@frozen
class Rung:
    """A queue of the ladder."""

    #: Which place of the number, from 0.
    level: int
    #: Which digit stands there, from 1 to 31.
    digit: int

    @property
    def milliseconds(self) -> int:
        """How long a message waits in it."""
        return self.digit << (_BASE_BITS * self.level)


#: All rungs that there can be, from the bottom to the top.
RUNGS = tuple(
    Rung(level, digit)
    for level in range(LEVELS)
    for digit in range(1, _BASE)
    if digit << (_BASE_BITS * level) < 2**_LONGEST_BITS
)


def rungs_of(level: int) -> list[Rung]:
    """All rungs of a level."""
    return [each for each in RUNGS if each.level == level]


def delay_milliseconds(seconds: float) -> int:
    """The whole milliseconds that are certainly not less; 0: no delay."""
    return math.ceil(seconds * 1000) + 1 if seconds > 0 else 0


def _digits(milliseconds: int) -> Iterator[int]:
    while milliseconds:
        yield milliseconds % _BASE
        milliseconds //= _BASE


def path(milliseconds: int) -> list[Rung]:
    """The queues in which a message waits, one after the other."""
    return [Rung(level, digit) for level, digit in enumerate(_digits(milliseconds)) if digit]


def route(names: Names, queue: str, milliseconds: int) -> tuple[str, str]:
    """The exchange and the routing key of a message for RabbitMQ's ``queue`` that is to wait so long."""
    words = ".".join(map(str, _digits(milliseconds)))
    return names.delay(path(milliseconds)[0].level), f"{token(queue)}.{words}"


def due_binding(names: Names, queue: str, levels: int) -> Bind:
    """By what a queue gets its messages whose delays have so many digits, when they are due."""
    return Bind(queue=queue, exchange=exchange(names, levels), key=token(queue) + ".*" * levels)


def levels_for(milliseconds: int) -> int:
    """How many digits a delay has."""
    return -(-milliseconds.bit_length() // _BASE_BITS)


def exchanges(names: Names, levels: int) -> list[Declaration]:
    """What leads delays of up to so many digits from level to level."""
    declared: list[Declaration] = [DeclareExchange(exchange(names, level), "topic") for level in range(levels + 1)]
    for level in range(levels):
        to, skip = exchange(names, level + 1), _at(level, "0.#")
        declared.append(BindExchange(destination=to, source=exchange(names, level), key=skip))
    return declared


def rung(names: Names, which: Rung, arguments: dict[str, object]) -> list[Declaration]:
    """The queue of a rung, and how it is reached.

    Args:
        names: of the app.
        which: the rung.
        arguments: of the queue, beside what makes it a rung.
    """
    name, above = names.rung(which.level, which.digit), exchange(names, which.level + 1)
    settings = {**arguments, "x-message-ttl": which.milliseconds, "x-dead-letter-exchange": above}
    return [
        DeclareQueue(name, settings),
        Bind(queue=name, exchange=names.delay(which.level), key=_at(which.level, f"{which.digit}.#")),
    ]


def exchange(names: Names, level: int) -> str:
    """Where messages go that have waited for the digits below ``level``."""
    return names.delay(level) if level < LEVELS else names.due


def _at(level: int, rest: str) -> str:
    """The pattern of keys with this at a level: after the token, and the digits below."""
    return "*." * (level + 1) + rest
