"""Overdue tasks: unfinished tasks that should have continued by now, and the message that each of them needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import frozen

from drivetrain.contract import GroupRecord, SerializationError, State, TaskRecord
from drivetrain.worker.downstream import waits_for
from drivetrain.worker.effects import GROUP_TASK
from drivetrain.worker.listing import PAGE, unfinished_tasks
from drivetrain.worker.payloads import Payloads
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.unfinished import Unfinished

__all__ = ["Overdue", "due_since", "overdue_among", "overdue_tasks", "state_version"]

_NOTHING = Unfinished()


@frozen(kw_only=True)
class Overdue:
    """An unfinished task or group that should have continued before now."""

    record: TaskRecord
    #: Since when; Unix seconds.
    since: float
    #: The id of the message that it needs to continue: its own, or its predecessor's. None: it is a
    #: group whose members have ended, and needs no message.
    message_id: str | None
    #: The queue of that message; empty: not recorded.
    queue: str = ""
    #: The payload of the record.
    unfinished: Unfinished = _NOTHING
    #: For a group whose members have ended: its record.
    group: GroupRecord | None = None

    @property
    def version(self) -> tuple[object, ...]:
        """A value that changes with every change of the task."""
        record = self.record
        return (*state_version(record), self.message_id)


def state_version(record: TaskRecord) -> tuple[object, ...]:
    """A value that changes with every granted transition of the record, and every renewal of its lease."""
    return (record.state, record.attempt, record.run, record.starts, record.leased_until, _entered(record))


def overdue_tasks(runtime: Runtime, before: float) -> Iterator[Overdue]:
    """The unfinished tasks and groups that should have continued before ``before`` (Unix seconds)."""
    old: list[TaskRecord] = []
    for record in unfinished_tasks(runtime.backend):
        if _entered(record) <= before:
            old.append(record)
        if len(old) == PAGE:
            yield from overdue_among(runtime, old, before)
            old = []
    yield from overdue_among(runtime, old, before)


def due_since(record: TaskRecord, unfinished: Unfinished) -> float:
    """When a task that has begun should continue; Unix seconds. Pure.

    Args:
        record: the record of an unfinished task that waits for no other one.
        unfinished: the payload of that record.
    """
    if record.state is State.STARTED:
        return _entered(record) if record.leased_until is None else record.leased_until
    return _entered(record) if unfinished.due is None else max(_entered(record), unfinished.due)


def overdue_among(runtime: Runtime, records: Sequence[TaskRecord], before: float) -> Iterator[Overdue]:
    """Those of ``records``, all unfinished, that should have continued before ``before`` (Unix seconds)."""
    behind, groups, begun = list[TaskRecord](), list[TaskRecord](), list[TaskRecord]()
    for record in records:
        if waits_for(record, runtime.payloads) is not None:
            behind.append(record)
        else:
            (groups if record.task == GROUP_TASK else begun).append(record)
    for record in begun:
        unfinished = _payload(runtime.payloads, record)
        if (since := due_since(record, unfinished)) <= before:
            queue = record.queue or unfinished.queue
            yield Overdue(record=record, since=since, message_id=record.task_id, queue=queue, unfinished=unfinished)
    yield from _stranded(runtime, behind, before)
    yield from _ended_groups(runtime, groups)


def _payload(payloads: Payloads, record: TaskRecord) -> Unfinished:
    try:
        return Unfinished.load(payloads, record)
    except SerializationError:
        return _NOTHING  # its message can be searched without the payload


def _stranded(runtime: Runtime, records: Sequence[TaskRecord], before: float) -> Iterator[Overdue]:
    """Waiting tasks whose predecessor has ended, or has no record, and did not start them.

    All other waiting tasks are as late as their predecessor, and end with it.
    """
    waiting = {record.task_id: waits_for(record, runtime.payloads) for record in records}
    earlier = {task_id: one.after for task_id, one in waiting.items() if one is not None}
    ids = [task_id for task_id in dict.fromkeys(earlier.values()) if task_id]
    known = dict(zip(ids, runtime.backend.read(ids), strict=True)) if ids else {}
    for record in records:
        message_id = earlier[record.task_id]
        if not message_id:
            continue  # sent by a version that did not record predecessors
        predecessor = known[message_id]
        if predecessor is None and record.state is State.RETRY:
            # It was replaced, and its worker died before it sent the replacement: its own message does that.
            yield Overdue(record=record, since=_entered(record), message_id=record.task_id, queue=record.queue)
        elif predecessor is None:
            yield Overdue(record=record, since=_entered(record), message_id=message_id)
        elif predecessor.state.terminal and (since := _entered(predecessor)) <= before:
            yield Overdue(record=record, since=since, message_id=message_id, queue=predecessor.queue)


def _ended_groups(runtime: Runtime, records: Sequence[TaskRecord]) -> Iterator[Overdue]:
    """Groups whose members have all ended, or that have no record: the last completer should have continued them."""
    ids = list(dict.fromkeys(record.task_id for record in records))
    groups = dict(zip(ids, runtime.backend.read_groups(ids), strict=True)) if ids else {}
    for record in records:
        group = groups[record.task_id]
        if group is None or group.failed or group.done == group.size:
            yield Overdue(record=record, since=_entered(record), message_id=None, group=group)


def _entered(record: TaskRecord) -> float:
    return record.history[record.state].at
