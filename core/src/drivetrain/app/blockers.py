"""What an unfinished task or group waits for: its unfinished predecessor or members, and who would run these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from drivetrain.app.decoding import is_group
from drivetrain.app.limit_waiting import LimitWaiting, recorded_waits
from drivetrain.app.workflow_structure import Structure, find_sequence, step_id, structure_around
from drivetrain.contract import SerializationError, State, TaskRecord
from drivetrain.worker.downstream import Downstream, load_downstream, waits_for
from drivetrain.worker.pauses import Pause, read_pauses
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.unfinished import Unfinished
from drivetrain.worker.worker_statuses import worker_statuses
from drivetrain.workflow.frames import Call, Frames, Join

__all__ = ["Blocker", "WaitReport", "find_blockers"]

#: How many unfinished members of a group are named.
_MOST_NAMED = 3
#: How many records one call of the backend reads.
_PAGE = 1000


class Blocker(Struct, frozen=True, kw_only=True):
    """A task or group for which a result waits.

    Attributes:
        task_id: its id.
        task: the name of the task.
        state: its state.
        queue: the queue of its message; empty: unknown, or a group.
        workers: the names of the live workers that serve that queue; empty too while a worker runs the task.
        paused: why the queue is paused; None: it is not.
        due: when the next attempt is due, in Unix seconds; None: at once.
        limit: the limit for which it waits; None: for none, or for less than a minute.
        running_on: the worker that runs it; empty: none does.
        since: when it entered its state, in Unix seconds.
        lease_ended: whether the lease of its run has ended, so that another worker will take it over.
    """

    task_id: str
    task: str
    state: State
    queue: str = ""
    workers: tuple[str, ...] = ()
    paused: Pause | None = None
    due: float | None = None
    limit: LimitWaiting | None = None
    running_on: str = ""
    since: float | None = None
    lease_ended: bool = False

    def __str__(self) -> str:
        return f"{self.task_id} ({', '.join(self._facts())})"

    def _facts(self) -> Iterator[str]:
        yield self.state.value
        if self.running_on:
            yield f"on worker {self.running_on}"
            if self.since is not None:
                yield f"since {_time(self.since)}"
            if self.lease_ended:
                yield "whose lease has ended"
            return
        if self.limit is not None:
            yield str(self.limit)
        elif self.due is not None:
            yield f"due at {_time(self.due)}"
        if self.queue and not self.state.terminal:
            yield f"queue {self.queue!r}"
            if self.paused is not None:
                yield "which is paused" + (f": {self.paused.why}" if self.paused.why else "")
            yield f"served by {_workers(self.workers)}"


class WaitReport(Struct, frozen=True, kw_only=True):
    """What an unfinished task or group waits for.

    Attributes:
        task_id: its id.
        blockers: what it waits for; itself, if it waits for no other task. Empty: it has ended, or that is unknown.
        more: how many further members of its group have not ended.
    """

    task_id: str
    blockers: Sequence[Blocker] = ()
    more: int = 0

    def __str__(self) -> str:
        if not self.blockers:
            return ""
        if [one.task_id for one in self.blockers] == [self.task_id]:
            return str(self.blockers[0]).removeprefix(f"{self.task_id} (").removesuffix(")")
        more = f" and {self.more} more" if self.more else ""
        return f"waits for {', '.join(map(str, self.blockers))}{more}"


def find_blockers(runtime: Runtime, task_id: str) -> WaitReport:
    """What a task or group waits for.

    Raises:
        SerializationError: a record cannot be read.
        ServiceError: the backend could not be reached.
    """
    return _Search(runtime).report(task_id)


class _Search:
    """One search. Used by one thread."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._read = runtime.backend.read

    def report(self, task_id: str) -> WaitReport:
        (record,) = self._read([task_id])
        if record is None or record.state.terminal:
            return WaitReport(task_id=task_id)
        if not is_group(record) and not self._waits(record):
            return WaitReport(task_id=task_id, blockers=self._described([record]))
        structure = self._replaced(record) or structure_around(record, self._read, self._runtime.payloads)
        begun = self._begun_before(structure, record) if self._waits(record) else record
        if begun is None:
            return WaitReport(task_id=task_id)
        if not is_group(begun) or begun.state.terminal:
            return WaitReport(task_id=task_id, blockers=self._described([begun]))
        members = self._unfinished_members(structure, begun)
        (group,) = self._runtime.backend.read_groups([begun.task_id])
        more = 0 if group is None else max(0, group.size - group.done - len(members))
        return WaitReport(task_id=task_id, blockers=self._described(members), more=more)

    def _waits(self, record: TaskRecord) -> bool:
        return waits_for(record, self._runtime.payloads) is not None

    def _replaced(self, record: TaskRecord) -> Structure | None:
        """The steps that replace a task, with the task behind them; None: nothing replaces it."""
        if record.state is not State.RETRY:
            return None
        known = load_downstream(record, self._runtime.payloads)
        if not isinstance(known, Downstream) or not known.replacement:
            return None
        task = Call(id=record.task_id, task=record.task, queue=record.queue)
        return Structure(workflow=record.task_id, frames=(*known.replacement, task))

    def _begun_before(self, structure: Structure, record: TaskRecord) -> TaskRecord | None:
        """The nearest step before a waiting one that has begun; None: no record of one is left."""
        current: TaskRecord | None = record
        while current is not None and self._waits(current):
            earlier = [step_id(one) for one in find_sequence(structure, current.task_id) if not isinstance(one, Join)]
            records = [one for one in self._read_all(earlier[:-1]) if one is not None]
            for one in reversed(records):
                if not self._waits(one):
                    return one
                if (replaced := self._replaced(one)) is not None:
                    return self._begun_before(replaced, one)
            head = records[0] if records else current
            parent = head.parent
            (current,) = self._read([parent]) if parent else (None,)
        return current

    def _unfinished_members(self, structure: Structure, group: TaskRecord) -> list[TaskRecord]:
        """The steps that the first unfinished members of an open group have come to, at most three."""
        known = load_downstream(group, self._runtime.payloads)
        branches = known.branches if isinstance(known, Downstream) and known.branches else ()
        branches = branches or _branches(structure, group.task_id)
        found: list[TaskRecord] = []
        for start in range(0, len(branches), _PAGE):
            page = branches[start : start + _PAGE]
            heads = self._read([step_id(branch[0]) for branch in page if not isinstance(branch[0], Join)])
            for branch, head in zip(page, heads, strict=True):
                if (current := self._current(branch, head)) is not None:
                    found.append(current)
                if len(found) == _MOST_NAMED:
                    return found
        return found

    def _current(self, branch: Frames, head: TaskRecord | None) -> TaskRecord | None:
        """The record of the step that a member has come to; None: it has ended."""
        if head is not None and not head.state.terminal:
            return head
        rest = [step_id(one) for one in branch[1:] if not isinstance(one, Join)]
        return next((one for one in self._read_all(rest) if one is not None and not one.state.terminal), None)

    def _read_all(self, task_ids: Sequence[str]) -> list[TaskRecord | None]:
        return [
            record for start in range(0, len(task_ids), _PAGE) for record in self._read(task_ids[start : start + _PAGE])
        ]

    def _described(self, records: Iterable[TaskRecord]) -> tuple[Blocker, ...]:
        records = list(records)
        queues = {record.queue for record in records if record.queue}
        backend = self._runtime.backend
        statuses = list(worker_statuses(backend)) if queues else []
        pauses = read_pauses(backend, sorted(queues)) if queues else {}
        limits = recorded_waits(self._runtime, records)
        return tuple(
            Blocker(
                task_id=record.task_id,
                task=record.task,
                state=record.state,
                queue=record.queue,
                workers=tuple(sorted(one.name for one in statuses if record.queue in one.queues)),
                paused=None if record.state is State.STARTED else pauses.get(record.queue),
                due=self._due(record),
                limit=limits.get(record.task_id),
                running_on=record.history[State.STARTED].worker if record.state is State.STARTED else "",
                since=record.history[record.state].at,
                lease_ended=record.leased_until is not None and record.leased_until < self._runtime.clock.now(),
            )
            for record in records
        )

    def _due(self, record: TaskRecord) -> float | None:
        """When the next attempt of a task is due, if that is later than now."""
        try:
            due = Unfinished.load(self._runtime.payloads, record).due
        except SerializationError:
            return None
        return due if due is not None and due > self._runtime.clock.now() else None


def _branches(structure: Structure, group_id: str) -> tuple[Frames, ...]:
    sequence = find_sequence(structure, group_id)
    last = sequence[-1] if sequence else None
    return getattr(last, "branches", ())


def _workers(names: Sequence[str]) -> str:
    if not names:
        return "no worker"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"worker {', '.join(names[:_MOST_NAMED])}{more}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
