"""What observers get of messages and failures: copies that they cannot change."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from types import MappingProxyType

from drivetrain.contract import Failure, Message, evolve

__all__ = ["shown_failure", "shown_messages"]


def shown_failure(failure: Failure) -> Failure:
    """The failure that observers get: a copy, so that they cannot change the arguments of the next attempt."""
    return evolve(failure, args=deepcopy(failure.args), kwargs=MappingProxyType(deepcopy(failure.kwargs)))


def shown_messages(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages that observers get: their headers are read-only."""
    return tuple(evolve(message, headers=MappingProxyType(message.headers)) for message in messages)
