"""Delays as a ladder of queues, one for each power of two milliseconds. Pure; see docs/decisions/0010.

A delay is written in binary, lowest bit first, as the words of a routing key. A message climbs down from its highest
bit: at each level it waits in that level's queue where its bit is 1, and passes to the next lower exchange at once
where it is 0. What leaves a level's queue, by that queue's one time to live, goes to the next lower exchange too.
"""

from __future__ import annotations

import math

from drivetrain_amqp.names import Names, token
from drivetrain_amqp.topology import Bind, BindExchange, Declaration, DeclareExchange, DeclareQueue

__all__ = ["LEVELS", "LONGEST_DELAY_SECONDS", "delay_milliseconds", "due_binding", "levels_for", "route", "rungs"]

#: RabbitMQ's timers take up to 2 ** 32 milliseconds.
LEVELS = 32
LONGEST_DELAY_SECONDS = (2**LEVELS - 10) / 1000


def delay_milliseconds(seconds: float) -> int:
    """The whole milliseconds that are certainly not less; 0: no delay."""
    return math.ceil(seconds * 1000) + 1 if seconds > 0 else 0


def levels_for(milliseconds: int) -> int:
    """How many levels a delay needs."""
    return milliseconds.bit_length()


def route(names: Names, queue: str, milliseconds: int) -> tuple[str, str]:
    """The exchange and the routing key of a message for RabbitMQ's ``queue`` that is to wait so long."""
    bits = ".".join(reversed(f"{milliseconds:b}"))
    return names.delay(levels_for(milliseconds) - 1), f"{token(queue)}.{bits}"


def due_binding(names: Names, queue: str) -> Bind:
    """By what a queue gets its delayed messages when they are due."""
    return Bind(queue=queue, exchange=names.due, key=f"{token(queue)}.#")


def rungs(names: Names, levels: int, arguments: dict[str, object]) -> list[Declaration]:
    """The exchanges, queues and bindings of the lowest ``levels``.

    Args:
        names: of the app.
        levels: how many.
        arguments: of the queues, beside what makes them rungs.
    """
    declared: list[Declaration] = [DeclareExchange(names.due, "topic")]
    for level in range(levels):
        name, below = names.delay(level), names.delay(level - 1) if level else names.due
        skipped = "*." * (level + 1)  # the token, and the bits below
        settings = {**arguments, "x-message-ttl": 2**level, "x-dead-letter-exchange": below}
        declared += [
            DeclareExchange(name, "topic"),
            DeclareQueue(name, settings),
            Bind(queue=name, exchange=name, key=f"{skipped}1.#"),
            BindExchange(destination=below, source=name, key=f"{skipped}0.#"),
        ]
    return declared
