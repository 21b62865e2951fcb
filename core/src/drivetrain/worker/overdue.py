"""Which unfinished tasks should have gone on by now, and which message would make each of them go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import frozen

from drivetrain.contract import GroupRecord, SerializationError, State, TaskRecord
from drivetrain.worker.effects import GROUP_TASK, waits
from drivetrain.worker.listing import PAGE, unfinished_tasks
from drivetrain.worker.payloads import Payloads
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.unfinished import Unfinished

__all__ = ["Overdue", "due_since", "overdue_among", "overdue_tasks", "state_version"]

_NOTHING = Unfinished()


@frozen(kw_only=True)
class Overdue:
    """An unfinished task, or group, that should have gone on before now."""

    record: TaskRecord
    #: Since when; Unix seconds.
    since: float
    #: The id of the message without which it never goes on: its own, or that of the task before it. None: it needs no
    #: message, since it is a group whose members have ended.
    message_id: str | None
    #: The queue of that message; empty: not recorded.
    queue: str = ""
    #: The payload of the record.
    unfinished: Unfinished = _NOTHING
    #: For a group whose members have ended: how it stands.
    group: GroupRecord | None = None

    @property
    def version(self) -> tuple[object, ...]:
        """What changes whenever anybody does anything with the task."""
        record = self.record
        return (*state_version(record), self.message_id)


def state_version(record: TaskRecord) -> tuple[object, ...]:
    """What changes whenever a transition of the record, or a renewal of its lease, is granted."""
    return (record.state, record.attempt, record.run, record.starts, record.leased_until, _entered(record))


def overdue_tasks(runtime: Runtime, before: float) -> Iterator[Overdue]:
    """The unfinished tasks and groups that should have gone on before ``before`` (Unix seconds)."""
    old: list[TaskRecord] = []
    for record in unfinished_tasks(runtime.backend):
        if _entered(record) <= before:
            old.append(record)
        if len(old) == PAGE:
            yield from overdue_among(runtime, old, before)
            old = []
    yield from overdue_among(runtime, old, before)


def due_since(record: TaskRecord, unfinished: Unfinished) -> float:
    """When a task that has begun is due to go on; Unix seconds. Pure.

    Args:
        record: of an unfinished task that waits for no other one.
        unfinished: the payload of that record.
    """
    if record.state is State.STARTED:
        return _entered(record) if record.leased_until is None else record.leased_until
    return _entered(record) if unfinished.due is None else max(_entered(record), unfinished.due)


def overdue_among(runtime: Runtime, records: Sequence[TaskRecord], before: float) -> Iterator[Overdue]:
    """Those of ``records``, all unfinished, that should have gone on before ``before`` (Unix seconds)."""
    behind, groups, begun = list[TaskRecord](), list[TaskRecord](), list[TaskRecord]()
    for record in records:
        if waits(record, runtime.payloads) is not None:
            behind.append(record)
        else:
            (groups if record.task == GROUP_TASK else begun).append(record)
    for record in begun:
        unfinished = _payload(runtime.payloads, record)
        if (since := due_since(record, unfinished)) <= before:
            message_id, queue = record.task_id, unfinished.queue
            yield Overdue(record=record, since=since, message_id=message_id, queue=queue, unfinished=unfinished)
    yield from _stranded(runtime, behind, before)
    yield from _ended_groups(runtime, groups)


def _payload(payloads: Payloads, record: TaskRecord) -> Unfinished:
    try:
        return Unfinished.load(payloads, record)
    except SerializationError:
        return _NOTHING  # its message can be looked for all the same


def _stranded(runtime: Runtime, records: Sequence[TaskRecord], before: float) -> Iterator[Overdue]:
    """Those whose predecessor has ended, or is gone, without making them go on.

    All others are as slow as what is before them, and end with it.
    """
    waiting = {record.task_id: waits(record, runtime.payloads) for record in records}
    earlier = {task_id: one.get("after", "") for task_id, one in waiting.items() if one is not None}
    ids = [task_id for task_id in dict.fromkeys(earlier.values()) if task_id]
    known = dict(zip(ids, runtime.backend.read(ids), strict=True)) if ids else {}
    for record in records:
        message_id = earlier[record.task_id]
        if not message_id:
            continue  # sent by a version that did not record what comes before
        predecessor = known[message_id]
        if predecessor is None:
            yield Overdue(record=record, since=_entered(record), message_id=message_id)
        elif predecessor.state.terminal and (since := _entered(predecessor)) <= before:
            yield Overdue(record=record, since=since, message_id=message_id)


def _ended_groups(runtime: Runtime, records: Sequence[TaskRecord]) -> Iterator[Overdue]:
    """Groups of which all members have ended, or that are gone: whoever completed them should have gone on."""
    ids = list(dict.fromkeys(record.task_id for record in records))
    groups = dict(zip(ids, runtime.backend.read_groups(ids), strict=True)) if ids else {}
    for record in records:
        group = groups[record.task_id]
        if group is None or group.failed or group.done == group.size:
            yield Overdue(record=record, since=_entered(record), message_id=None, group=group)


def _entered(record: TaskRecord) -> float:
    return record.entries[record.state].at
