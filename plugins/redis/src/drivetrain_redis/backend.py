"""The backend of ``redis://``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from drivetrain.contract import (
    BackendCapabilities,
    Completion,
    Group,
    GroupProgress,
    GroupRecord,
    Outcome,
    Renewal,
    RunLease,
    State,
    TaskPage,
    TaskReach,
    TaskRecord,
    Transition,
    ValueOutcome,
    ValuePage,
    ValueWrite,
    VersionedValue,
)
from drivetrain_redis.admin import KeyScan, TaskIndex, TaskListing
from drivetrain_redis.codec import LARGEST_VALUE_BYTES
from drivetrain_redis.discovery import open_client
from drivetrain_redis.groups import Groups
from drivetrain_redis.keys import Keys
from drivetrain_redis.options import Options
from drivetrain_redis.records import Records
from drivetrain_redis.values import Values
from drivetrain_redis.waiting import Waiting

__all__ = ["RedisBackend"]

#: The states in which most tasks are for a moment only.
_NOT_INDEXED = frozenset({State.PENDING, State.RECEIVED, State.STARTED})


class RedisBackend:
    """A backend on Redis or Valkey; see `drivetrain.contract.Backend`.

    Leases, versioned values and retention are measured by the clock of the server, which all its clients share.

    Args:
        options: of its URL.
    """

    def __init__(self, options: Options) -> None:
        # On a cluster the index would be on another node than most tasks. A scan of all keys finds every task.
        reach = TaskReach.ALL if options.cluster else options.index
        self.capabilities = BackendCapabilities(
            durability=options.durability,
            notifies=True,
            largest_value_bytes=LARGEST_VALUE_BYTES,
            expiry_resolution_seconds=0.01,
            lists_tasks=reach,
            lists_newest_first=not options.cluster,
            store=options.store,
        )
        self._shown = options.shown
        self._client = open_client(options)
        self._keys = Keys(options.prefix)
        self._waiting = Waiting(options, self._client)
        self._groups = Groups(self._client, self._keys)
        indexed = frozenset() if options.cluster else reach.states - _NOT_INDEXED
        self._records = Records(self._client, self._keys, self._groups, self._waiting, indexed)
        self._scan = KeyScan(self._client, self._keys)
        self._values = Values(self._client, self._keys, self._waiting)
        self._index = None if options.cluster else TaskIndex(self._client, self._keys)
        self._listing = TaskListing(self._scan, self._index)

    def __repr__(self) -> str:
        return f"RedisBackend({self._shown})"

    def ping(self) -> None:
        """See `Backend.ping`."""
        self._client.run_on_masters("PING")

    def record(self, transitions: Sequence[Transition]) -> Sequence[Outcome]:
        """See `Backend.record`."""
        return self._records.record(transitions)

    def read(self, task_ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        """See `Backend.read`."""
        return self._records.read(task_ids)

    def wait(self, task_ids: Sequence[str], *, timeout_seconds: float) -> Mapping[str, TaskRecord | None]:
        """See `Backend.wait`."""
        return self._records.wait(task_ids, timeout_seconds=timeout_seconds)

    def renew(self, leases: Sequence[RunLease]) -> Sequence[Renewal]:
        """See `Backend.renew`."""
        return self._records.renew(leases)

    def shorten_retention(self, task_ids: Sequence[str], *, retention_seconds: float) -> None:
        """See `Backend.shorten_retention`."""
        self._records.shorten_retention(task_ids, retention_seconds=retention_seconds)

    def forget(self, task_ids: Sequence[str]) -> None:
        """See `Backend.forget`."""
        self._records.forget(task_ids)

    def list_tasks(self, states: AbstractSet[State], *, limit: int, cursor: str | None = None) -> TaskPage:
        """See `Backend.list_tasks`. A scan for unfinished tasks passes the keys of finished ones too."""
        return self._listing.page(states & self.capabilities.lists_tasks.states, limit, cursor)

    def open_groups(self, groups: Sequence[Group]) -> None:
        """See `Backend.open_groups`."""
        self._groups.open_groups(groups)

    def complete(self, completions: Sequence[Completion]) -> Sequence[GroupProgress | None]:
        """See `Backend.complete`."""
        return self._groups.complete(completions)

    def read_groups(self, group_ids: Sequence[str]) -> Sequence[GroupRecord | None]:
        """See `Backend.read_groups`."""
        return self._groups.read_groups(group_ids)

    def read_members(self, group_id: str) -> Sequence[bytes | None]:
        """See `Backend.read_members`. Empty if the group is unknown."""
        return self._groups.read_members(group_id)

    def store_bodies(self, bodies: Mapping[str, bytes]) -> None:
        """See `Backend.store_bodies`."""
        self._records.store_bodies(bodies)

    def load_bodies(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """See `Backend.load_bodies`."""
        return self._records.load_bodies(keys)

    def drop_bodies(self, keys: Sequence[str]) -> None:
        """See `Backend.drop_bodies`."""
        self._records.drop_bodies(keys)

    def read_values(self, keys: Sequence[str]) -> Sequence[VersionedValue | None]:
        """See `VersionedValues.read_values`."""
        return self._values.read_values(keys)

    def write_values(self, writes: Sequence[ValueWrite]) -> Sequence[ValueOutcome]:
        """See `VersionedValues.write_values`."""
        return self._values.write_values(writes)

    def list_values(self, prefix: str, *, limit: int, cursor: str | None = None) -> ValuePage:
        """See `VersionedValues.list_values`. In the order of the keys."""
        return self._values.list_values(prefix, limit=limit, cursor=cursor)

    def wait_values(
        self, seen: Mapping[str, int], *, prefix: str | None = None, timeout_seconds: float
    ) -> Sequence[str]:
        """See `VersionedValues.wait_values`. Over a subscription, like `wait`."""
        return self._values.wait_values(seen, prefix=prefix, timeout_seconds=timeout_seconds)

    def sweep(self) -> int:
        """See `Backend.sweep`. Only values and the index: Redis itself drops expired records."""
        self._values.sweep()
        if self._index is not None:
            self._index.sweep()
        return 0

    def counts(self) -> Mapping[str, int]:
        """See `Backend.counts`."""
        return {**self._scan.counts(), "values": self._values.count()}

    def close(self) -> None:
        """See `Backend.close`. The object may be used again afterwards."""
        self._waiting.close()
        self._client.close()
