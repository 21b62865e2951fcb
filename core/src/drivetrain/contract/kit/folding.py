"""What transitions, renewals and completions make of records and groups that were read before. Pure.

They are for a driver that reads, decides in Python and writes: in a transaction, behind a lock, by compare-and-set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import define, frozen

from drivetrain.contract.backend import Group, GroupRecord, Renewal, RunLease
from drivetrain.contract.records import evolve
from drivetrain.contract.states import GroupProgress, Outcome, State, TaskRecord, Transition, apply

__all__ = [
    "FoldedBatch",
    "GroupTally",
    "fold_transitions",
    "group_record",
    "is_expired",
    "renew_record",
    "shorten_record",
]


def is_expired(record: TaskRecord, now: float) -> bool:
    """Whether a record's time has come: it, and the group of its id, do not exist any more.

    Args:
        record: the record as it is stored.
        now: Unix seconds by the backend's clock.
    """
    return record.expires_at is not None and record.expires_at <= now


@frozen
class FoldedBatch:
    """What a batch of transitions makes of the records that were read.

    Attributes:
        outcomes: one for each transition, in order, without progress of groups.
        changed: the records to write, by task id.
        expired: the ids whose record has expired before or within the batch. The driver drops them, and the groups of
            the same ids, before it writes.
    """

    outcomes: Sequence[Outcome]
    changed: Mapping[str, TaskRecord]
    expired: frozenset[str]


def fold_transitions(transitions: Sequence[Transition], records: Mapping[str, TaskRecord], now: float) -> FoldedBatch:
    """Apply a batch to records: each transition sees what the earlier ones did.

    A record that a transition gave a retention of 0 has expired for the next one. Members of groups are not looked at:
    give this function the parts of `split_at_groups`, or call it within `record_and_complete`.

    Args:
        transitions: the batch.
        records: the stored records of its tasks, by task id; an unknown task is missing.
        now: Unix seconds by the backend's clock.
    """
    outcomes: list[Outcome] = []
    current = dict(records)
    changed: dict[str, TaskRecord] = {}
    expired: set[str] = set()
    for transition in transitions:
        task_id = transition.task_id
        before = current.get(task_id)
        if before is not None and is_expired(before, now):
            expired.add(task_id)
            changed.pop(task_id, None)
            before = None
        after = apply(before, transition, now)
        outcomes.append(Outcome(applied=after is not None, before=before))
        if after is not None:
            current[task_id] = changed[task_id] = after
    return FoldedBatch(outcomes, changed, frozenset(expired))


def renew_record(record: TaskRecord | None, lease: RunLease, now: float) -> tuple[Renewal, TaskRecord | None]:
    """Renew the lease of a run.

    Args:
        record: the record of the lease's task, not expired; None: nothing is known.
        lease: the renewal that is asked for.
        now: Unix seconds by the backend's clock.

    Returns:
        What to answer, and the record to write; None: nothing changes.
    """
    if record is None:
        return Renewal(held=False, state=None), None
    held = record.state is State.STARTED and record.run == lease.run
    renewed = evolve(record, leased_until=now + lease.seconds) if held else None
    return Renewal(held=held, state=record.state), renewed


def shorten_record(record: TaskRecord | None, expires_at: float) -> TaskRecord | None:
    """The record to write so that it expires at ``expires_at``, in Unix seconds; None: nothing changes.

    Only a terminal record that would expire later, or never, is changed.
    """
    if record is None or not record.state.terminal:
        return None
    if record.expires_at is not None and record.expires_at <= expires_at:
        return None
    return evolve(record, expires_at=expires_at)


@define
class GroupTally:
    """The count of a group's members. Not thread-safe.

    Attributes:
        size: how many members the group has.
        collect: whether failed members are results; otherwise one of them fails the group. See `Group.collect`.
        done: how many distinct members have ended, failed ones included.
        failed: whether the group has failed.
    """

    size: int
    collect: bool
    done: int = 0
    failed: bool = False

    def has(self, index: int) -> bool:
        """Whether the group has a member of this index; a completion of another one changes nothing."""
        return 0 <= index < self.size

    def add(self, *, failed: bool) -> None:
        """Count a member that has ended for the first time, with or without success."""
        self.done += 1
        self.failed = self.failed or (failed and not self.collect)

    def progress(self) -> GroupProgress:
        """The answer to a completion."""
        return GroupProgress(size=self.size, done=self.done, failed=self.failed)


def group_record(group: Group, progress: GroupProgress) -> GroupRecord:
    """The answer of `Backend.read_groups` for a group as it was opened and its progress."""
    return GroupRecord(
        group_id=group.group_id,
        size=group.size,
        collect=group.collect,
        continuation=group.continuation,
        done=progress.done,
        failed=progress.failed,
    )
