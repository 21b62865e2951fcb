"""The names of keys.

Keys that belong together have a common hash tag, the part in braces, so that a cluster keeps them in one slot. The
part after the last brace tells the kind of a key: no suffix holds a brace, so no two names are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from attrs import Factory, field, frozen

from drivetrain.contract import chunks, utf8
from drivetrain_redis.connection import Client
from drivetrain_redis.scripts import LARGEST_BATCH, Call, Script

__all__ = ["QUEUE_SUFFIXES", "TASK_SUFFIXES", "VALUE_SUFFIXES", "Keys", "QueueKeys", "TaskKeys", "by_queue"]

T = TypeVar("T")

#: The ends of the keys of a queue.
QUEUE_SUFFIXES = (
    *(b":ready:%d" % level for level in range(10)),
    *(b":messages", b":in_flight", b":lapsed", b":delayed", b":dead", b":reasons", b":sequence", b":waiting"),
    *(b":fair", b":rounds"),
)
#: The ends of the keys of a task, next to its record.
TASK_SUFFIXES = (b":group", b":waiting")
#: The ends of the keys of a shard of versioned values, next to the values.
VALUE_SUFFIXES = (b":index", b":ends", b":version")


@frozen
class Keys:
    """The keys of one namespace.

    Args:
        prefix: the start of all of them; holds no brace.
    """

    prefix: str
    _start: bytes = field(init=False, default=Factory(lambda self: self.prefix.encode() + b":{", takes_self=True))

    @property
    def queues(self) -> bytes:
        """A set: the names of all queues that were ever published to."""
        return self.prefix.encode() + b":queues"

    @property
    def index(self) -> bytes:
        """The index of tasks, and the base of its other key."""
        return self._start + b"i}"

    def queue(self, name: str) -> bytes:
        """The base of a queue: the start of its keys."""
        return self._start + b"q:" + utf8(name) + b"}"

    def task(self, task_id: str) -> bytes:
        """The record of a task, and the base of its other keys."""
        return self._start + b"t:" + utf8(task_id) + b"}"

    def group(self, group_id: str) -> bytes:
        """The group of a task."""
        return self.task(group_id) + b":group"

    def body(self, key: str) -> bytes:
        """A body."""
        return self._start + b"b:" + utf8(key) + b"}"

    def values(self, shard: int) -> bytes:
        """The versioned values of a shard, and the base of its other keys."""
        return self._start + b"v:%d}" % shard

    def pattern(self, kind: str) -> bytes:
        """The pattern by which SCAN finds the keys of a kind. No character of the prefix means more than itself."""
        return self._start + kind.encode() + b":*"

    def name_of(self, key: bytes) -> str:
        """The name in a key without a suffix."""
        return key[len(self._start) + 2 : -1].decode("utf-8", "surrogatepass")


class QueueKeys:
    """The bases of a broker's queues, and calls that are about several queues. Thread-safe."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._bases: dict[str, bytes] = {}
        self._suffixes = () if client.supports_cross_slot else QUEUE_SUFFIXES

    def base(self, queue: str) -> bytes:
        """See `Keys.queue`."""
        base = self._bases.get(queue)
        if base is None:
            base = self._bases[queue] = self._keys.queue(queue)
        return base

    def by_slot(self, items: dict[str, list[T]]) -> Iterator[Mapping[str, list[T]]]:
        """Items by queue, in groups that one call can use."""
        if self._client.supports_cross_slot or len(items) == 1:
            yield items
            return
        names = list(items)
        for part in self._client.by_slot([self.base(name) for name in names]):
            yield {names[index]: items[names[index]] for index in part}

    def call(
        self,
        script: Script,
        before: Sequence[Any],
        items: Mapping[str, Sequence[T]],
        arguments_of: Callable[[Sequence[T]], Sequence[Any]],
    ) -> Call:
        """A call with the arguments ``before``, and for each queue the number of its items and their arguments."""
        arguments: list[Any] = [*before]
        for some in items.values():
            arguments.append(len(some))
            arguments += arguments_of(some)
        return script.call([self.base(queue) for queue in items], arguments, self._suffixes)


class TaskKeys:
    """Runs calls that are about many tasks. Thread-safe."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def run(
        self,
        script: Script,
        keys: Sequence[bytes],
        arguments_of: Callable[[int], Sequence[Any]],
        before: Sequence[Any] = (),
        suffixes: Sequence[bytes] = TASK_SUFFIXES,
    ) -> list[tuple[Sequence[int], Any]]:
        """Run a script on keys, by slot and in batches.

        Args:
            script: the script.
            keys: its keys.
            arguments_of: the arguments for the key of an index.
            before: the arguments before these.
            suffixes: see `Script.call`; used on a cluster.

        Returns:
            The replies, each with the indexes of its keys.
        """
        parts = [part for slot in self._client.by_slot(keys) for part in chunks(slot, LARGEST_BATCH)]
        others = () if self._client.supports_cross_slot else suffixes
        calls = [
            script.call(
                [keys[index] for index in part],
                [*before, *(argument for index in part for argument in arguments_of(index))],
                others,
            )
            for part in parts
        ]
        return list(zip(parts, self._client.run(calls), strict=True)) if calls else []


def by_queue(items: Sequence[T], queue_of: Callable[[T], str]) -> dict[str, list[T]]:
    """Items by their queue, in their order."""
    found: dict[str, list[T]] = {}
    for item in items:
        found.setdefault(queue_of(item), []).append(item)
    return found
