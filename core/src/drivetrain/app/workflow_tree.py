"""The tree of a workflow: its tasks and groups, with what is recorded of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum

from msgspec import Struct, field
from msgspec.structs import replace

from drivetrain.app.decoding import ResultDecoder, is_group
from drivetrain.app.workflow_structure import Structure, all_steps, step_id, structure_around
from drivetrain.contract import Backend, GroupRecord, SerializationError, State, TaskRecord
from drivetrain.worker.downstream import Callbacks, Downstream, load_downstream, waits_for
from drivetrain.worker.payloads import Payloads
from drivetrain.workflow.frames import Call, Fork, Frames, Join, ids

__all__ = ["Presence", "WorkflowBranch", "WorkflowStep", "WorkflowTree", "read_tree"]

#: How many records, or groups, one call of the backend reads.
_PAGE = 1000
#: The largest number of records that one tree reads. Steps beyond it are counted as not read.
_MOST_RECORDS = 50_000
#: In which order the members of a folded group are chosen: what needs attention first.
_ATTENTION = (
    State.FAILURE, State.EXPIRED, State.CANCELLED, State.RETRY, State.STARTED, State.RECEIVED, State.PENDING, None,
    State.SUCCESS,
)  # fmt: skip


class Presence(StrEnum):
    """What is stored of a step.

    Attributes:
        RECORDED: it has a record.
        FORGOTTEN: it has no record any more: the record has expired, or was dropped.
        NOT_SENT: it is a callback that was not sent, and may be sent.
        NOT_READ: the workflow is so large that this step was not read.
    """

    RECORDED = "recorded"
    FORGOTTEN = "forgotten"
    NOT_SENT = "not sent"
    NOT_READ = "not read"


class WorkflowStep(Struct, frozen=True, kw_only=True):
    """A task or group of a workflow.

    Attributes:
        id: its id.
        presence: what is stored of it. Where that is not ``RECORDED``, the fields below are empty, or known from the
            step before.
        group: whether it is a group.
        task: the name of the task; empty: unknown, or a group.
        state: its state; None: unknown.
        waits: whether it waits for the step before it, so that it has not been published.
        attempt: the latest attempt; the first is 0.
        starts: how often the latest attempt was started.
        queue: the queue of its message; empty: unknown, or a group.
        worker: the worker that started it last; empty: none.
        times: when it entered each state, in Unix seconds.
        error: why it ended without success, in one line; empty: it did not, or that is unknown.
        members: for a group: how many members it has.
        done: for a group: how many of them have ended.
        states: for a group: how many members are in each state, by its name; ``?`` for those that are unknown. A member
            of several tasks is in the state of the task that it has come to.
        branches: for a group: its members, in order, or some of them.
        on_success, on_error: the callbacks of the task that were sent or may be sent.
        replacement: what the task continued with after it had run; empty: nothing.
    """

    id: str
    presence: Presence
    group: bool = False
    task: str = ""
    state: State | None = None
    waits: bool = False
    attempt: int = 0
    starts: int = 0
    queue: str = ""
    worker: str = ""
    times: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    members: int = 0
    done: int = 0
    states: Mapping[str, int] = field(default_factory=dict)
    branches: tuple[WorkflowBranch, ...] = ()
    on_success: tuple[tuple[WorkflowStep, ...], ...] = ()
    on_error: tuple[tuple[WorkflowStep, ...], ...] = ()
    replacement: tuple[WorkflowStep, ...] = ()

    @property
    def hidden(self) -> int:
        """For a group: how many members `branches` leaves out."""
        return self.members - len(self.branches)


class WorkflowBranch(Struct, frozen=True):
    """A member of a group.

    Attributes:
        index: its position among the members; the first is 0.
        steps: its tasks and groups, in order.
    """

    index: int
    steps: tuple[WorkflowStep, ...]


class WorkflowTree(Struct, frozen=True):
    """A workflow that was sent.

    Attributes:
        id: the id of its first task or group.
        steps: its tasks and groups, in order. The first ones may be forgotten.
    """

    id: str
    steps: tuple[WorkflowStep, ...]

    def all_steps(self) -> Iterator[WorkflowStep]:
        """All steps that the tree shows, in any order."""
        remaining = list(self.steps)
        while remaining:
            step = remaining.pop()
            yield step
            for branch in step.branches:
                remaining += branch.steps
            for callback in (*step.on_success, *step.on_error, step.replacement):
                remaining += callback


def read_tree(
    record: TaskRecord, backend: Backend, payloads: Payloads, decoder: ResultDecoder, *, limit: int
) -> WorkflowTree:
    """The tree of the workflow of ``record``.

    Args:
        record: the record of any task or group of the workflow.
        backend: reads records.
        payloads: decodes what they say of the workflow.
        decoder: decodes failures.
        limit: how many members of each group the tree shows; those that need attention first.

    Raises:
        SerializationError: a record cannot be read.
        ServiceError: the backend could not be reached.
    """
    structure = structure_around(record, backend.read, payloads)
    reading = _Reading(structure, backend, payloads)
    reading.read_all()
    return _TreeBuilder(reading, payloads, decoder, limit=limit, asked=record.task_id).tree()


class _Reading:
    """The records of a workflow, and what they add to its structure. Used by one thread."""

    def __init__(self, structure: Structure, backend: Backend, payloads: Payloads) -> None:
        self.structure = structure
        self.callbacks: dict[str, Callbacks] = dict(structure.callbacks)
        self.replacements: dict[str, Frames] = dict(structure.replacements)
        #: The branches of groups whose own record lists them.
        self.branches: dict[str, tuple[Frames, ...]] = {}
        self.records: dict[str, TaskRecord | None] = {}
        self.groups: dict[str, GroupRecord | None] = {}
        self._backend = backend
        self._payloads = payloads

    def read_all(self) -> None:
        """Read the records of all steps, and of those that these records add, up to a limit."""
        new = [step_id(step) for step in all_steps(self.structure)]
        while new:
            new = new[: _MOST_RECORDS - len(self.records)]
            found = [record for page in _pages(new) for record in self._read(page)]
            new = [task_id for record in found for task_id in self._added_by(record) if task_id not in self.records]
        groups = [record.task_id for record in self.records.values() if record is not None and is_group(record)]
        for page in _pages(groups):
            self.groups.update(zip(page, self._backend.read_groups(page), strict=True))

    def _read(self, task_ids: Sequence[str]) -> list[TaskRecord]:
        records = self._backend.read(task_ids)
        self.records.update(zip(task_ids, records, strict=True))
        return [record for record in records if record is not None]

    def _added_by(self, record: TaskRecord) -> Iterator[str]:
        """The ids of steps that a record lists: callbacks, and the members of a group."""
        if record.downstream is None:
            return
        known = load_downstream(record, self._payloads)
        if not isinstance(known, Downstream):
            return
        sequences: list[Frames] = list(known.branches)
        self.branches.setdefault(record.task_id, known.branches)
        for task_id, callbacks in known.callbacks.items():
            self.callbacks.setdefault(task_id, callbacks)
            sequences += (*callbacks.on_success, *callbacks.on_error)
        if known.replacement:
            self.replacements[record.task_id] = known.replacement
            sequences.append(known.replacement)
        for step in all_steps(Structure(workflow="", frames=tuple(step for steps in sequences for step in steps))):
            yield step_id(step)


class _TreeBuilder:
    """Makes a tree of what was read. Pure.

    It calls itself for groups and callbacks only, which are nested a hundred levels deep at most; without generators
    and comprehensions there, which would need more of Python's stack.
    """

    def __init__(
        self, reading: _Reading, payloads: Payloads, decoder: ResultDecoder, *, limit: int, asked: str
    ) -> None:
        self._reading = reading
        self._payloads = payloads
        self._decoder = decoder
        self._limit = limit
        #: The id whose workflow was asked for: its branches are shown whatever the limit.
        self._asked = asked

    def tree(self) -> WorkflowTree:
        structure = self._reading.structure
        forgotten = [WorkflowStep(id=one, presence=Presence.FORGOTTEN) for one in structure.forgotten]
        return WorkflowTree(structure.workflow, (*forgotten, *self._steps(structure.frames)))

    def _steps(self, frames: Frames, missing: Presence = Presence.FORGOTTEN) -> tuple[WorkflowStep, ...]:
        """Steps; ``missing`` says what it means where one of them has no record."""
        steps: list[WorkflowStep] = []
        for frame in frames:
            if isinstance(frame, Fork):
                steps.append(self._group(frame, missing))
            elif isinstance(frame, Call):
                steps.append(self._task(frame, missing))
        return tuple(steps)

    def _task(self, call: Call, missing: Presence) -> WorkflowStep:
        step = self._recorded(call, missing)
        if call.id in self._reading.replacements:
            step = replace(step, replacement=self._steps(self._reading.replacements[call.id], missing))
        callbacks = self._reading.callbacks.get(call.id)
        if callbacks is None:
            return step
        open_ended = step.state is None or not step.state.terminal
        if step.presence is not Presence.FORGOTTEN:
            missing = Presence.NOT_SENT if open_ended else Presence.FORGOTTEN
        succeeds = open_ended or step.state is State.SUCCESS
        fails = open_ended or step.state in {State.FAILURE, State.EXPIRED}
        return replace(
            step,
            on_success=self._callbacks(callbacks.on_success, missing) if succeeds else (),
            on_error=self._callbacks(callbacks.on_error, missing) if fails else (),
        )

    def _callbacks(self, callbacks: Sequence[Frames], missing: Presence) -> tuple[tuple[WorkflowStep, ...], ...]:
        found: list[tuple[WorkflowStep, ...]] = []
        for frames in callbacks:
            found.append(self._steps(frames, missing))  # noqa: PERF401 - see above
        return tuple(found)

    def _recorded(self, frame: Call | Fork, missing: Presence) -> WorkflowStep:
        """A step, without its members and callbacks."""
        task_id, group = step_id(frame), isinstance(frame, Fork)
        record = self._reading.records.get(task_id)
        if record is None:
            presence = missing if task_id in self._reading.records else Presence.NOT_READ
            name, queue = (frame.task, frame.queue) if isinstance(frame, Call) else ("", "")
            return WorkflowStep(id=task_id, presence=presence, group=group, task=name, queue=queue)
        entry = record.history.get(State.STARTED)
        changes = sorted(record.history.items(), key=lambda item: item[1].at)
        return WorkflowStep(
            id=task_id,
            presence=Presence.RECORDED,
            group=group,
            task="" if group else record.task,
            state=record.state,
            waits=waits_for(record, self._payloads) is not None,
            attempt=record.attempt,
            starts=record.starts,
            queue=record.queue,
            worker="" if entry is None else entry.worker,
            times={state.value: change.at for state, change in changes},
            error=self._error(record),
        )

    def _error(self, record: TaskRecord) -> str:
        if not record.state.terminal or record.state is State.SUCCESS or record.payload is None:
            return ""
        try:
            failure = self._decoder.failure(record)
        except SerializationError as error:
            return f"its failure cannot be read: {error}"
        text = f"{failure.type}: {failure.message}" if failure.message else failure.type
        return text if failure.task_id in {"", record.task_id} else f"task {failure.task_id} did not succeed: {text}"

    # Groups

    def _group(self, frame: Fork, missing: Presence) -> WorkflowStep:
        reading, group_id, step = self._reading, frame.group_id, self._recorded(frame, missing)
        known = frame.branches or reading.branches.get(group_id, ())
        listed = {**dict(enumerate(known)), **reading.structure.added.get(group_id, {})}
        group = reading.groups.get(group_id)
        members = len(known) + reading.structure.unlisted.get(group_id, 0) if group is None else group.size
        states = {index: self._state(frames) for index, frames in listed.items()}
        counts = Counter("?" if state is None else state.value for state in states.values())
        counts["?"] += max(0, members - len(listed))
        ended = sum(state is not None and state.terminal for state in states.values())
        shown = sorted(states, key=lambda index: (not self._is_asked(listed[index]), _ATTENTION.index(states[index])))
        branches = []
        for index in sorted(shown[: self._limit]):
            branches.append(WorkflowBranch(index, self._steps(listed[index], missing)))  # noqa: PERF401 - see above
        return replace(
            step,
            members=members,
            done=ended if group is None else group.done,
            states={state: counts[state] for state in (*(one.value for one in State), "?") if counts[state]},
            branches=tuple(branches),
        )

    def _is_asked(self, branch: Frames) -> bool:
        return any(task_id == self._asked for task_id in ids(branch))

    def _state(self, branch: Frames) -> State | None:
        """The state of the step that a branch has come to; None: unknown."""
        last: State | None = None
        for frame in branch:
            if isinstance(frame, Join):
                break
            record = self._reading.records.get(step_id(frame))
            if record is None:
                last = None
                continue
            last = record.state
            if last is not State.SUCCESS:
                break
        return last


def _pages(task_ids: Iterable[str]) -> Iterator[list[str]]:
    task_ids = list(dict.fromkeys(task_ids))
    for start in range(0, len(task_ids), _PAGE):
        yield task_ids[start : start + _PAGE]
