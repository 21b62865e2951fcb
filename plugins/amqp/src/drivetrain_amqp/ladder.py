"""Delays as a ladder of queues: one for each digit of each place of a number in base 32. Pure; see docs/decisions/0010.

A delay in ticks is written in base 32, lowest digit first, as the words of a routing key. A message enters at the
queue of its lowest digit that is not 0, and climbs to its highest. At each level it waits in the queue of its digit;
where the digit is 0, it passes to the next exchange at once. What leaves a queue, by that queue's one time to live,
goes to the exchange of the next level. Where the number has no more digits, that exchange passes the message on to its
destination.

A queue of the ladder lets go of a message only when RabbitMQ has confirmed it to the next queue. So a message that no
exchange can route would stay where it is, and hold up those behind it: it goes to the queue of the lost instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from attrs import frozen

from drivetrain_amqp.names import Names, token
from drivetrain_amqp.topology import Bind, BindExchange, Declaration, DeclareExchange, DeclareQueue

__all__ = [
    "LEVELS",
    "LONGEST_DELAY_SECONDS",
    "RUNGS",
    "TICK_MILLISECONDS",
    "Rung",
    "due_binding",
    "exchanges",
    "levels_for",
    "path",
    "route",
    "rung",
    "rungs_of",
    "ticks_in",
]

_BASE_BITS = 5
_BASE = 2**_BASE_BITS
#: A step of the ladder takes the server a few milliseconds by itself: a finer unit would cost a step and gain nothing.
TICK_MILLISECONDS = 16
#: RabbitMQ's timers take up to 2 ** 32 milliseconds, which are so many ticks.
_LONGEST_BITS = 28
LEVELS = -(-_LONGEST_BITS // _BASE_BITS)
LONGEST_DELAY_SECONDS = (2**_LONGEST_BITS - 1) * TICK_MILLISECONDS / 1000 - 0.01


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
        return (self.digit << (_BASE_BITS * self.level)) * TICK_MILLISECONDS


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


def ticks_in(seconds: float) -> int:
    """The whole number of ticks that is certainly not less than ``seconds``; 0: no delay."""
    return math.ceil((seconds * 1000 + 1) / TICK_MILLISECONDS) if seconds > 0 else 0


def _digits(ticks: int) -> Iterator[int]:
    while ticks:
        yield ticks % _BASE
        ticks //= _BASE


def path(ticks: int) -> list[Rung]:
    """The queues in which a message waits, one after the other."""
    return [Rung(level, digit) for level, digit in enumerate(_digits(ticks)) if digit]


def route(names: Names, queue: str, ticks: int) -> tuple[str, str]:
    """The exchange and the routing key of a message for RabbitMQ's ``queue`` that is to wait so long."""
    return names.delay, f"{token(queue)}.{'.'.join(map(str, _digits(ticks)))}"


def due_binding(names: Names, queue: str, levels: int) -> Bind:
    """By what a queue gets its messages whose delays have so many digits, when they are due."""
    return Bind(queue=queue, exchange=names.climbed(levels), key=token(queue) + ".*" * levels)


def levels_for(ticks: int) -> int:
    """How many digits a delay has."""
    return -(-ticks.bit_length() // _BASE_BITS)


def exchanges(names: Names, levels: int, lost_arguments: Mapping[str, object]) -> list[Declaration]:
    """What leads delays of up to so many digits from level to level, and where those go that nothing else takes.

    Args:
        names: of the app.
        levels: how many digits.
        lost_arguments: of the queue of the lost.
    """
    # At the entrance a message that no queue takes is returned to its sender, so that one has no other exchange.
    declared: list[Declaration] = [
        DeclareExchange(names.lost, "fanout"),
        DeclareQueue(names.lost, lost_arguments),
        Bind(queue=names.lost, exchange=names.lost, key=""),
        DeclareExchange(names.delay, "topic"),
    ]
    declared += [DeclareExchange(names.climbed(level), "topic", otherwise=names.lost) for level in range(1, levels + 1)]
    for level in range(1, levels):
        to, skip = names.climbed(level + 1), _at(level, "0.#")
        declared.append(BindExchange(destination=to, source=names.climbed(level), key=skip))
    return declared


def rung(names: Names, which: Rung, arguments: Mapping[str, object]) -> list[Declaration]:
    """The queue of a rung, and how it is reached.

    Args:
        names: of the app.
        which: the rung.
        arguments: of the queue, beside what makes it a rung.
    """
    level, name = which.level, names.rung(which.level, which.digit)
    above = names.climbed(level + 1)
    settings = {**arguments, "x-message-ttl": which.milliseconds, "x-dead-letter-exchange": above}
    declared: list[Declaration] = [
        DeclareQueue(name, settings),
        Bind(queue=name, exchange=names.delay, key="*." + "0." * level + f"{which.digit}.#"),
    ]
    if level:
        declared.append(Bind(queue=name, exchange=names.climbed(level), key=_at(level, f"{which.digit}.#")))
    return declared


def _at(level: int, rest: str) -> str:
    """The pattern of keys with this at a level: after the token, and the digits below."""
    return "*." * (level + 1) + rest
