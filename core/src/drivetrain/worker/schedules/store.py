"""Reads and writes schedules as versioned values. One lock lets one process at a time change them.

The lock saves work: without it, schedulers would send the same ticks several times, which the ids of ticks make
harmless. Safety does not depend on it: every write names the version that it has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from random import Random
from threading import Event
from typing import TypeVar
from uuid import uuid4

import msgspec
from attrs import field, frozen
from msgspec import Struct
from msgspec.structs import replace

from drivetrain.contract import (
    Clock,
    ServiceError,
    ServiceUnavailable,
    ValueWrite,
    VersionedValue,
    VersionedValues,
    chunks,
)
from drivetrain.worker.logs import get_logger
from drivetrain.worker.schedules.state import (
    HEAD_KEY,
    SHARDS,
    Definition,
    Entry,
    Head,
    Shard,
    definition_key,
    shard_key,
    shard_of,
)
from drivetrain.worker.value_codec import decode, encode
from drivetrain.worker.value_lock import ValueLock

__all__ = ["LEASE_SECONDS", "Conflict", "ScheduleState", "ScheduleStore", "StoredShard", "change", "locked"]

logger = get_logger("drivetrain.schedules")

T = TypeVar("T", bound=Struct)
M = TypeVar("M")

#: The longest that a scheduler which dies in the middle keeps the others waiting, in seconds.
LEASE_SECONDS = 10.0
#: The name of the lock.
_LOCK = "drivetrain.schedules"
#: How long a change of schedules waits for the lock, in seconds.
_PATIENCE_SECONDS = 3 * LEASE_SECONDS
_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.02, 0.2
#: How often a change is tried again because another process has changed the same schedules.
_MOST_TRIES = 10
#: How many definitions are kept in memory.
_MOST_DEFINITIONS = 20_000
#: How many definitions are read or written in one call.
_DEFINITIONS_PAGE = 500


class Conflict(Exception):
    """Another process has changed the schedules since they were read. Read them again."""


@frozen(eq=False)
class StoredShard:
    """The entries of a shard, by id, and the version of the value; 0: it is not stored."""

    version: int = 0
    entries: Mapping[str, Entry] = field(factory=dict)


class ScheduleState:
    """Shards and the head as they were read, and the changes to them. For one thread.

    Attributes:
        head: the head; a new one where none is stored.
        missing: the shards that the head counts on and that are gone: a cache has dropped them.
        new_definitions: definitions to store, by name.
        old_definitions: the names of definitions to remove.
    """

    def __init__(self, head: tuple[int, Head], shards: Mapping[int, StoredShard]) -> None:
        self._head_version, self.head = head
        self._before = self.head
        self._versions = {number: shard.version for number, shard in shards.items()}
        self._entries = {number: dict(shard.entries) for number, shard in shards.items()}
        self._changed: set[int] = set()
        self.new_definitions: dict[str, Definition] = {}
        self.old_definitions: list[str] = []
        self.missing = [
            number for number, shard in shards.items() if not shard.version and self.head.due[number] is not None
        ]

    def entries(self) -> list[Entry]:
        """All entries that were read, as they are now, sorted by id."""
        return sorted((entry for entries in self._entries.values() for entry in entries.values()), key=lambda e: e.id)

    def get(self, schedule_id: str) -> Entry | None:
        """The entry of a schedule, whose shard was read; None: there is none."""
        return self._entries[shard_of(schedule_id)].get(schedule_id)

    def define(self, definition: Definition) -> str:
        """Store a definition with the next write; the name under which it is stored."""
        name = uuid4().hex
        self.new_definitions[name] = definition
        return name

    def drop_definition(self, name: str) -> None:
        """Remove a definition that no entry names any more, after the next write."""
        self.old_definitions.append(name)

    def put(self, entry: Entry) -> None:
        """Store an entry with the next write."""
        number = shard_of(entry.id)
        if self._entries[number].get(entry.id) != entry:
            self._entries[number][entry.id] = entry
            self._changed.add(number)

    def remove(self, schedule_id: str) -> None:
        """Remove an entry with the next write."""
        number = shard_of(schedule_id)
        if self._entries[number].pop(schedule_id, None) is not None:
            self._changed.add(number)

    def set_revision(self, revision: int) -> None:
        """Store the revision of declared schedules with the next write."""
        self.head = replace(self.head, revision=revision)

    def head_is_stale(self) -> bool:
        """Whether the head does not say when the shards that were read are due: it is lost, or its writer has died."""
        return any(write.key == HEAD_KEY for write in self.writes())

    def dirty(self) -> list[int]:
        """The shards that the next write changes."""
        return sorted(self._changed)

    def announcement(self) -> tuple[Head, ValueWrite]:
        """A head in which the changed shards are due at once, and the write of it."""
        due = tuple(0.0 if number in self._changed else due for number, due in enumerate(self.head.due))
        head = replace(self.head, due=due)
        return head, ValueWrite(key=HEAD_KEY, value=_encoded(head), if_version=self._head_version)

    def announced(self, head: Head, version: int) -> None:
        """Go on from the head of `announcement`, which is stored with this version."""
        self.head = self._before = head
        self._head_version = version

    def stored_shard(self, number: int, version: int) -> StoredShard:
        """A shard as it was written with this version."""
        return StoredShard(version, dict(self._entries[number]))

    def writes(self) -> list[ValueWrite]:
        """The writes of all changes: the shards of `dirty` in that order, and then the head."""
        due = list(self.head.due)
        for number, entries in self._entries.items():
            due[number] = min((entry.due for entry in entries.values() if entry.due is not None), default=None)
        self.head = replace(self.head, due=tuple(due))
        writes = [self._shard_write(number) for number in self.dirty()]
        if self.head != self._before:
            writes.append(ValueWrite(key=HEAD_KEY, value=_encoded(self.head), if_version=self._head_version))
        return writes

    def _shard_write(self, number: int) -> ValueWrite:
        entries = tuple(sorted(self._entries[number].values(), key=lambda entry: entry.id))
        # An empty shard is stored too: its version shows that it was read as it is.
        return ValueWrite(
            key=shard_key(number), value=_encoded(Shard(entries=entries)), if_version=self._versions[number]
        )


class ScheduleStore:
    """Reads and writes schedules. For one thread. It keeps what it has read, and reads it again when it has changed.

    All methods raise `ServiceError` if the backend does.

    Args:
        backend: the backend of the app.
        lease_seconds: how long the lock is held without a renewal.
    """

    def __init__(self, backend: VersionedValues, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._backend = backend
        self._lease_seconds = min(lease_seconds, LEASE_SECONDS)
        self._definitions: dict[str, Definition] = {}
        #: The shards as they were last read or written.
        self._shards: dict[int, StoredShard] = {}
        #: The last head that was read, by its version.
        self._last_head = 0, Head()

    def read_head(self) -> Head | None:
        """The head; None: there is no schedule."""
        (value,) = self._backend.read_values([HEAD_KEY])
        if value is None:
            return None
        version, head = self._last_head
        if value.version != version:
            head = _decoded(value, Head)
            self._last_head = value.version, head
        return head

    def read(self, shards: Iterable[int] | None = None) -> ScheduleState:
        """The head and some shards; None: all shards. One call of the backend."""
        numbers = list(range(SHARDS) if shards is None else shards)
        head, *values = self._backend.read_values([HEAD_KEY, *map(shard_key, numbers)])
        shards = {number: self._shard(number, value) for number, value in zip(numbers, values, strict=True)}
        return ScheduleState((0, Head()) if head is None else (head.version, _decoded(head, Head)), shards)

    def _shard(self, number: int, value: VersionedValue | None) -> StoredShard:
        if value is None:
            return StoredShard()
        known = self._shards.get(number)
        if known is not None and known.version == value.version:
            return known
        shard = StoredShard(value.version, {entry.id: entry for entry in _decoded(value, Shard).entries})
        self._shards[number] = shard
        return shard

    def write(self, state: ScheduleState) -> None:
        """Write the changes of a state.

        Raises:
            Conflict: another process has changed some of it since it was read. What was not changed is written.
        """
        self._write_definitions(state.new_definitions)
        writes = state.writes()
        outcomes = self._backend.write_values(writes) if writes else ()
        for number, outcome in zip(state.dirty(), outcomes, strict=False):  # the head comes last
            if outcome.written and outcome.current is not None:
                self._shards[number] = state.stored_shard(number, outcome.current.version)
        if not all(outcome.written for outcome in outcomes):
            raise Conflict
        self._drop_definitions(state.old_definitions)

    def announce(self, state: ScheduleState) -> None:
        """Mark the shards that a change is about to write as due, so that no scheduler misses it if this process dies.

        Raises:
            Conflict: another process has changed the head since it was read.
        """
        marked, write = state.announcement()
        (outcome,) = self._backend.write_values([write])
        if not outcome.written or outcome.current is None:
            raise Conflict
        state.announced(marked, outcome.current.version)

    def definitions(self, names: Iterable[str]) -> dict[str, Definition]:
        """The definitions of these names. A definition that is gone or unreadable is left out, and logged."""
        wanted = dict.fromkeys(names)
        unknown = [name for name in wanted if name not in self._definitions]
        if len(self._definitions) + len(unknown) > _MOST_DEFINITIONS:
            self._definitions.clear()
            unknown = list(wanted)
        for page in chunks(unknown, _DEFINITIONS_PAGE):
            values = self._backend.read_values([definition_key(name) for name in page])
            for name, value in zip(page, values, strict=True):
                if (definition := _definition(name, value)) is not None:
                    self._definitions[name] = definition
        return {name: self._definitions[name] for name in wanted if name in self._definitions}

    def _write_definitions(self, definitions: Mapping[str, Definition]) -> None:
        # Each name is used once, so nobody else writes it.
        writes = [ValueWrite(key=definition_key(name), value=_encoded(one)) for name, one in definitions.items()]
        for page in chunks(writes, _DEFINITIONS_PAGE):
            self._backend.write_values(page)

    def _drop_definitions(self, names: Sequence[str]) -> None:
        if names:
            self._backend.write_values([ValueWrite(key=definition_key(name), value=None) for name in names])
        for name in names:
            self._definitions.pop(name, None)

    def lock(self) -> ValueLock:
        """A new owner of the lock, for one thread."""
        return ValueLock(lambda: self._backend, _LOCK, seconds=self._lease_seconds)


def _encoded(value: Struct) -> bytes:
    """The bytes of `value_codec.encode`, in a tenth of its time; a shard holds hundreds of schedules."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # a surrogate, in the reason of a pause
        return encode(value)


def _decoded(value: VersionedValue, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(value.value, type=kind)
    except msgspec.DecodeError:
        return _decoded_slowly(value, kind)


def _decoded_slowly(value: VersionedValue, kind: type[T]) -> T:
    try:
        return decode(value.value, kind)
    except ValueError as error:
        raise ServiceError(
            f"cannot read the stored schedules: {error}; another version of drivetrain may have written them"
        ) from error


def _definition(name: str, value: VersionedValue | None) -> Definition | None:
    try:
        return None if value is None else decode(value.value, Definition)
    except ValueError:
        logger.exception("cannot read the definition %s of a schedule; a newer version may have written it", name)
        return None


@contextmanager
def locked(store: ScheduleStore, clock: Clock) -> Iterator[ValueLock]:
    """Hold the lock of the schedules; wait for it while a scheduler sends ticks.

    Raises:
        ServiceUnavailable: another process has held it for 30 seconds.
        ServiceError: the backend could not be reached.
    """
    lock, random, never = store.lock(), Random(), Event()
    end = clock.monotonic() + _PATIENCE_SECONDS
    while not lock.acquire():
        if clock.monotonic() > end:
            raise ServiceUnavailable(
                f"another process has held the lock of the schedules for {_PATIENCE_SECONDS:.0f} s; try again"
            )
        clock.wait_event(never, random.uniform(_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS))
    try:
        yield lock
    finally:
        with suppress(ServiceError):  # it ends by itself
            lock.release()


def change(
    store: ScheduleStore, clock: Clock, shards: Iterable[int] | None, make: Callable[[ScheduleState, ValueLock], M]
) -> M:
    """Change schedules under the lock; what ``make`` returns.

    Args:
        store: the schedules.
        clock: the clock of the app.
        shards: the shards to read; None: all.
        make: changes the state; called again if another process has changed it meanwhile.

    Raises:
        ServiceError: the backend could not be reached, or other processes keep the schedules busy.
    """
    numbers = None if shards is None else sorted(set(shards))
    with locked(store, clock) as lock:
        for _ in range(_MOST_TRIES):
            state = store.read(numbers)
            made = make(state, lock)
            with suppress(Conflict):
                if state.dirty():
                    store.announce(state)
                store.write(state)
                return made
    raise ServiceUnavailable("other processes keep changing the schedules; try again")
