"""Searches a message in the queues, as far as the broker can list messages."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from enum import StrEnum

from attrs import frozen

from drivetrain.contract import Broker, Message, QueueSection

__all__ = ["MAX_MESSAGES", "Finding", "MessageSearch"]

#: The largest number of messages of one section that a search reads. It bounds the cost of a search.
MAX_MESSAGES = 10_000


class Finding(StrEnum):
    """The result of searching a message."""

    #: It is in a queue.
    FOUND = "found"
    #: It is in no queue. It may be in flight.
    MISSING = "missing"
    #: It may be in a queue.
    UNCLEAR = "unclear"


@frozen
class _View:
    """The messages of one queue."""

    ids: AbstractSet[str] = frozenset()
    dead: AbstractSet[str] = frozenset()
    #: Why overdue messages may be missing here; empty: none is missing.
    hidden: str = ""


class MessageSearch:
    """One search of the queues. It reads each queue once, when it is needed. Used by one thread."""

    def __init__(self, broker: Broker, *, now: float, longest_pause_seconds: float) -> None:
        """Make it; it reads nothing yet.

        Args:
            broker: the broker of the queues.
            now: Unix seconds.
            longest_pause_seconds: the longest delay with which workers release a message that is due, in seconds.
        """
        self._broker = broker
        self._latest = now + longest_pause_seconds
        self._views: dict[str, _View] = {}
        self._queues: Sequence[str] | None = None

    def backlog(self) -> str:
        """Why a message whose queue is not recorded cannot be searched; empty: it can. Costs one call."""
        capabilities = self._broker.capabilities
        if not (capabilities.lists_queues and capabilities.peeks):
            return ""
        sizes = self._broker.sizes(self._all_queues())
        return next((text for queue, size in sizes.items() if (text := _too_many(queue, size.ready))), "")

    def find(self, message_id: str, queue: str) -> tuple[Finding, str]:
        """Search a message that is due; the finding, and its reason.

        Args:
            message_id: its id.
            queue: its queue; empty: not recorded.

        Raises:
            ServiceError: the broker did not answer.
        """
        if not queue and not self._broker.capabilities.lists_queues:
            return Finding.UNCLEAR, "its queue is not recorded, and this broker does not list its queues"
        views = [self._view(name) for name in ([queue] if queue else self._all_queues())]
        if any(message_id in view.ids for view in views):
            return Finding.FOUND, ""
        if any(message_id in view.dead for view in views):
            return Finding.UNCLEAR, "its message is in the dead letters; replay it, or drop it"
        hidden = next((view.hidden for view in views if view.hidden), "")
        return (Finding.UNCLEAR, hidden) if hidden else (Finding.MISSING, "")

    def _all_queues(self) -> Sequence[str]:
        if self._queues is None:
            self._queues = self._broker.queues()
        return self._queues

    def _view(self, queue: str) -> _View:
        if queue not in self._views:
            self._views[queue] = self._peek(queue) if self._broker.capabilities.peeks else self._count(queue)
        return self._views[queue]

    def _count(self, queue: str) -> _View:
        # Delayed and in-flight messages do not count: a message that is due is in these states only for a short time.
        ready = self._broker.sizes([queue])[queue].ready
        if ready is None:
            return _View(hidden=f"this broker cannot count the messages of the queue {queue}")
        if ready:
            return _View(hidden=f"the queue {queue} has {ready} ready messages, which this broker cannot list")
        return _View()

    def _peek(self, queue: str) -> _View:
        if hidden := _too_many(queue, self._broker.sizes([queue])[queue].ready):
            return _View(hidden=hidden)
        # In the order in which a message moves through the sections, so that none is missed on its way.
        delayed = self._broker.peek(queue, QueueSection.DELAYED, limit=MAX_MESSAGES)
        ready = self._broker.peek(queue, QueueSection.READY, limit=MAX_MESSAGES)
        dead = self._broker.peek(queue, QueueSection.DEAD, limit=MAX_MESSAGES)
        hidden = _too_many(queue, len(ready) + 1)
        # They are in due order: after one that is due much later there is none that is due now.
        if len(delayed) >= MAX_MESSAGES and (delayed[-1].eta or 0.0) <= self._latest:
            hidden = f"the queue {queue} has more than {MAX_MESSAGES} delayed messages that are due soon"
        return _View(_ids([*delayed, *ready]), _ids(dead), hidden)


def _ids(messages: Sequence[Message]) -> frozenset[str]:
    return frozenset(message.id for message in messages)


def _too_many(queue: str, ready: int | None) -> str:
    if ready is None or ready <= MAX_MESSAGES:
        return ""
    return f"the queue {queue} has {ready} ready messages, and a search reads at most {MAX_MESSAGES}"
