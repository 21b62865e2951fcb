"""The backend of ``memcache://``: `drivetrain.contract.Backend`, by the parts that do the work."""

from __future__ import annotations

from collections import Counter
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
    NotSupported,
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
    check_size,
    check_transition_sizes,
    record_and_complete,
)
from drivetrain_memcache import records
from drivetrain_memcache.codec import StoredValue, live, load_entry
from drivetrain_memcache.connection import Servers
from drivetrain_memcache.group_completion import Shard, shard_sizes
from drivetrain_memcache.groups import Groups
from drivetrain_memcache.keys import Keys, Kind
from drivetrain_memcache.optimistic_store import OptimisticStore
from drivetrain_memcache.options import Options
from drivetrain_memcache.records import Bodies
from drivetrain_memcache.value_store import ValueStore
from drivetrain_memcache.values import Values

__all__ = ["MemcacheBackend"]


class MemcacheBackend:
    """A backend in Memcached; see `drivetrain.contract.Backend`. Thread-safe; a forked process may use it.

    Leases and expiry count by the clocks of the machines, which must agree.

    Args:
        options: the options of its URL.
        clock: decides when leases end, and records and values expire.
    """

    def __init__(self, options: Options, clock: Clock) -> None:
        self.capabilities = BackendCapabilities(
            durability=Durability.CACHE,
            notifies=False,
            largest_value_bytes=options.largest_value_bytes,
            expiry_resolution_seconds=0.0,
        )
        self._largest_bytes = options.largest_value_bytes
        self._clock = clock
        self._keys = Keys(options.prefix)
        self._servers = Servers(options)
        self._store = ValueStore(self._servers, self._keys, options.item_bytes)
        self._entries = OptimisticStore(self._store, self._keys, clock)
        self._groups = Groups(self._store, self._entries, self._keys, clock)
        self._bodies = Bodies(self._store, self._keys, clock)
        self._values = Values(self._store, self._keys, clock, options.largest_value_bytes)

    def ping(self) -> None:
        """See `Backend.ping`."""
        self._servers.ping()

    # Tasks

    def record(self, transitions: Sequence[Transition]) -> Sequence[Outcome]:
        """See `Backend.record`."""
        check_transition_sizes(transitions, self._largest_bytes)
        return record_and_complete(transitions, self._record, self._groups.complete)

    def _record(self, transitions: Sequence[Transition]) -> list[Outcome]:
        by_task: dict[str, list[Transition]] = {}
        for transition in transitions:
            by_task.setdefault(transition.task_id, []).append(transition)
        changed = self._entries.change({task_id: records.record(some) for task_id, some in by_task.items()})
        outcomes = {task_id: iter(some) for task_id, some in changed.items()}
        return [next(outcomes[transition.task_id]) for transition in transitions]

    def read(self, task_ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        """See `Backend.read`."""
        entries = self._entries.read(task_ids)
        return [entries[task_id].record if task_id in entries else None for task_id in task_ids]

    def wait(self, task_ids: Sequence[str], *, timeout_seconds: float) -> Mapping[str, TaskRecord | None]:
        """Refuse: Memcached has no notifications, so the backend does not declare `capabilities.notifies`.

        Raises:
            NotSupported: always, unless ``task_ids`` is empty.
        """
        del timeout_seconds
        if task_ids:
            raise NotSupported("memcache:// has no notifications; poll with read")
        return {}

    def renew(self, leases: Sequence[RunLease]) -> Sequence[Renewal]:
        """See `Backend.renew`."""
        by_task: dict[str, list[RunLease]] = {}
        for lease in leases:
            by_task.setdefault(lease.task_id, []).append(lease)
        changed = self._entries.change({task_id: records.renew(some) for task_id, some in by_task.items()})
        renewals = {task_id: iter(some) for task_id, some in changed.items()}
        return [next(renewals[lease.task_id]) for lease in leases]

    def shorten_retention(self, task_ids: Sequence[str], *, retention_seconds: float) -> None:
        """See `Backend.shorten_retention`."""
        self._entries.change(dict.fromkeys(task_ids, records.shorten_retention(retention_seconds)))

    def forget(self, task_ids: Sequence[str]) -> None:
        """See `Backend.forget`."""
        self._entries.change(dict.fromkeys(task_ids, records.forget))

    def list_tasks(self, states: AbstractSet[State], *, limit: int, cursor: str | None = None) -> TaskPage:
        """See `Backend.list_tasks`; an empty page, because Memcached has no index and this is not declared."""
        del states, limit, cursor
        return TaskPage()

    # Groups

    def open_groups(self, groups: Sequence[Group]) -> None:
        """See `Backend.open_groups`."""
        for group in groups:
            check_size("a continuation", group.continuation, self._largest_bytes)
        self._groups.open(groups)

    def complete(self, completions: Sequence[Completion]) -> Sequence[GroupProgress | None]:
        """See `Backend.complete`."""
        for completion in completions:
            check_size("a payload", completion.payload, self._largest_bytes)
        return self._groups.complete(completions)

    def read_groups(self, group_ids: Sequence[str]) -> Sequence[GroupRecord | None]:
        """See `Backend.read_groups`."""
        return self._groups.read(group_ids)

    def read_members(self, group_id: str) -> Sequence[bytes | None]:
        """See `Backend.read_members`. Empty for an unknown group."""
        return self._groups.read_members(group_id)

    # Bodies

    def store_bodies(self, bodies: Mapping[str, bytes]) -> None:
        """See `Backend.store_bodies`."""
        for body in bodies.values():
            check_size("a body", body, self._largest_bytes)
        self._bodies.store(bodies)

    def load_bodies(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """See `Backend.load_bodies`."""
        return self._bodies.load(keys)

    def drop_bodies(self, keys: Sequence[str]) -> None:
        """See `Backend.drop_bodies`."""
        self._bodies.drop(keys)

    # Versioned values

    def read_values(self, keys: Sequence[str]) -> Sequence[VersionedValue | None]:
        """See `VersionedValues.read_values`."""
        return self._values.read_values(keys)

    def write_values(self, writes: Sequence[ValueWrite]) -> Sequence[ValueOutcome]:
        """See `VersionedValues.write_values`.

        Raises:
            ServiceRefused: the index has no room for a new key; some of the writes may have taken effect.
        """
        return self._values.write_values(writes)

    def list_values(self, prefix: str, *, limit: int, cursor: str | None = None) -> ValuePage:
        """See `VersionedValues.list_values`. A value whose index was dropped by the cache may be missing."""
        return self._values.list_values(prefix, limit, cursor)

    def wait_values(
        self, seen: Mapping[str, int], *, prefix: str | None = None, timeout_seconds: float
    ) -> Sequence[str]:
        """Refuse, like `wait`.

        Raises:
            NotSupported: always, unless there is nothing to wait for.
        """
        del timeout_seconds
        if seen or prefix is not None:
            raise NotSupported("memcache:// has no notifications; poll with read_values")
        return []

    # Maintenance

    def sweep(self) -> int:
        """See `Backend.sweep`; only the index of values, because Memcached itself drops expired items."""
        self._values.sweep()
        return 0

    def counts(self) -> Mapping[str, int]:
        """See `Backend.counts`. It walks over all keys of the servers, those of other applications included.

        Raises:
            ServiceRefused: a server does not list its keys (it runs with -X).
        """
        total = Counter({"tasks": 0, "groups": 0, "members": 0, "bodies": 0, "values": 0})
        for server in self._servers.names:
            total.update(self._key_counts(server))
        return dict(total)

    def _key_counts(self, server: str) -> dict[str, int]:
        names = self._servers.list_keys(server, self._keys.beginning, self._clock)
        of_kind = {kind: [name for name in names if self._keys.is_kind(kind, name)] for kind in Kind}
        found = self._store.beginnings(server, [*of_kind[Kind.ENTRY], *of_kind[Kind.VALUE]])
        now = self._clock.now()
        stored = [live(load_entry(found[name]), now) for name in of_kind[Kind.ENTRY] if found.get(name)]
        entries = [entry for entry in stored if entry is not None]
        groups = [entry.group for entry in entries if entry.group is not None]
        shards = [
            self._keys.numbered(Kind.SHARD, "", header.tag, number).name
            for header in groups
            for number in range(len(shard_sizes(header.size)))
        ]
        values = [StoredValue.load(found[name]) for name in of_kind[Kind.VALUE] if found.get(name)]
        return {
            "tasks": sum(entry.record is not None for entry in entries),
            "groups": len(groups),
            "members": sum(Shard.load(bits).done for bits in self._store.beginnings(server, shards).values()),
            "bodies": len(of_kind[Kind.BODY]),
            "values": sum(value.current(now) is not None for value in values),
        }

    def close(self) -> None:
        """See `Backend.close`. The next call connects again."""
        self._servers.close()
