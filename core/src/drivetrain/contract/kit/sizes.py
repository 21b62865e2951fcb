"""Checks of sizes, before anything is sent. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from drivetrain.contract.errors import TooLarge
from drivetrain.contract.kit.text import utf8
from drivetrain.contract.messages import Message
from drivetrain.contract.states import Transition

__all__ = ["check_message_size", "check_size", "check_transition_sizes", "message_bytes"]


def message_bytes(message: Message) -> int:
    """The size of a message as `BrokerCapabilities.largest_message_bytes` counts it: its body and headers, in bytes."""
    headers = message.headers
    return len(message.body) + sum(len(utf8(name)) + len(utf8(text)) for name, text in headers.items())


def check_message_size(message: Message, largest_bytes: int) -> None:
    """Check body and headers of a message.

    Raises:
        TooLarge: they have more than ``largest_bytes`` together.
    """
    size = message_bytes(message)
    if size > largest_bytes:
        raise TooLarge(f"message {message.id[:100]}", size, largest_bytes)


def check_size(what: str, value: bytes | None, largest_bytes: int) -> None:
    """Check one value.

    Args:
        what: what the value is, for the message: ``a payload``.
        value: the value; None passes.
        largest_bytes: how large it may be.

    Raises:
        TooLarge: it has more bytes.
    """
    if value is not None and len(value) > largest_bytes:
        raise TooLarge(what, len(value), largest_bytes)


def check_transition_sizes(transitions: Iterable[Transition], largest_bytes: int) -> None:
    """Check the payload and the downstream of each transition.

    Raises:
        TooLarge: one of them has more than ``largest_bytes``.
    """
    for transition in transitions:
        # Called for every task that is sent, so without a call for each value.
        payload, downstream = transition.payload, transition.downstream
        if payload is not None and len(payload) > largest_bytes:
            raise TooLarge("a payload", len(payload), largest_bytes)
        if downstream is not None and len(downstream) > largest_bytes:
            raise TooLarge("a downstream", len(downstream), largest_bytes)
