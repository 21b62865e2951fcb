"""Whether a message still lies in a queue, as far as the broker can tell."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from enum import StrEnum

from attrs import frozen

from drivetrain.contract import Broker, Message, QueueSection

__all__ = ["MAX_MESSAGES", "Finding", "MessageSearch"]

#: No more messages of one section of a queue are looked at. It bounds what a look costs.
MAX_MESSAGES = 10_000


class Finding(StrEnum):
    """What a look into the queues says of a message."""

    #: It lies in a queue.
    FOUND = "found"
    #: It lies in no queue. A consumer may hold it, for a while.
    MISSING = "missing"
    #: It may lie in a queue.
    UNCLEAR = "unclear"


@frozen
class _View:
    """What can be seen of one queue."""

    ids: AbstractSet[str] = frozenset()
    dead: AbstractSet[str] = frozenset()
    #: Why there may be more that is overdue; empty: there is not.
    hidden: str = ""


class MessageSearch:
    """One look into the queues. Each queue is looked into when it is first asked for, and once."""

    def __init__(self, broker: Broker, *, now: float, longest_pause_seconds: float) -> None:
        """Make it; nothing is looked at yet.

        Args:
            broker: whose queues.
            now: Unix seconds.
            longest_pause_seconds: how long workers give a message back for, that is due, at the most.
        """
        self._broker = broker
        self._latest = now + longest_pause_seconds
        self._views: dict[str, _View] = {}
        self._queues: Sequence[str] | None = None

    def backlog(self) -> str:
        """Why nothing can be said of a message whose queue is not recorded; empty: something can. Costs one call."""
        capabilities = self._broker.capabilities
        if not (capabilities.lists_queues and capabilities.peeks):
            return ""
        sizes = self._broker.sizes(self._all_queues())
        return next((text for queue, size in sizes.items() if (text := _too_many(queue, size.ready))), "")

    def find(self, message_id: str, queue: str) -> tuple[Finding, str]:
        """What can be said of a message that is due, and why.

        Args:
            message_id: which one.
            queue: in which queue it would be; empty: not known.

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
        # What is delayed and held is not asked for: what is due is delayed or held, unrecorded, for a short time only.
        ready = self._broker.sizes([queue])[queue].ready
        if ready is None:
            return _View(hidden=f"this broker cannot count the messages of the queue {queue}")
        if ready:
            return _View(hidden=f"the queue {queue} has {ready} ready messages, which this broker cannot list")
        return _View()

    def _peek(self, queue: str) -> _View:
        if hidden := _too_many(queue, self._broker.sizes([queue])[queue].ready):
            return _View(hidden=hidden)
        # In the order in which a message goes from one section to the next, so that none slips past.
        delayed = self._broker.peek(queue, QueueSection.DELAYED, limit=MAX_MESSAGES)
        ready = self._broker.peek(queue, QueueSection.READY, limit=MAX_MESSAGES)
        dead = self._broker.peek(queue, QueueSection.DEAD, limit=MAX_MESSAGES)
        hidden = _too_many(queue, len(ready) + 1)
        # They come in due order: behind one that is far from due there is none that is due.
        if len(delayed) >= MAX_MESSAGES and (delayed[-1].eta or 0.0) <= self._latest:
            hidden = f"the queue {queue} has more than {MAX_MESSAGES} delayed messages that are due soon"
        return _View(_ids([*delayed, *ready]), _ids(dead), hidden)


def _ids(messages: Sequence[Message]) -> frozenset[str]:
    return frozenset(message.id for message in messages)


def _too_many(queue: str, ready: int | None) -> str:
    if ready is None or ready <= MAX_MESSAGES:
        return ""
    return f"the queue {queue} has {ready} ready messages, and a search reads at most {MAX_MESSAGES}"
