"""Delay queues: one for each digit and position of a delay in base 32. Pure; see docs/decisions/0010.

A routing key holds the delay in ticks: its base-32 digits, lowest first. A message enters the delay queue of its lowest
digit that is not 0, and waits in one delay queue for each such digit, up to the highest. Each position is a level.

- A delay queue has one time to live for all of its messages. Afterwards the message goes to the next level's exchange.
- That exchange routes by the digit of its level. A digit 0 passes to the exchange after it at once.
- An exchange after the last digit passes the message to its destination.

A delay queue keeps a message until RabbitMQ has confirmed it to the next queue. So a message without a route would stay
and stop those behind it: it goes to the queue of lost messages instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from attrs import frozen

from drivetrain_amqp.topology import Bind, BindExchange, Declaration, DeclareExchange, DeclareQueue, Names, token

__all__ = [
    "DELAY_QUEUES",
    "LEVELS",
    "LONGEST_DELAY_SECONDS",
    "TICK_MILLISECONDS",
    "DelayQueue",
    "declare_delay_queue",
    "declare_exchanges",
    "delay_queues_of",
    "due_binding",
    "levels_for",
    "path",
    "route",
    "ticks_in",
]

_BASE_BITS = 5
_BASE = 2**_BASE_BITS
#: Each delay queue adds a few milliseconds of its own: a finer unit would cost one more queue and gain nothing.
TICK_MILLISECONDS = 16
#: RabbitMQ's timers take up to 2 ** 32 milliseconds, which is 2 ** 28 ticks.
_LONGEST_BITS = 28
LEVELS = -(-_LONGEST_BITS // _BASE_BITS)
LONGEST_DELAY_SECONDS = (2**_LONGEST_BITS - 1) * TICK_MILLISECONDS / 1000 - 0.01


@frozen
class DelayQueue:
    """The queue in which messages wait for one digit of their delay."""

    #: The position of the digit, from 0.
    level: int
    #: From 1 to 31.
    digit: int

    @property
    def milliseconds(self) -> int:
        """How long a message waits in it."""
        return (self.digit << (_BASE_BITS * self.level)) * TICK_MILLISECONDS


#: All possible delay queues, lowest level first.
DELAY_QUEUES = tuple(
    DelayQueue(level, digit)
    for level in range(LEVELS)
    for digit in range(1, _BASE)
    if digit << (_BASE_BITS * level) < 2**_LONGEST_BITS
)


def delay_queues_of(level: int) -> list[DelayQueue]:
    """All delay queues of a level."""
    return [each for each in DELAY_QUEUES if each.level == level]


def ticks_in(seconds: float) -> int:
    """The delay in ticks, rounded up; 0: no delay."""
    return math.ceil((seconds * 1000 + 1) / TICK_MILLISECONDS) if seconds > 0 else 0


def _digits(ticks: int) -> Iterator[int]:
    while ticks:
        yield ticks % _BASE
        ticks //= _BASE


def path(ticks: int) -> list[DelayQueue]:
    """The delay queues of a delay, in the order in which a message waits in them."""
    return [DelayQueue(level, digit) for level, digit in enumerate(_digits(ticks)) if digit]


def route(names: Names, queue: str, ticks: int) -> tuple[str, str]:
    """The exchange and the routing key that bring a message to RabbitMQ's ``queue`` after a delay."""
    return names.delay_entrance, f"{token(queue)}.{'.'.join(map(str, _digits(ticks)))}"


def due_binding(names: Names, queue: str, levels: int) -> Bind:
    """The binding by which a queue gets its messages with a delay of this many digits, when they are due."""
    return Bind(queue=queue, exchange=names.delay_exchange(levels), key=token(queue) + ".*" * levels)


def levels_for(ticks: int) -> int:
    """The number of digits of a delay."""
    return -(-ticks.bit_length() // _BASE_BITS)


def declare_exchanges(names: Names, levels: int, lost_arguments: Mapping[str, object]) -> list[Declaration]:
    """The exchanges for delays of up to this many digits, and the queue of lost messages.

    Args:
        names: the names of the app.
        levels: the number of digits.
        lost_arguments: the arguments of the queue of lost messages.
    """
    # The entrance has no alternate exchange: RabbitMQ returns a message that it cannot route there to its sender.
    declared: list[Declaration] = [
        DeclareExchange(names.lost, "fanout"),
        DeclareQueue(names.lost, lost_arguments),
        Bind(queue=names.lost, exchange=names.lost, key=""),
        DeclareExchange(names.delay_entrance, "topic"),
    ]
    declared += [
        DeclareExchange(names.delay_exchange(level), "topic", alternate=names.lost) for level in range(1, levels + 1)
    ]
    for level in range(1, levels):
        to, zero = names.delay_exchange(level + 1), _key_pattern(level, "0.#")
        declared.append(BindExchange(destination=to, source=names.delay_exchange(level), key=zero))
    return declared


def declare_delay_queue(names: Names, which: DelayQueue, arguments: Mapping[str, object]) -> list[Declaration]:
    """A delay queue with its bindings.

    Args:
        names: the names of the app.
        which: the delay queue.
        arguments: the arguments that all delay queues have.
    """
    level, name = which.level, names.delay_queue(which.level, which.digit)
    next_exchange = names.delay_exchange(level + 1)
    settings = {**arguments, "x-message-ttl": which.milliseconds, "x-dead-letter-exchange": next_exchange}
    declared: list[Declaration] = [
        DeclareQueue(name, settings),
        Bind(queue=name, exchange=names.delay_entrance, key="*." + "0." * level + f"{which.digit}.#"),
    ]
    if level:
        key = _key_pattern(level, f"{which.digit}.#")
        declared.append(Bind(queue=name, exchange=names.delay_exchange(level), key=key))
    return declared


def _key_pattern(level: int, rest: str) -> str:
    """The pattern for keys with ``rest`` at a level: after the token and the lower digits."""
    return "*." * (level + 1) + rest
