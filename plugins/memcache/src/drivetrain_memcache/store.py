"""Values of any size on the servers: fetched, and changed if nobody else has.

A value that does not fit into an item is split. Its parts are stored first, under a name that is never used again, and
then the item that names them: whoever reads sees the old value or the new one, whole. Parts that nobody names any more
are dropped, at the latest by Memcached itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from attrs import field, frozen

from drivetrain.contract import ServiceUnavailable, evolve
from drivetrain_memcache import protocol
from drivetrain_memcache.expiry import NEVER
from drivetrain_memcache.keys import Key, Keys, Kind, fresh
from drivetrain_memcache.protocol import Request, Stored, Value
from drivetrain_memcache.servers import Servers

__all__ = ["Found", "Store", "Write"]

#: What an item begins with.
_WHOLE, _SPLIT = b"w", b"s"
#: Of the largest item the server needs some for itself, the key, and how it cuts its memory into pieces.
_OVERHEAD_BYTES = 2 * 1024
#: How often a value that is changed again and again is looked at until it is found whole.
_LOOKS = 20


@frozen
class Found:
    """What is kept under a key."""

    #: None: it was split, and the server has dropped a part of it.
    value: bytes | None
    #: The mark that changes with every change.
    cas: bytes
    parts: tuple[Key, ...] = ()


@frozen
class Write:
    """A value to be stored where nothing has changed since it was looked at."""

    key: Key
    value: bytes
    exptime: int = NEVER
    #: What was there; None: nothing.
    before: Found | None = None


@frozen
class _Split:
    """A value cut into parts."""

    head: bytes
    parts: Mapping[Key, bytes] = field(factory=dict)


class Store:
    """See the module. Thread-safe."""

    def __init__(self, servers: Servers, keys: Keys, item_bytes: int) -> None:
        self._servers = servers
        self._keys = keys
        self._room = item_bytes - _OVERHEAD_BYTES

    def fetch(self, keys: Iterable[Key]) -> dict[Key, Found]:
        """What is kept under these keys; those that are not there are left out."""
        return self.change((), keys)[1]

    def change(self, writes: Sequence[Write], fetched: Iterable[Key] = ()) -> tuple[list[bool], dict[Key, Found]]:
        """Store values, then fetch others; where both are on one server this is one round trip.

        Returns:
            Whether each write was the first to change what it had seen; and what was found after the writes.
        """
        fetched = list(dict.fromkeys(fetched))
        split = [self._split(write) for write in writes]
        self._put_parts(writes, split)
        done, values = self._change(writes, split, fetched)
        old = [key for write, stored in zip(writes, done, strict=True) if stored for key in _parts_of(write.before)]
        vain = [key for one, stored in zip(split, done, strict=True) if not stored for key in one.parts]
        self.delete([*old, *vain])
        return done, self._join(values)

    def put_new(self, values: Mapping[Key, bytes], exptime: int = NEVER) -> None:
        """Store small values under names that are new."""
        keys = list(values)
        self._each(keys, [protocol.put(key.name, _WHOLE + value, exptime) for key, value in values.items()])

    def splits(self, value: bytes) -> bool:
        """Whether a value is kept in parts."""
        return len(value) >= self._room

    def parts(self, keys: Sequence[Key]) -> list[Key]:
        """The parts of those values that are split, without reading them."""
        _, values = self._change((), (), keys)
        return [part for key, value in values.items() for part in self._found(key, value).parts]

    def delete(self, keys: Sequence[Key]) -> None:
        """Drop items, whatever they hold. Parts of what is split are not looked for."""
        self._each(keys, [protocol.delete(key.name) for key in keys])

    def touch(self, keys: Sequence[Key], exptime: int) -> None:
        """Change when items end. Parts of what is split are not looked for."""
        self._each(keys, [protocol.touch(key.name, exptime) for key in keys])

    def beginnings(self, server: str, names: Sequence[bytes]) -> dict[bytes, bytes]:
        """Of items on this server, all or the first part of their values. For looking over many."""
        values = self._values(server, names)
        split = {name: self._first_part(value) for name, value in values.items() if value.value.startswith(_SPLIT)}
        parts = self._values(server, list(split.values()))
        whole = {name: value.value[1:] for name, value in values.items() if value.value.startswith(_WHOLE)}
        return {**whole, **{name: parts[part].value for name, part in split.items() if part in parts}}

    def _values(self, server: str, names: Sequence[bytes]) -> dict[bytes, Value]:
        values: dict[bytes, Value] = {}
        for reply in self._servers.exchange(server, list(protocol.gets(names))):
            values.update(cast("dict[bytes, Value]", reply))
        return values

    def _first_part(self, value: Value) -> bytes:
        of, _, _ = json.loads(value.value[1:])
        return self._keys.numbered(Kind.PART, "", of, 0).name

    def _each(self, keys: Sequence[Key], requests: Sequence[Request]) -> None:
        for server, positions in self._servers.spread([key.owner for key in keys]).items():
            self._servers.exchange(server, [requests[position] for position in positions])

    def _change(
        self, writes: Sequence[Write], split: Sequence[_Split], fetched: Sequence[Key]
    ) -> tuple[list[bool], dict[Key, Value]]:
        done = [False] * len(writes)
        values: dict[Key, Value] = {}
        wanted = self._servers.spread([key.owner for key in fetched])
        changed = self._servers.spread([write.key.owner for write in writes])
        for server in dict.fromkeys([*changed, *wanted]):
            positions = changed.get(server, [])
            keys = {fetched[position].name: fetched[position] for position in wanted.get(server, [])}
            requests = [_request(writes[position], split[position].head) for position in positions]
            replies = self._servers.exchange(server, [*requests, *protocol.gets(list(keys))])
            for position, reply in zip(positions, replies, strict=False):
                done[position] = reply == Stored.STORED
            for found in cast("list[dict[bytes, Value]]", replies[len(positions) :]):
                values.update((keys[name], value) for name, value in found.items())
        return done, values

    # Values that are split

    def _split(self, write: Write) -> _Split:
        value = write.value
        if not self.splits(value):
            return _Split(_WHOLE + value)
        of = fresh()
        firsts = range(0, len(value), self._room)
        parts = {
            self._keys.numbered(Kind.PART, write.key.owner, of, number): value[first : first + self._room]
            for number, first in enumerate(firsts)
        }
        return _Split(_SPLIT + json.dumps([of, len(parts), len(value)]).encode("ascii"), parts)

    def _put_parts(self, writes: Sequence[Write], split: Sequence[_Split]) -> None:
        for write, one in zip(writes, split, strict=True):
            for key, part in one.parts.items():
                # Each by itself: together they may be larger than what should be on its way at once.
                self._each([key], [protocol.put(key.name, part, write.exptime)])

    def _join(self, values: Mapping[Key, Value]) -> dict[Key, Found]:
        found = {key: self._found(key, value) for key, value in values.items()}
        for _ in range(_LOOKS):
            torn = [key for key, one in found.items() if one.parts and one.value is None]
            if not torn:
                return found
            joined = {key: self._joined(found[key], values[key]) for key in torn}
            broken = [key for key in torn if joined[key].value is None]
            again = self._change((), (), broken)[1] if broken else {}
            lost = [key for key in broken if key in again and again[key].cas == found[key].cas]
            found.update((key, joined[key]) for key in torn if key not in broken)
            found.update((key, evolve(found[key], parts=())) for key in lost)
            for key in set(broken).difference(lost):
                found.pop(key)  # it was changed meanwhile, or dropped
                if key in again:
                    values = {**values, key: again[key]}
                    found[key] = self._found(key, again[key])
        raise ServiceUnavailable("a value is changed more often than it can be read; try again")

    def _found(self, key: Key, value: Value) -> Found:
        if value.value.startswith(_WHOLE):
            return Found(value.value[1:], value.cas)
        of, count, _ = json.loads(value.value[1:])
        parts = tuple(self._keys.numbered(Kind.PART, key.owner, of, number) for number in range(count))
        return Found(None, value.cas, parts)

    def _joined(self, found: Found, value: Value) -> Found:
        _, _, size = json.loads(value.value[1:])
        parts = self._change((), (), found.parts)[1]
        whole = b"".join(parts[key].value for key in found.parts if key in parts)
        return evolve(found, value=whole if len(whole) == size else None)


def _request(write: Write, head: bytes) -> Request:
    if write.before is None:
        return protocol.add(write.key.name, head, write.exptime)
    return protocol.cas(write.key.name, head, write.exptime, write.before.cas)


def _parts_of(found: Found | None) -> tuple[Key, ...]:
    return () if found is None else found.parts
