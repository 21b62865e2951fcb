"""Asking whether something exists at the server.

Each question has a channel of its own, for RabbitMQ closes a channel that asks for something that does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from pika import exceptions, spec

from drivetrain.contract import ServiceError
from drivetrain_amqp.channel import Asked, Channel
from drivetrain_amqp.errors import NOT_FOUND, reply_code

__all__ = ["Admin", "ask_if_there", "message_counts"]

#: Opens a channel for a few requests; its argument says what for, for the message of an error.
Admin = Callable[[str], AbstractContextManager[Channel]]

#: How many queues are asked about in one go.
_TOGETHER = 50


def ask_if_there(admin: Admin, doing: str, method: Any) -> Any:
    """The answer to a request; None where what it asks for does not exist.

    Args:
        admin: opens the channel.
        doing: what the request is for, for the message of an error.
        method: the request.

    Raises:
        ServiceError: RabbitMQ is not reached, or refuses the request for another reason.
    """
    try:
        with admin(doing) as channel:
            return channel.ask(method)[0]
    except ServiceError as error:
        if reply_code(error) == NOT_FOUND:
            return None
        raise


def message_counts(admin: Admin, names: Iterable[str]) -> dict[str, int | None]:
    """The number of ready messages of each of RabbitMQ's queues; None where there is no such queue.

    Raises:
        ServiceError: as `ask_if_there`.
    """
    wanted, counts = list(names), dict[str, int | None]()
    for start in range(0, len(wanted), _TOGETHER):
        counts |= _message_counts(admin, wanted[start : start + _TOGETHER])
    return counts


def _message_counts(admin: Admin, names: Sequence[str]) -> dict[str, int | None]:
    """All requests are sent before the first answer is read, so that they cost one round trip."""
    with ExitStack() as channels:
        asked: list[tuple[str, Channel, Asked]] = []
        for name in names:
            channel = channels.enter_context(admin(f"looking at {name!r}"))
            asked.append((name, channel, channel.begin(spec.Queue.Declare(queue=name, passive=True))))
        return {name: _count(channel, one) for name, channel, one in asked}


def _count(channel: Channel, asked: Asked) -> int | None:
    try:
        return int(channel.answers(asked)[0].message_count)
    except exceptions.ChannelClosedByBroker as error:
        if error.reply_code == NOT_FOUND:
            return None
        raise
