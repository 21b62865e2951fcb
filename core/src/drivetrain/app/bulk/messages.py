"""Searching the messages of tasks in the queues, as far as the broker can show them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from attrs import frozen
from msgspec.structs import replace

from drivetrain.contract import Message, QueueSection, SerializationError
from drivetrain.worker.long_chains import load_rest
from drivetrain.worker.payloads import CONTENT_TYPE_HEADER
from drivetrain.worker.publisher import BODY_HEADER
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.frames import Invocation
from drivetrain.workflow.wire import load_invocation

__all__ = ["FoundMessage", "MessageSearch", "all_messages", "body_keys", "carried_invocation", "read_invocation"]

#: How many messages the first call of `peek` asks for.
_PAGE = 1000
#: The largest number of ready or delayed messages of a queue that a search reads.
_MOST_WAITING = 50_000


@frozen
class FoundMessage:
    """A message in a queue, and the call in it. Immutable."""

    message: Message
    invocation: Invocation
    section: QueueSection


def read_invocation(runtime: Runtime, message: Message) -> Invocation:
    """The call in a message, with all frames that follow it. What the backend stores for it comes from there.

    Raises:
        SerializationError: it cannot be read, or the backend no longer has all of it.
        ServiceError: the backend could not be reached.
    """
    invocation = carried_invocation(runtime, message)
    if not invocation.rest:
        return invocation
    following = load_rest(invocation.rest, runtime.payloads, runtime.backend.load_bodies)
    if following.lost:
        raise SerializationError(f"the backend no longer has the rest of the chain of message {message.id}")
    return replace(invocation, frames=(*invocation.frames, *following.frames), rest="")


def body_keys(runtime: Runtime, messages: Iterable[Message]) -> list[str]:
    """The keys of all bodies that the backend stores for ``messages``."""
    return [key for message in messages for key in _body_keys(runtime, message)]


def _body_keys(runtime: Runtime, message: Message) -> Iterator[str]:
    try:
        rest = carried_invocation(runtime, message).rest
        yield from load_rest(rest, runtime.payloads, runtime.backend.load_bodies).keys
    except SerializationError:
        pass  # what it names is unknown; its own body is known from its header
    if (key := message.headers.get(BODY_HEADER)) is not None:
        yield key


def carried_invocation(runtime: Runtime, message: Message) -> Invocation:
    """The call in a message, with the frames that it carries itself. Its body comes from the backend where it is large.

    Raises:
        SerializationError: it cannot be read, or the backend no longer has its body.
        ServiceError: the backend could not be reached.
    """
    key = message.headers.get(BODY_HEADER)
    body = message.body if key is None else runtime.backend.load_bodies([key])[0]
    if body is None:
        raise SerializationError(f"the backend no longer has the body of message {message.id}")
    return load_invocation(runtime.payloads.load_body(message.headers.get(CONTENT_TYPE_HEADER), body))


def all_messages(runtime: Runtime, queue: str, section: QueueSection, *, most: int | None = None) -> Sequence[Message]:
    """All messages in a section, at most about ``most``. Not by its size, which some brokers do not know."""
    limit = _PAGE
    while len(messages := runtime.broker.peek(queue, section, limit=limit)) >= limit:
        if most is not None and limit >= most:
            break
        limit *= 4
    return messages


class MessageSearch:
    """Finds the messages of tasks. It reads a section again only when a message is not among those that it has seen.

    Used by one thread.

    Args:
        runtime: the drivers of the app.
        queues: gives the names of the queues to search where the queue of a task is not recorded.
    """

    def __init__(self, runtime: Runtime, queues: Callable[[], Sequence[str]]) -> None:
        self._runtime = runtime
        self._queues = queues
        self._seen: dict[tuple[str, QueueSection], Mapping[str, Message]] = {}

    def find(self, wanted: Mapping[str, str], sections: Iterable[QueueSection]) -> Mapping[str, FoundMessage]:
        """The messages of tasks that are in one of ``sections`` and can be read, by the id of the task.

        Args:
            wanted: the queue of each task by its id; empty: it is not recorded.
            sections: where to search. Ready and delayed messages are found only where the broker declares `peeks`.

        Raises:
            ServiceError: a service could not be reached.
        """
        by_queue: dict[str, list[str]] = defaultdict(list)
        for task_id, queue in wanted.items():
            for name in [queue] if queue else self._queues():
                by_queue[name].append(task_id)
        found: dict[str, FoundMessage] = {}
        for section in self._visible(sections):
            for queue, task_ids in by_queue.items():
                missing = [task_id for task_id in task_ids if task_id not in found]
                found.update(self._readable(self._among(queue, section, missing), section))
        return found

    def forget(self, task_ids: Iterable[str]) -> None:
        """Forget messages that were dropped from the broker."""
        gone = frozenset(task_ids)
        for key, messages in self._seen.items():
            if not gone.isdisjoint(messages):
                self._seen[key] = {name: message for name, message in messages.items() if name not in gone}

    def _visible(self, sections: Iterable[QueueSection]) -> list[QueueSection]:
        peeks = self._runtime.broker.capabilities.peeks
        return [section for section in sections if peeks or section is QueueSection.DEAD]

    def _among(self, queue: str, section: QueueSection, task_ids: Sequence[str]) -> list[Message]:
        seen = self._seen.get((queue, section), {})
        if not all(task_id in seen for task_id in task_ids):
            most = None if section is QueueSection.DEAD else _MOST_WAITING
            seen = {one.id: one for one in all_messages(self._runtime, queue, section, most=most)}
            self._seen[queue, section] = seen
        return [seen[task_id] for task_id in task_ids if task_id in seen]

    def _readable(self, messages: Iterable[Message], section: QueueSection) -> dict[str, FoundMessage]:
        found = {}
        for message in messages:
            try:
                found[message.id] = FoundMessage(message, read_invocation(self._runtime, message), section)
            except SerializationError:
                continue  # the caller says that no readable message was found
        return found
