"""What observers get of messages and failures: copies that they cannot change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from types import MappingProxyType
from typing import overload

from drivetrain.contract import Failure, Message, evolve

__all__ = ["ShownMessages", "count_queues", "shown_failure"]


def shown_failure(failure: Failure) -> Failure:
    """The failure that observers get: a copy, so that they cannot change the arguments of the next attempt."""
    return evolve(failure, args=deepcopy(failure.args), kwargs=MappingProxyType(deepcopy(failure.kwargs)))


def count_queues(messages: Sequence[Message]) -> Mapping[str, int]:
    """How many of ``messages`` each queue has."""
    return Counter([message.queue for message in messages])


class ShownMessages(Sequence[Message]):
    """The messages that observers get. Each is copied when an observer reads it, since most observers only count.

    The headers of a copy are read-only.
    """

    __slots__ = ("_messages",)

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages

    def __len__(self) -> int:
        return len(self._messages)

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | Sequence[Message]:
        found = self._messages[index]
        return _read_only(found) if isinstance(found, Message) else ShownMessages(found)

    def __iter__(self) -> Iterator[Message]:
        return map(_read_only, self._messages)


def _read_only(message: Message) -> Message:
    return evolve(message, headers=MappingProxyType(message.headers))
