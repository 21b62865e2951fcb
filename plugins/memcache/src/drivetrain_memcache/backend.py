"""The backend of ``memcache://``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    TooLarge,
    Transition,
    evolve,
)
from drivetrain_memcache import tasks
from drivetrain_memcache.bodies import Bodies
from drivetrain_memcache.catalogue import Catalogue
from drivetrain_memcache.groups import Groups
from drivetrain_memcache.key_counts import key_counts
from drivetrain_memcache.keys import Keys
from drivetrain_memcache.locks import Locks
from drivetrain_memcache.options import Options
from drivetrain_memcache.servers import Servers
from drivetrain_memcache.store import Store

__all__ = ["MemcacheBackend"]


class MemcacheBackend:
    """A backend in Memcached; see `drivetrain.contract.Backend`. Thread-safe, and fit for forks.

    Leases, locks and expiry are counted by the machines' clocks, which must agree.

    Args:
        options: of its URL.
        clock: tells when leases and locks end and records expire.
    """

    def __init__(self, options: Options, clock: Clock) -> None:
        self.capabilities = BackendCapabilities(
            durability=Durability.CACHE,
            notifies=False,
            largest_value_bytes=options.largest_value_bytes,
            expiry_resolution_seconds=0.0,
            lists_tasks=False,
        )
        self._options = options
        self._clock = clock
        self._keys = Keys(options.prefix)
        self._servers = Servers(options)
        self._store = Store(self._servers, self._keys, options.item_bytes)
        self._catalogue = Catalogue(self._store, self._keys, clock)
        self._groups = Groups(self._store, self._catalogue, self._keys, clock)
        self._bodies = Bodies(self._store, self._keys, clock)
        self._locks = Locks(self._store, self._keys, clock)

    def ping(self) -> None:
        """See `Backend.ping`."""
        self._servers.ping()

    # Tasks

    def record(self, transitions: Sequence[Transition]) -> Sequence[Outcome]:
        """See `Backend.record`."""
        for wish in transitions:
            self._check("a payload", wish.payload)
            self._check("a downstream", wish.downstream)
        return [outcome for piece in tasks.segments(transitions) for outcome in self._record(piece)]

    def _record(self, transitions: Sequence[Transition]) -> list[Outcome]:
        by_task: dict[str, list[Transition]] = {}
        for wish in transitions:
            by_task.setdefault(wish.task_id, []).append(wish)
        told = self._catalogue.change({task_id: tasks.record(wishes) for task_id, wishes in by_task.items()})
        answers = {task_id: iter(outcomes) for task_id, outcomes in told.items()}
        outcomes = [next(answers[wish.task_id]) for wish in transitions]
        return self._complete_of(transitions, outcomes)

    def _complete_of(self, transitions: Sequence[Transition], outcomes: list[Outcome]) -> list[Outcome]:
        ended = [
            (
                position,
                Completion(member=wish.member, payload=wish.payload or b"", failed=wish.state is not State.SUCCESS),
            )
            for position, wish in enumerate(transitions)
            if outcomes[position].applied and wish.member is not None and wish.state.terminal
        ]
        for (position, _), progress in zip(ended, self.complete([each for _, each in ended]), strict=True):
            outcomes[position] = evolve(outcomes[position], group=progress)
        return outcomes

    def read(self, task_ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        """See `Backend.read`."""
        kept = self._catalogue.read(task_ids)
        return [kept[task_id].record if task_id in kept else None for task_id in task_ids]

    def wait(self, task_ids: Sequence[str], *, timeout_seconds: float) -> Mapping[str, TaskRecord | None]:
        """Refuse: Memcached tells nobody anything, so `capabilities.notifies` is not declared.

        Raises:
            NotSupported: always, unless there is nothing to wait for.
        """
        del timeout_seconds
        if task_ids:
            raise NotSupported("memcache:// does not push; poll with read")
        return {}

    def renew(self, leases: Sequence[RunLease]) -> Sequence[Renewal]:
        """See `Backend.renew`."""
        by_task: dict[str, list[RunLease]] = {}
        for lease in leases:
            by_task.setdefault(lease.task_id, []).append(lease)
        told = self._catalogue.change({task_id: tasks.renew(some) for task_id, some in by_task.items()})
        answers = {task_id: iter(renewals) for task_id, renewals in told.items()}
        return [next(answers[lease.task_id]) for lease in leases]

    def shorten_retention(self, task_ids: Sequence[str], *, retention_seconds: float) -> None:
        """See `Backend.shorten_retention`."""
        self._catalogue.change({task_id: tasks.shorten_retention(retention_seconds) for task_id in task_ids})

    def forget(self, task_ids: Sequence[str]) -> None:
        """See `Backend.forget`."""
        self._catalogue.change(dict.fromkeys(task_ids, tasks.forget))

    def unfinished(self, *, limit: int, cursor: str | None = None) -> TaskPage:
        """See `Backend.unfinished`; not declared: Memcached cannot be asked for it, so the list is empty."""
        del limit, cursor
        return TaskPage()

    # Groups

    def open_groups(self, groups: Sequence[Group]) -> None:
        """See `Backend.open_groups`."""
        for group in groups:
            self._check("a continuation", group.continuation)
        self._groups.open(groups)

    def complete(self, completions: Sequence[Completion]) -> Sequence[GroupProgress | None]:
        """See `Backend.complete`."""
        for completion in completions:
            self._check("a payload", completion.payload)
        return self._groups.complete(completions)

    def read_groups(self, group_ids: Sequence[str]) -> Sequence[GroupRecord | None]:
        """See `Backend.read_groups`."""
        return self._groups.read(group_ids)

    def read_members(self, group_id: str) -> Sequence[bytes | None]:
        """See `Backend.read_members`. Empty where the group is not known."""
        return self._groups.read_members(group_id)

    # Bodies

    def store_bodies(self, bodies: Mapping[str, bytes]) -> None:
        """See `Backend.store_bodies`."""
        for body in bodies.values():
            self._check("a body", body)
        self._bodies.store(bodies)

    def load_bodies(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """See `Backend.load_bodies`."""
        return self._bodies.load(keys)

    def drop_bodies(self, keys: Sequence[str]) -> None:
        """See `Backend.drop_bodies`."""
        self._bodies.drop(keys)

    # Locks

    def acquire_lock(self, name: str, *, seconds: float) -> int | None:
        """See `Locks.acquire_lock`."""
        return self._locks.acquire(name, seconds)

    def renew_lock(self, name: str, token: int, *, seconds: float) -> bool:
        """See `Locks.renew_lock`."""
        return self._locks.renew(name, token, seconds)

    def release_lock(self, name: str, token: int) -> bool:
        """See `Locks.release_lock`."""
        return self._locks.release(name, token)

    # Upkeep

    def sweep(self) -> int:
        """See `Backend.sweep`; nothing to do: Memcached drops what has ended by itself."""
        return 0

    def counts(self) -> Mapping[str, int]:
        """See `Backend.counts`. Goes over all keys of the servers, those of others included.

        Raises:
            ServiceRefused: a server does not list its keys (it was started with -X).
        """
        return key_counts(self._servers, self._store, self._keys, self._clock)

    def close(self) -> None:
        """See `Backend.close`. The object may be used again afterwards."""
        self._servers.close()

    def _check(self, what: str, value: bytes | None) -> None:
        if value is not None and len(value) > self._options.largest_value_bytes:
            raise TooLarge(what, len(value), self._options.largest_value_bytes)
