"""The contract as a model without a thought for speed: plain dicts around `drivetrain.contract.apply`.

It counts leases and expiry by this machine's clock, the driver by its own. Checks therefore use times that
are over at once or not for long. They compare the times that a driver reports with a tolerance.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from drivetrain.contract import (
    Completion,
    Group,
    GroupProgress,
    GroupRecord,
    Outcome,
    Renewal,
    RunLease,
    State,
    TaskRecord,
    Transition,
    apply,
    evolve,
)

__all__ = ["Model", "assert_outcomes", "assert_records"]

#: How far the driver's clock may be from ours, in seconds, and the run of an example included.
_TOLERANCE = 100.0


class Model:
    """A backend as simple as can be."""

    def __init__(self) -> None:
        self.tasks: dict[str, TaskRecord] = {}
        #: Each group, with the payload and the failure of its complete members by index.
        self.groups: dict[str, tuple[Group, dict[int, tuple[bytes, bool]]]] = {}
        self.bodies: dict[str, bytes] = {}

    def expire(self) -> None:
        """Drop what is over."""
        now = time.time()
        for task_id, found in list(self.tasks.items()):
            if found.expires_at is not None and found.expires_at <= now:
                self.forget(task_id)

    def forget(self, task_id: str) -> None:
        """Drop a record, and the group of its id."""
        self.tasks.pop(task_id, None)
        self.groups.pop(task_id, None)

    def record(self, transition: Transition) -> Outcome:
        """See `Backend.record`."""
        self.expire()
        before = self.tasks.get(transition.task_id)
        after = apply(before, transition, time.time())
        if after is None:
            return Outcome(applied=False, before=before)
        self.tasks[transition.task_id] = after
        if transition.member is None or not transition.state.terminal:
            return Outcome(applied=True, before=before)
        failed = transition.state is not State.SUCCESS
        progress = self.complete(Completion(member=transition.member, payload=transition.payload or b"", failed=failed))
        return Outcome(applied=True, before=before, group=progress)

    def complete(self, completion: Completion) -> GroupProgress | None:
        """See `Backend.complete`."""
        self.expire()
        member = completion.member
        if member.group_id not in self.groups:
            return None
        group, done = self.groups[member.group_id]
        done.setdefault(member.index, (completion.payload, completion.failed))
        return GroupProgress(size=group.size, done=len(done), failed=self._failed(member.group_id))

    def _failed(self, group_id: str) -> bool:
        group, done = self.groups[group_id]
        return not group.collect and any(failed for _, failed in done.values())

    def open_group(self, group: Group) -> None:
        """See `Backend.open_groups`."""
        self.expire()
        self.groups.setdefault(group.group_id, (group, {}))

    def read_group(self, group_id: str) -> GroupRecord | None:
        """See `Backend.read_groups`."""
        self.expire()
        if group_id not in self.groups:
            return None
        group, done = self.groups[group_id]
        return GroupRecord(
            group_id=group_id,
            size=group.size,
            collect=group.collect,
            continuation=group.continuation,
            done=len(done),
            failed=self._failed(group_id),
        )

    def read_members(self, group_id: str) -> list[bytes | None]:
        """See `Backend.read_members`."""
        self.expire()
        if group_id not in self.groups:
            return []
        group, done = self.groups[group_id]
        return [done[index][0] if index in done else None for index in range(group.size)]

    def read(self, task_ids: Sequence[str]) -> list[TaskRecord | None]:
        """See `Backend.read`."""
        self.expire()
        return [self.tasks.get(task_id) for task_id in task_ids]

    def renew(self, lease: RunLease) -> Renewal:
        """See `Backend.renew`."""
        self.expire()
        found = self.tasks.get(lease.task_id)
        if found is None:
            return Renewal(held=False, state=None)
        held = found.state is State.STARTED and found.run == lease.run
        if held:
            self.tasks[lease.task_id] = evolve(found, leased_until=time.time() + lease.seconds)
        return Renewal(held=held, state=found.state)

    def shorten_retention(self, task_id: str, retention_seconds: float) -> None:
        """See `Backend.shorten_retention`."""
        self.expire()
        found, expires_at = self.tasks.get(task_id), time.time() + retention_seconds
        if found is None or not found.state.terminal:
            return
        if found.expires_at is None or expires_at < found.expires_at:
            self.tasks[task_id] = evolve(found, expires_at=expires_at)

    def listed(self, states: AbstractSet[State]) -> set[str]:
        """The ids of tasks in these states."""
        self.expire()
        return {task_id for task_id, found in self.tasks.items() if found.state in states}

    def counts(self) -> dict[str, int]:
        """The number of stored entries of each kind."""
        self.expire()
        members = sum(len(done) for _, done in self.groups.values())
        entries = {"tasks": len(self.tasks), "groups": len(self.groups), "bodies": len(self.bodies)}
        return {**entries, "members": members, "values": 0}


def assert_outcomes(reported: Sequence[Outcome], expected: Sequence[Outcome]) -> None:
    """Assert that a driver reports the outcomes of the model."""
    assert len(reported) == len(expected), f"{len(reported)} outcomes for {len(expected)} transitions"
    for one, other in zip(reported, expected, strict=True):
        assert one.applied is other.applied, f"reported {one}, expected {other}"
        assert_records([one.before], [other.before])
        assert one.group == other.group, f"reported {one.group}, expected {other.group}"


def assert_records(reported: Sequence[TaskRecord | None], expected: Sequence[TaskRecord | None]) -> None:
    """Assert that a driver reports the records of the model. Times may differ a little."""
    assert len(reported) == len(expected), f"{len(reported)} records for {len(expected)} ids"
    for one, other in zip(reported, expected, strict=True):
        assert _alike(one, other), f"reported {one}\nexpected {other}"


def _alike(one: TaskRecord | None, other: TaskRecord | None) -> bool:
    if one is None or other is None:
        return one is other
    near = _near(one.leased_until, other.leased_until) and _near(one.expires_at, other.expires_at)
    return near and _timeless(one) == _timeless(other)


def _near(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) < _TOLERANCE


def _timeless(found: TaskRecord) -> TaskRecord:
    return evolve(found, leased_until=None, expires_at=None, history=dict(found.history))
