"""Values of any size on the servers: read, and changed if they are still as they were read.

A value that does not fit into an item is split. The store writes its parts first, under a tag that never repeats, and
then the item that names them. So every reader gets the old value or the new one, complete. The store deletes parts that
no item names any more; where a process dies in between, Memcached does so later.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import cast

from attrs import field, frozen

from drivetrain.contract import Clock, ServiceUnavailable, evolve
from drivetrain_memcache import protocol
from drivetrain_memcache.connection import Servers
from drivetrain_memcache.keys import Key, Keys, Kind, new_tag
from drivetrain_memcache.protocol import NEVER, Item, Line, Request

__all__ = ["Found", "ValueStore", "Write", "attempts", "contended"]

#: The first byte of an item: the value is in it, or in parts.
_UNSPLIT, _SPLIT = b"w", b"s"
#: A server needs some of its largest item for itself, the key, and how it divides its memory.
_OVERHEAD_BYTES = 2 * 1024
#: How often to read a value again that others change while its parts are read.
_READS = 20

#: How often to try a change of an item that others change at the same time. In each round one of them succeeds.
_ATTEMPTS = 200
#: After these attempts a short pause lets others finish, in seconds at most.
_ATTEMPTS_AT_ONCE = 4
_LONGEST_PAUSE_SECONDS = 0.005
_random = Random()


def attempts(clock: Clock) -> Iterator[int]:
    """The numbers of the attempts to change an item, from 0. It pauses between later ones."""
    for number in range(_ATTEMPTS):
        if number >= _ATTEMPTS_AT_ONCE:
            clock.wait_event(threading.Event(), _random.uniform(0, _LONGEST_PAUSE_SECONDS))
        yield number


def contended(what: str) -> ServiceUnavailable:
    """The error after the last attempt to change ``what``."""
    return ServiceUnavailable(f"other processes changed {what} during each of {_ATTEMPTS} attempts; try again")


@frozen
class Found:
    """The value that a key holds, as it was read."""

    #: None: it was split, and the server has dropped a part of it.
    value: bytes | None
    #: It changes with every change.
    cas: bytes
    parts: tuple[Key, ...] = ()


@frozen
class Write:
    """A value to store if the key is still as it was read."""

    key: Key
    value: bytes
    #: The expiry time, as in the protocol.
    expires: int = NEVER
    #: The value that was read; None: the key held none.
    before: Found | None = None


@frozen
class _Encoded:
    """A value as an item, with the parts that it needs."""

    item: bytes
    parts: Mapping[Key, bytes] = field(factory=dict)


class ValueStore:
    """Reads and changes values by compare-and-set. Thread-safe."""

    def __init__(self, servers: Servers, keys: Keys, item_bytes: int) -> None:
        self._servers = servers
        self._keys = keys
        self._room = item_bytes - _OVERHEAD_BYTES

    def fetch(self, keys: Iterable[Key]) -> dict[Key, Found]:
        """The values of these keys; without those that hold none."""
        return self.change((), keys)[1]

    def change(self, writes: Sequence[Write], fetched: Iterable[Key] = ()) -> tuple[list[bool], dict[Key, Found]]:
        """Store values, then read others; where one server holds both, this is one round trip.

        Returns:
            For each write whether it succeeded, because nobody changed the key before; and the values of ``fetched``
            after the writes.
        """
        fetched = list(dict.fromkeys(fetched))
        encoded = [self._encoded(write) for write in writes]
        self._put_parts(writes, encoded)
        stored, items = self._exchange(writes, encoded, fetched)
        old = [key for write, done in zip(writes, stored, strict=True) if done for key in _parts_of(write.before)]
        unused = [key for one, done in zip(encoded, stored, strict=True) if not done for key in one.parts]
        self.delete([*old, *unused])
        return stored, self._join(items)

    def put_new(self, values: Mapping[Key, bytes], expires: int = NEVER) -> None:
        """Store small values under keys that are new."""
        keys = list(values)
        self._send(keys, [protocol.put(key.name, _UNSPLIT + value, expires) for key, value in values.items()])

    def splits(self, value: bytes) -> bool:
        """Whether the store splits this value."""
        return len(value) >= self._room

    def parts(self, keys: Sequence[Key]) -> list[Key]:
        """The keys of the parts of values, without reading these parts."""
        _, items = self._exchange((), (), keys)
        return [part for key, item in items.items() for part in self._found(key, item).parts]

    def delete(self, keys: Sequence[Key]) -> None:
        """Delete items, whatever they hold. It leaves the parts of split values."""
        self._send(keys, [protocol.delete(key.name) for key in keys])

    def touch(self, keys: Sequence[Key], expires: int) -> None:
        """Change the expiry time of items. It leaves the parts of split values as they are."""
        self._send(keys, [protocol.touch(key.name, expires) for key in keys])

    def beginnings(self, server: str, names: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of items on one server, of split ones the first part only. For reading very many."""
        items = self._items(server, names)
        firsts = {name: self._first_part(item) for name, item in items.items() if item.value.startswith(_SPLIT)}
        parts = self._items(server, list(firsts.values()))
        unsplit = {name: item.value[1:] for name, item in items.items() if item.value.startswith(_UNSPLIT)}
        return {**unsplit, **{name: parts[part].value for name, part in firsts.items() if part in parts}}

    def _items(self, server: str, names: Sequence[bytes]) -> dict[bytes, Item]:
        items: dict[bytes, Item] = {}
        for reply in self._servers.exchange(server, list(protocol.gets(names))):
            items.update(cast("dict[bytes, Item]", reply))
        return items

    def _first_part(self, item: Item) -> bytes:
        tag, _, _ = json.loads(item.value[1:])
        return self._keys.numbered(Kind.PART, "", tag, 0).name

    def _send(self, keys: Sequence[Key], requests: Sequence[Request]) -> None:
        for server, positions in self._servers.by_server([key.owner for key in keys]).items():
            self._servers.exchange(server, [requests[position] for position in positions])

    def _exchange(
        self, writes: Sequence[Write], encoded: Sequence[_Encoded], fetched: Sequence[Key]
    ) -> tuple[list[bool], dict[Key, Item]]:
        stored = [False] * len(writes)
        items: dict[Key, Item] = {}
        wanted = self._servers.by_server([key.owner for key in fetched])
        changed = self._servers.by_server([write.key.owner for write in writes])
        for server in dict.fromkeys([*changed, *wanted]):
            positions = changed.get(server, [])
            keys = {fetched[position].name: fetched[position] for position in wanted.get(server, [])}
            requests = [_request(writes[position], encoded[position].item) for position in positions]
            replies = self._servers.exchange(server, [*requests, *protocol.gets(list(keys))])
            for position, reply in zip(positions, replies, strict=False):
                stored[position] = reply == Line.STORED
            for found in cast("list[dict[bytes, Item]]", replies[len(positions) :]):
                items.update((keys[name], item) for name, item in found.items())
        return stored, items

    # Split values

    def _encoded(self, write: Write) -> _Encoded:
        value = write.value
        if not self.splits(value):
            return _Encoded(_UNSPLIT + value)
        tag = new_tag()
        firsts = range(0, len(value), self._room)
        parts = {
            self._keys.numbered(Kind.PART, write.key.owner, tag, number): value[first : first + self._room]
            for number, first in enumerate(firsts)
        }
        return _Encoded(_SPLIT + json.dumps([tag, len(parts), len(value)]).encode("ascii"), parts)

    def _put_parts(self, writes: Sequence[Write], encoded: Sequence[_Encoded]) -> None:
        for write, one in zip(writes, encoded, strict=True):
            for key, part in one.parts.items():
                # One request each: together they may exceed what the buffers of both sides hold.
                self._send([key], [protocol.put(key.name, part, write.expires)])

    def _join(self, items: Mapping[Key, Item]) -> dict[Key, Found]:
        found = {key: self._found(key, item) for key, item in items.items()}
        for _ in range(_READS):
            unread = [key for key, one in found.items() if one.parts and one.value is None]
            if not unread:
                return found
            joined = {key: self._joined(found[key], items[key]) for key in unread}
            broken = [key for key in unread if joined[key].value is None]
            again = self._exchange((), (), broken)[1] if broken else {}
            lost = [key for key in broken if key in again and again[key].cas == found[key].cas]
            found.update((key, joined[key]) for key in unread if key not in broken)
            found.update((key, evolve(found[key], parts=())) for key in lost)
            for key in set(broken).difference(lost):
                found.pop(key)  # somebody changed or deleted it meanwhile
                if key in again:
                    items = {**items, key: again[key]}
                    found[key] = self._found(key, again[key])
        raise ServiceUnavailable(f"other processes changed a value during each of {_READS} reads; try again")

    def _found(self, key: Key, item: Item) -> Found:
        if item.value.startswith(_UNSPLIT):
            return Found(item.value[1:], item.cas)
        tag, count, _ = json.loads(item.value[1:])
        parts = tuple(self._keys.numbered(Kind.PART, key.owner, tag, number) for number in range(count))
        return Found(None, item.cas, parts)

    def _joined(self, found: Found, item: Item) -> Found:
        _, _, size = json.loads(item.value[1:])
        parts = self._exchange((), (), found.parts)[1]
        value = b"".join(parts[key].value for key in found.parts if key in parts)
        return evolve(found, value=value if len(value) == size else None)


def _request(write: Write, item: bytes) -> Request:
    if write.before is None:
        return protocol.add(write.key.name, item, write.expires)
    return protocol.cas(write.key.name, item, write.expires, write.before.cas)


def _parts_of(found: Found | None) -> tuple[Key, ...]:
    return () if found is None else found.parts
