"""What operators ask: of a broker's queues, and of all that a backend keeps."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from drivetrain.contract import (
    Message,
    QueueSection,
    QueueSizes,
    State,
    TaskPage,
    TaskRecord,
    mark_dead,
)
from drivetrain_redis.codec import STATES, unpack_message, unpack_record
from drivetrain_redis.connection import Client
from drivetrain_redis.keys import QUEUE_SUFFIXES, Keys
from drivetrain_redis.scripts import Script, command

__all__ = ["KeyScan", "QueueAdmin", "TaskIndex", "TaskListing"]

#: How many messages one call reads or drops: a script blocks all other clients.
_PAGE = 500
#: How many keys one step of a scan passes at most, and how much larger than the one before each is until then.
_STEP, _STEP_GROWTH = 1_000, 4
#: How many ids of the index one page passes at most, or one sweep drops.
_PASSED = 1_000
#: How many steps one page of a scan for tasks takes at most.
_MOST_STEPS = 20
#: The fields of a group's hash that are not members.
_GROUP_FIELDS = 4

_SIZES = Script.load("arrival", "fair", "queue", "sizes")
_PEEK = Script.load("arrival", "fair", "queue", "peek")
_PURGE = Script.load("arrival", "fair", "queue", "purge")
_REPLAY = Script.load("arrival", "fair", "queue", "dead", "replay")
_DROP_DEAD = Script.load("arrival", "fair", "queue", "dead", "drop_dead")
_LIST_INDEX = Script.load("record_common", "index", "list_index")
_SWEEP_INDEX = Script.load("record_common", "index", "sweep_index")


class QueueAdmin:
    """The queues of a namespace: sizes, names, peek, purge, replay. Thread-safe."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._suffixes = () if client.supports_cross_slot else QUEUE_SUFFIXES

    def sizes(self, queues: Sequence[str]) -> Mapping[str, QueueSizes]:
        """See `Broker.sizes`."""
        if not queues:
            return {}
        bases = [self._keys.queue(name) for name in queues]
        parts = list(self._client.by_slot(bases))
        replies = self._client.run(
            [_SIZES.call([bases[index] for index in part], (), self._suffixes) for part in parts]
        )
        sizes = {
            index: counts
            for part, reply in zip(parts, replies, strict=True)
            for index, counts in zip(part, reply, strict=True)
        }
        return {name: _sizes(*sizes[index]) for index, name in enumerate(queues)}

    def queues(self) -> list[str]:
        """See `Broker.queues`."""
        (names,) = self._client.run([command("SMEMBERS", self._keys.queues, key=self._keys.queues, writes=False)])
        return sorted(name.decode("utf-8", "surrogatepass") for name in names)

    def peek(self, queue: str, section: QueueSection, limit: int) -> list[Message]:
        """See `Broker.peek`."""
        found: list[Message] = []
        while len(found) < limit:
            wanted = min(limit - len(found), _PAGE)
            reply = self._run(_PEEK, queue, section.value, len(found), wanted)
            some = list(_messages(queue, reply))
            found += some
            if len(some) < wanted:
                break
        return found

    def purge(self, queue: str, section: QueueSection) -> int:
        """See `Broker.purge`. Messages that come meanwhile may stay."""
        most: int = getattr(self.sizes([queue])[queue], section.value)
        dropped: int = 0
        while dropped < most:
            some = self._run(_PURGE, queue, section.value, _PAGE)
            dropped += some
            if some < _PAGE:
                break
        return dropped

    def replay(self, queue: str, message_ids: Sequence[str] | None) -> int:
        """See `Broker.replay`."""
        counts_listeners = "1" if self._client.supports_cross_slot else "0"
        if message_ids is None:
            return self._through_dead(_REPLAY, queue, counts_listeners)
        return sum(self._through_dead(_REPLAY, queue, counts_listeners, *ids) for ids in _pages(message_ids))

    def drop_dead_letters(self, queue: str, message_ids: Sequence[str]) -> int:
        """See `Broker.drop_dead_letters`."""
        return sum(self._through_dead(_DROP_DEAD, queue, *ids) for ids in _pages(message_ids))

    def _through_dead(self, script: Script, queue: str, *arguments: str) -> int:
        """Run a script page by page over the dead letters of a queue; the sum of what it counts."""
        counted: int = 0
        after = b"-inf"
        while True:
            some, after = self._run(script, queue, after, _PAGE, *arguments)
            counted += some
            if not after:
                return counted

    def _run(self, script: Script, queue: str, *arguments: Any) -> Any:
        (reply,) = self._client.run([script.call([self._keys.queue(queue)], arguments, self._suffixes)])
        return reply


def _pages(message_ids: Sequence[str]) -> Iterator[list[str]]:
    ids = list(dict.fromkeys(message_ids))
    return (ids[first : first + _PAGE] for first in range(0, len(ids), _PAGE))


def _messages(queue: str, reply: list[Any]) -> Iterator[Message]:
    messages, times, notes = reply
    for index, data in enumerate(messages):
        message = unpack_message(data, queue)
        if notes:
            note = notes[index]
            (length,) = struct.unpack_from(">I", note)
            reason = note[4 + length :].decode("utf-8", "surrogatepass")
            message = mark_dead(message, reason, float(times[index]) / 1e6)
        yield message


class KeyScan:
    """What a backend keeps in a namespace, found by a scan of all keys. Thread-safe.

    The scan goes page by page. It may or may not see what changes meanwhile.
    """

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def page(self, states: AbstractSet[State], limit: int, cursor: str) -> tuple[list[TaskRecord], str | None]:
        """Up to ``limit`` records in these states, from as many keys as one page passes; and the cursor of the next."""
        position, shown = _parsed(cursor)
        found: list[TaskRecord] = []
        count = limit
        for _ in range(_MOST_STEPS):
            room = limit - len(found)
            count = min(_STEP, count)
            after, new = self._step(position, shown, states, count)
            if len(new) > room:
                after, new = self._step(position, shown, states, room)
            found += [record for _, record in new[:room]]
            if len(new) > room:
                # Redis returns some keys together, however few were asked for. The next page begins with them again.
                return found, _cursor(position, [*shown, *(key for key, _ in new[:room])])
            if not after:
                return found, None
            position, shown = after, frozenset()
            if len(found) == limit:
                break
            count *= _STEP_GROWTH  # most keys are of tasks in other states
        return found, _cursor(position, ())

    def _step(
        self, position: bytes, shown: AbstractSet[bytes], states: AbstractSet[State], count: int
    ) -> tuple[bytes, list[tuple[bytes, TaskRecord]]]:
        """The position behind a step of about ``count`` keys, and the records that it finds, but for those shown.

        Which keys a step passes depends on what else is there, so a later step from the same position may pass others.
        """
        after, names = next(iter(self._client.scan(self._keys.pattern("t"), count, position)), (b"", []))
        return after, self._records((name for name in names if name not in shown), states)

    def _records(self, names: Iterable[bytes], states: AbstractSet[State]) -> list[tuple[bytes, TaskRecord]]:
        """The records in these states among these keys, in the order of the keys."""
        keys = sorted({name for name in names if name.endswith(b"}")})
        records = [
            (key, unpack_record(self._keys.name_of(key), data))
            for key, data in zip(keys, self._values(keys), strict=True)
            if data is not None
        ]
        return [(key, record) for key, record in records if record.state in states]

    def _values(self, keys: list[bytes]) -> list[bytes | None]:
        return self._client.run([command("GET", key, key=key, writes=False) for key in keys]) if keys else []

    def counts(self) -> Mapping[str, int]:
        """See `Backend.counts`; without the versioned values."""
        suffixes: Counter[tuple[str, bytes]] = Counter()
        members = 0
        for kind in "tb":
            for names in self._pages(kind):
                suffixes.update((kind, name.rpartition(b"}")[2]) for name in names)
                groups = [name for name in names if name.endswith(b"}:group")]
                lengths = [command("HLEN", name, key=name, writes=False) for name in groups]
                members += sum(self._client.run(lengths)) - _GROUP_FIELDS * len(groups) if groups else 0
        return {
            "tasks": suffixes["t", b""],
            "groups": suffixes["t", b":group"],
            "members": members,
            "bodies": suffixes["b", b""],
        }

    def _pages(self, kind: str) -> Iterator[list[bytes]]:
        """The names of the keys of a kind, each once."""
        seen: set[bytes] = set()
        for _, names in self._client.scan(self._keys.pattern(kind), _STEP):
            new = [name for name in dict.fromkeys(names) if name not in seen]
            seen.update(new)
            yield new


class TaskIndex:
    """The index of tasks that have ended, and of those in RETRY; see ``index.lua``. Thread-safe.

    Args:
        client: of one server, since the index and its tasks must be on the same.
        keys: of the namespace.
    """

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def page(self, states: AbstractSet[State], limit: int, cursor: str) -> tuple[list[TaskRecord], str | None]:
        """Up to ``limit`` records in these states, newest first; and the cursor of the next page."""
        wanted = "".join("1" if state in states else "0" for state in STATES)
        call = _LIST_INDEX.call([self._keys.index], [f"({cursor}" if cursor else "+inf", _PASSED, limit, wanted])
        ((last, *found),) = self._client.run([call])
        records = [
            unpack_record(task_id.decode("utf-8", "surrogatepass"), data)
            for task_id, data in zip(found[::2], found[1::2], strict=True)
        ]
        return records, None if last is None else last.decode()

    def sweep(self) -> None:
        """Drop the ids of records that have expired, a limited number."""
        self._client.run([_SWEEP_INDEX.call([self._keys.index], [_PASSED])])


class TaskListing:
    """Lists tasks: those that are indexed by the index, the others by a scan of all keys. Thread-safe.

    Args:
        scan: finds the tasks of every state.
        index: None: there is none, as on a cluster.
    """

    def __init__(self, scan: KeyScan, index: TaskIndex | None) -> None:
        self._scan = scan
        self._index = index

    def page(self, states: AbstractSet[State], limit: int, cursor: str | None) -> TaskPage:
        """A page of the tasks in these states: first from the index, then from the scan."""
        by_index = self._by_index(states)
        source, _, rest = (cursor or ("index " if by_index else "scan ")).partition(" ")
        if source == "index" and self._index is not None:
            records, following = self._index.page(by_index, limit, rest)
            if following is not None:
                return TaskPage(records=records, cursor=f"index {following}")
            return TaskPage(records=records, cursor="scan " if states - by_index else None)
        records, following = self._scan.page(states - by_index, limit, rest)
        return TaskPage(records=records, cursor=None if following is None else f"scan {following}")

    def _by_index(self, states: AbstractSet[State]) -> AbstractSet[State]:
        """The states whose tasks the index finds. A scan for other unfinished tasks finds those in RETRY too."""
        if self._index is None:
            return frozenset()
        ended = {state for state in states if state.terminal}
        return ended | {State.RETRY} if states - ended == {State.RETRY} else ended


def _sizes(ready: int, delayed: int, in_flight: int, dead: int, age: int) -> QueueSizes:
    return QueueSizes(ready=ready, delayed=delayed, in_flight=in_flight, dead=dead, oldest_seconds=age / 1e6)


def _cursor(position: bytes, shown: Iterable[bytes]) -> str:
    """Where a page begins: with which step, and which of its keys were on an earlier page."""
    return " ".join(part.hex() for part in (position, *shown))


def _parsed(cursor: str) -> tuple[bytes, frozenset[bytes]]:
    position, *shown = (bytes.fromhex(part) for part in cursor.split(" "))
    return position, frozenset(shown)
