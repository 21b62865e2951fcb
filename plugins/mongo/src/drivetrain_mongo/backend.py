"""The backend of ``mongodb://``: `drivetrain.contract.Backend`, by the parts that do the work."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from drivetrain.contract import (
    BackendCapabilities,
    Clock,
    Completion,
    Durability,
    Group,
    GroupProgress,
    GroupRecord,
    Outcome,
    Renewal,
    RunLease,
    State,
    TaskPage,
    TaskRecord,
    Transition,
    ValueOutcome,
    ValuePage,
    ValueWrite,
    VersionedValue,
    changed_values,
    check_size,
    check_transition_sizes,
    check_value_sizes,
    record_and_complete,
)
from drivetrain_mongo import bitmap, deletion, groups, records, values
from drivetrain_mongo.bulk import CHUNK
from drivetrain_mongo.codec import micros
from drivetrain_mongo.connection import Connection
from drivetrain_mongo.errors import LARGEST_VALUE_BYTES
from drivetrain_mongo.options import Options
from drivetrain_mongo.waiting import TaskWatch, Wanted, Watcher, ended_tasks

__all__ = ["MongoBackend"]

#: A value that is to expire may be looked at again after this time, in seconds.
_SHORTEST_PAUSE_SECONDS = 0.01
#: The states in which most tasks are for a moment only; the index `listed` has all others.
_NOT_INDEXED = frozenset({State.PENDING, State.RECEIVED, State.STARTED})
#: How often one `MongoBackend.sweep` deletes a thousand records, at most.
_SWEEPS = 10


class MongoBackend:
    """A backend in MongoDB; see `drivetrain.contract.Backend`. Thread-safe; only for the process that made it.

    Leases and expiry count by the server's clock.

    Args:
        options: the options of its URL.
        clock: the clock by which threads wait.
    """

    def __init__(self, options: Options, clock: Clock) -> None:
        self.capabilities = BackendCapabilities(
            durability=Durability.POWER,
            notifies=True,
            largest_value_bytes=LARGEST_VALUE_BYTES,
            expiry_resolution_seconds=0.1,
            lists_tasks=options.index,
            lists_newest_first=True,
        )
        self._indexed = options.index.states - _NOT_INDEXED
        self._connection = Connection(options, clock)
        self._watcher = Watcher(TaskWatch(self._ended), self._connection, clock, options.waiting)
        self._value_watcher = Watcher(values.ValueWatch(self._connection), self._connection, clock, options.waiting)
        self._orphans = deletion.Orphans()

    def ping(self) -> None:
        """See `Backend.ping`."""
        with self._connection.use() as collections:
            collections.records.find_one({"_id": ""}, {"_id": 1})

    # Tasks

    def record(self, transitions: Sequence[Transition]) -> Sequence[Outcome]:
        """See `Backend.record`."""
        check_transition_sizes(transitions, LARGEST_VALUE_BYTES)
        return record_and_complete(transitions, self._record, self.complete)

    def _record(self, transitions: Sequence[Transition]) -> list[Outcome]:
        outcomes = records.record(self._connection, transitions, self._indexed)
        self._watcher.hint(transition.task_id for transition in transitions if transition.state.terminal)
        return outcomes

    def read(self, task_ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        """See `Backend.read`."""
        if not task_ids:
            return []
        now = self._connection.now()
        with self._connection.use() as collections:
            return records.read(collections, task_ids, now)

    def wait(self, task_ids: Sequence[str], *, timeout_seconds: float) -> Mapping[str, TaskRecord | None]:
        """See `Backend.wait`. It returns ids without records."""
        if not task_ids:
            return {}
        wanted = Wanted(frozenset(task_ids))
        return dict.fromkeys(self._watcher.wait(wanted, lambda: (self._ended(task_ids), math.inf), timeout_seconds))

    def _ended(self, task_ids: Sequence[str]) -> list[str]:
        return ended_tasks(self._connection, task_ids)

    def renew(self, leases: Sequence[RunLease]) -> Sequence[Renewal]:
        """See `Backend.renew`."""
        if not leases:
            return []
        now = self._connection.now()
        with self._connection.use() as collections:
            return records.renew(collections, leases, now)

    def shorten_retention(self, task_ids: Sequence[str], *, retention_seconds: float) -> None:
        """See `Backend.shorten_retention`."""
        if task_ids:
            now = self._connection.now()
            with self._connection.use() as collections:
                records.shorten_retention(collections, task_ids, retention_seconds, now)

    def forget(self, task_ids: Sequence[str]) -> None:
        """See `Backend.forget`."""
        if task_ids:
            now = self._connection.now()
            with self._connection.use() as collections:
                deletion.forget(collections, task_ids, now)
            self._watcher.hint(task_ids)

    def list_tasks(self, states: AbstractSet[State], *, limit: int, cursor: str | None = None) -> TaskPage:
        """See `Backend.list_tasks`."""
        now = self._connection.now()
        with self._connection.use() as collections:
            return records.list_page(collections, states & self.capabilities.lists_tasks.states, limit, cursor, now)

    # Groups

    def open_groups(self, groups_: Sequence[Group]) -> None:
        """See `Backend.open_groups`."""
        for group in groups_:
            check_size("a continuation", group.continuation, LARGEST_VALUE_BYTES)
        if groups_:
            now = self._connection.now()
            with self._connection.write() as collections:
                groups.open_groups(collections, groups_, now)

    def complete(self, completions: Sequence[Completion]) -> Sequence[GroupProgress | None]:
        """See `Backend.complete`."""
        for completion in completions:
            check_size("a payload", completion.payload, LARGEST_VALUE_BYTES)
        if not completions:
            return []
        now = self._connection.now()
        with self._connection.use() as collections:
            return groups.complete(collections, completions, now)

    def read_groups(self, group_ids: Sequence[str]) -> Sequence[GroupRecord | None]:
        """See `Backend.read_groups`."""
        if not group_ids:
            return []
        now = self._connection.now()
        with self._connection.use() as collections:
            return groups.read_groups(collections, group_ids, now)

    def read_members(self, group_id: str) -> Sequence[bytes | None]:
        """See `Backend.read_members`. Empty for an unknown group."""
        now = self._connection.now()
        with self._connection.use() as collections:
            return groups.read_members(collections, group_id, now)

    # Bodies

    def store_bodies(self, bodies: Mapping[str, bytes]) -> None:
        """See `Backend.store_bodies`."""
        for body in bodies.values():
            check_size("a body", body, LARGEST_VALUE_BYTES)
        if bodies:
            with self._connection.use() as collections:
                records.store_bodies(collections, bodies)

    def load_bodies(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """See `Backend.load_bodies`."""
        with self._connection.use() as collections:
            return records.load_bodies(collections, keys)

    def drop_bodies(self, keys: Sequence[str]) -> None:
        """See `Backend.drop_bodies`."""
        with self._connection.use() as collections:
            records.drop_bodies(collections, keys)

    # Versioned values

    def read_values(self, keys: Sequence[str]) -> Sequence[VersionedValue | None]:
        """See `VersionedValues.read_values`."""
        if not keys:
            return []
        now = self._connection.now()
        with self._connection.use() as collections:
            return values.read_values(collections, keys, now)

    def write_values(self, writes: Sequence[ValueWrite]) -> Sequence[ValueOutcome]:
        """See `VersionedValues.write_values`."""
        check_value_sizes(writes, LARGEST_VALUE_BYTES)
        outcomes = values.write_values(self._connection, writes)
        written = [write.key for write, outcome in zip(writes, outcomes, strict=True) if outcome.written]
        self._value_watcher.hint(values.ids_of(written))
        return outcomes

    def list_values(self, prefix: str, *, limit: int, cursor: str | None = None) -> ValuePage:
        """See `VersionedValues.list_values`; in the order of the keys."""
        now = self._connection.now()
        with self._connection.use() as collections:
            return values.list_values(collections, prefix, limit, cursor, now)

    def wait_values(
        self, seen: Mapping[str, int], *, prefix: str | None = None, timeout_seconds: float
    ) -> Sequence[str]:
        """See `VersionedValues.wait_values`."""
        if not seen and prefix is None:
            return []

        def look() -> tuple[Sequence[str], float]:
            changes = changed_values(self, seen, prefix)
            return changes.keys, max(_SHORTEST_PAUSE_SECONDS, changes.ends_in_seconds)

        return self._value_watcher.wait(values.wanted(seen, prefix), look, timeout_seconds)

    # Maintenance

    def sweep(self) -> int:
        """See `Backend.sweep`."""
        now, deleted = self._connection.now(), 0
        with self._connection.use() as collections:
            values.sweep(collections, now)
            for _ in range(_SWEEPS):
                some = deletion.delete_expired(collections, now)
                deleted += some
                if some < CHUNK:
                    break
            self._orphans.delete(collections)
        return deleted

    def counts(self) -> Mapping[str, int]:
        """See `Backend.counts`."""
        now = self._connection.now()
        live = {"expires": {"$gt": micros(now)}}
        with self._connection.use() as collections:
            opened = list(collections.records.find({**live, "group": {"$exists": True}}, {"done": 1}))
            return {
                "tasks": collections.records.count_documents({**live, "state": {"$exists": True}}),
                "groups": len(opened),
                "members": sum(bitmap.count(document["done"]) for document in opened),
                "bodies": collections.bodies.count_documents({}),
                "values": values.count(collections, now),
            }

    def close(self) -> None:
        """See `Backend.close`. The next call connects again."""
        watchers = (self._watcher, self._value_watcher)
        for watcher in watchers:
            watcher.close()
        self._connection.close()
        for watcher in watchers:
            if watcher.join():
                self._connection.close()  # its thread may have connected again
