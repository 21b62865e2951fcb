"""The backend of ``memory://``."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import count, islice

from attrs import define, field

from drivetrain.contract import (
    BackendCapabilities,
    Clock,
    Completion,
    Durability,
    Group,
    GroupProgress,
    GroupRecord,
    Member,
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
    WaitLoop,
    apply,
    group_record,
    is_expired,
    renew_record,
    shorten_record,
    wait_for_values,
)
from drivetrain.drivers.memory.indexed_heap import IndexedHeap
from drivetrain.drivers.memory.stores import NamedStores
from drivetrain.drivers.memory.values import ValueTable

__all__ = ["MemoryBackend"]

#: How many expired records, and how many expired values, one `MemoryBackend.sweep` drops at most.
_SWEEP_LIMIT = 10_000

#: How many numbers of tasks one page of `MemoryBackend.list_tasks` passes at most.
_LONGEST_WALK = 10_000


@define(eq=False)
class _OpenGroup:
    """A group, and the payloads of its complete members by index."""

    group: Group
    failed: bool = False
    members: dict[int, bytes] = field(factory=dict)

    def complete(self, index: int, payload: bytes, *, failed: bool) -> GroupProgress:
        if index not in self.members and 0 <= index < self.group.size:
            self.members[index] = payload
            self.failed = self.failed or (failed and not self.group.collect)
        return self.progress()

    def progress(self) -> GroupProgress:
        return GroupProgress(size=self.group.size, done=len(self.members), failed=self.failed)


def _expiries() -> IndexedHeap[tuple[float, str], str]:
    return IndexedHeap()


@define(eq=False)
class _Store:
    """What backends of one name share. Used with `condition` held."""

    condition: threading.Condition = field(factory=threading.Condition)
    tasks: dict[str, TaskRecord] = field(factory=dict)
    #: The ids of records that are not terminal.
    unfinished: dict[str, None] = field(factory=dict)
    #: Task ids by their number, in the order of the first record of each; and the number of each.
    numbered: dict[int, str] = field(factory=dict)
    numbers: dict[str, int] = field(factory=dict)
    next_number: Iterator[int] = field(factory=count)
    #: Task ids, by (time of expiry, task id).
    expiries: IndexedHeap[tuple[float, str], str] = field(factory=_expiries)
    groups: dict[str, _OpenGroup] = field(factory=dict)
    bodies: dict[str, bytes] = field(factory=dict)
    #: Their ends are times of the monotonic clock: to set the machine's clock ends no value and prolongs none.
    values: ValueTable = field(factory=ValueTable)

    def find(self, task_id: str, now: float) -> TaskRecord | None:
        """The record of a task, unless it has expired."""
        record = self.tasks.get(task_id)
        if record is not None and is_expired(record, now):
            self.drop(task_id)
            return None
        return record

    def find_group(self, group_id: str, now: float) -> _OpenGroup | None:
        """A group, unless the record of the same id has expired."""
        self.find(group_id, now)
        return self.groups.get(group_id)

    def put(self, record: TaskRecord) -> None:
        """Write a record."""
        self._drop_record(record.task_id)
        self.tasks[record.task_id] = record
        if record.task_id not in self.numbers:
            number = self.numbers[record.task_id] = next(self.next_number)
            self.numbered[number] = record.task_id
        if not record.state.terminal:
            self.unfinished[record.task_id] = None
        if record.expires_at is not None:
            self.expiries.put((record.expires_at, record.task_id), record.task_id)

    def drop(self, task_id: str) -> None:
        """Drop a record, and the group of the same id."""
        self._drop_record(task_id)
        self.groups.pop(task_id, None)
        number = self.numbers.pop(task_id, None)
        if number is not None:
            del self.numbered[number]

    def _drop_record(self, task_id: str) -> None:
        record = self.tasks.pop(task_id, None)
        self.unfinished.pop(task_id, None)
        if record is not None and record.expires_at is not None:
            self.expiries.take((record.expires_at, task_id))

    def page(self, states: AbstractSet[State], limit: int, below: int | None, now: float) -> TaskPage:
        """The records with a number below ``below``, the largest first; the cursor is the last number that it passed.

        Args:
            states: their states.
            limit: how many at most.
            below: None: from the largest number.
            now: Unix seconds.
        """
        oldest = next(iter(self.numbered), 0)
        newest = next(reversed(self.numbered), -1)
        number = newest + 1 if below is None else min(below, newest + 1)
        last = max(oldest, number - _LONGEST_WALK)
        records: list[TaskRecord] = []
        while number > last and len(records) < limit:
            number -= 1
            task_id = self.numbered.get(number)
            record = None if task_id is None else self.find(task_id, now)
            if record is not None and record.state in states:
                records.append(record)
        return TaskPage(records=records, cursor=str(number) if number > oldest else None)

    def drop_expired(self, now: float, limit: int | None) -> int:
        """Drop expired records, at most ``limit``; how many it dropped."""
        dropped = 0
        for task_id in islice(self.expiries.pop_until(now), limit):
            self.drop(task_id)
            dropped += 1
        return dropped


_stores = NamedStores(_Store)


class MemoryBackend:
    """A backend in this process; see `drivetrain.contract.Backend`.

    Args:
        name: backends of the same name share their records; empty: this one shares none.
        clock: the clock by which leases end, and records and values expire.
    """

    capabilities: BackendCapabilities = BackendCapabilities(
        durability=Durability.NONE,
        shared=False,
        notifies=True,
        expiry_resolution_seconds=0.0,
        lists_tasks=TaskReach.ALL,
        lists_newest_first=True,
    )

    def __init__(self, name: str, clock: Clock) -> None:
        self._store = _stores.get(name)
        self._clock = clock
        self._waits = WaitLoop(clock)

    def ping(self) -> None:
        """See `Backend.ping`."""

    def record(self, transitions: Sequence[Transition]) -> Sequence[Outcome]:
        """See `Backend.record`."""
        with self._store.condition:
            now = self._clock.now()
            outcomes = [self._record(transition, now) for transition in transitions]
            if any(transition.state.terminal for transition in transitions):
                self._store.condition.notify_all()
            return outcomes

    def _record(self, transition: Transition, now: float) -> Outcome:
        before = self._store.find(transition.task_id, now)
        after = apply(before, transition, now)
        if after is None:
            return Outcome(applied=False, before=before)
        self._store.put(after)
        return Outcome(applied=True, before=before, group=self._complete_of(transition, now))

    def _complete_of(self, transition: Transition, now: float) -> GroupProgress | None:
        if transition.member is None or not transition.state.terminal:
            return None
        return self._complete(transition.member, transition.payload or b"", transition.state is not State.SUCCESS, now)

    def _complete(self, member: Member, payload: bytes, failed: bool, now: float) -> GroupProgress | None:
        group = self._store.find_group(member.group_id, now)
        return None if group is None else group.complete(member.index, payload, failed=failed)

    def read(self, task_ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        """See `Backend.read`."""
        with self._store.condition:
            now = self._clock.now()
            return [self._store.find(task_id, now) for task_id in task_ids]

    def wait(self, task_ids: Sequence[str], *, timeout_seconds: float) -> Mapping[str, TaskRecord | None]:
        """See `Backend.wait`."""
        if not task_ids:
            return {}
        with self._store.condition:
            return self._waits.run(lambda: self._ended(task_ids), self._pause, timeout_seconds=timeout_seconds)

    def _pause(self, seconds: float) -> None:
        self._clock.wait(self._store.condition, seconds)

    def _ended(self, task_ids: Sequence[str]) -> dict[str, TaskRecord | None]:
        """The tasks that are terminal or gone, with their records."""
        now = self._clock.now()
        unfinished, find = self._store.unfinished, self._store.find
        return {task_id: find(task_id, now) for task_id in task_ids if task_id not in unfinished}

    def renew(self, leases: Sequence[RunLease]) -> Sequence[Renewal]:
        """See `Backend.renew`."""
        with self._store.condition:
            now = self._clock.now()
            return [self._renew(lease, now) for lease in leases]

    def _renew(self, lease: RunLease, now: float) -> Renewal:
        renewal, renewed = renew_record(self._store.find(lease.task_id, now), lease, now)
        if renewed is not None:
            self._store.put(renewed)
        return renewal

    def shorten_retention(self, task_ids: Sequence[str], *, retention_seconds: float) -> None:
        """See `Backend.shorten_retention`."""
        with self._store.condition:
            now = self._clock.now()
            for task_id in task_ids:
                self._shorten(task_id, now, now + retention_seconds)

    def _shorten(self, task_id: str, now: float, expires_at: float) -> None:
        shortened = shorten_record(self._store.find(task_id, now), expires_at)
        if shortened is not None:
            self._store.put(shortened)

    def forget(self, task_ids: Sequence[str]) -> None:
        """See `Backend.forget`."""
        with self._store.condition:
            for task_id in task_ids:
                self._store.drop(task_id)
            self._store.condition.notify_all()

    def list_tasks(self, states: AbstractSet[State], *, limit: int, cursor: str | None = None) -> TaskPage:
        """See `Backend.list_tasks`; in every state newest first, by the first record."""
        with self._store.condition:
            below = None if cursor is None else int(cursor)
            return self._store.page(states, limit, below, self._clock.now())

    def open_groups(self, groups: Sequence[Group]) -> None:
        """See `Backend.open_groups`."""
        with self._store.condition:
            now = self._clock.now()
            for group in groups:
                if self._store.find_group(group.group_id, now) is None:
                    self._store.groups[group.group_id] = _OpenGroup(group)

    def complete(self, completions: Sequence[Completion]) -> Sequence[GroupProgress | None]:
        """See `Backend.complete`."""
        with self._store.condition:
            now = self._clock.now()
            return [self._complete(done.member, done.payload, done.failed, now) for done in completions]

    def read_groups(self, group_ids: Sequence[str]) -> Sequence[GroupRecord | None]:
        """See `Backend.read_groups`."""
        with self._store.condition:
            now = self._clock.now()
            found = [self._store.find_group(group_id, now) for group_id in group_ids]
            return [None if group is None else group_record(group.group, group.progress()) for group in found]

    def read_members(self, group_id: str) -> Sequence[bytes | None]:
        """See `Backend.read_members`. Empty for an unknown group."""
        with self._store.condition:
            found = self._store.find_group(group_id, self._clock.now())
            return [] if found is None else [found.members.get(index) for index in range(found.group.size)]

    def store_bodies(self, bodies: Mapping[str, bytes]) -> None:
        """See `Backend.store_bodies`."""
        with self._store.condition:
            self._store.bodies.update(bodies)

    def load_bodies(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """See `Backend.load_bodies`."""
        with self._store.condition:
            return [self._store.bodies.get(key) for key in keys]

    def drop_bodies(self, keys: Sequence[str]) -> None:
        """See `Backend.drop_bodies`."""
        with self._store.condition:
            for key in keys:
                self._store.bodies.pop(key, None)

    def read_values(self, keys: Sequence[str]) -> Sequence[VersionedValue | None]:
        """See `Backend.read_values`."""
        with self._store.condition:
            now = self._clock.monotonic()
            return [self._store.values.read(key, now) for key in keys]

    def write_values(self, writes: Sequence[ValueWrite]) -> Sequence[ValueOutcome]:
        """See `Backend.write_values`."""
        with self._store.condition:
            now = self._clock.monotonic()
            outcomes = [self._store.values.write(write, now) for write in writes]
            if any(outcome.written for outcome in outcomes):
                self._store.condition.notify_all()
            return outcomes

    def list_values(self, prefix: str, *, limit: int, cursor: str | None = None) -> ValuePage:
        """See `Backend.list_values`; by key."""
        with self._store.condition:
            return self._store.values.page(prefix, limit, cursor, self._clock.monotonic())

    def wait_values(
        self, seen: Mapping[str, int], *, prefix: str | None = None, timeout_seconds: float
    ) -> Sequence[str]:
        """See `Backend.wait_values`."""
        with self._store.condition:
            return wait_for_values(self._waits, self, self._pause, seen, prefix, timeout_seconds=timeout_seconds)

    def sweep(self) -> int:
        """See `Backend.sweep`."""
        with self._store.condition:
            self._store.values.drop_expired(self._clock.monotonic(), _SWEEP_LIMIT)
            return self._store.drop_expired(self._clock.now(), _SWEEP_LIMIT)

    def counts(self) -> Mapping[str, int]:
        """See `Backend.counts`."""
        with self._store.condition:
            self._store.values.drop_expired(self._clock.monotonic())
            self._store.drop_expired(self._clock.now(), None)
            return {
                "tasks": len(self._store.tasks),
                "groups": len(self._store.groups),
                "members": sum(len(group.members) for group in self._store.groups.values()),
                "bodies": len(self._store.bodies),
                "values": len(self._store.values),
            }

    def close(self) -> None:
        """See `Backend.close`. The object may be used again afterwards."""
        with self._store.condition:
            self._waits.close()
            self._store.condition.notify_all()
