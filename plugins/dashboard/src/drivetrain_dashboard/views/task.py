"""The page of one task: what happened to it, what it waits for, and what waits for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from drivetrain.app.blockers import Blocker
from drivetrain.app.decoding import is_group
from drivetrain.app.result import Result
from drivetrain.contract import Failure, SerializationError, State, TaskRecord, UnknownResult
from drivetrain.worker.downstream import Callbacks, Downstream, downstream, load_downstream
from drivetrain.worker.unfinished import Unfinished
from drivetrain.workflow.frames import Fork, Frame, Join
from drivetrain_dashboard.views.arguments import Arguments, read_arguments
from drivetrain_dashboard.views.context import ReadContext
from drivetrain_dashboard.views.page import Id, Page, Query
from drivetrain_dashboard.views.plain import shown_value

__all__ = [
    "BlockerRow",
    "FailureView",
    "Moment",
    "NextRow",
    "ProgressView",
    "TaskPage",
    "TaskQuery",
    "read_task",
]

#: How many tasks that wait for a task are shown at most.
_MOST_NEXT = 20


class TaskQuery(Query, frozen=True, kw_only=True):
    """Which task to show.

    Attributes:
        id: the id of the task or group.
        arguments: whether to show its arguments and its result.
    """

    id: Id
    arguments: bool = False


class Moment(Struct, frozen=True, kw_only=True):
    """Something that happened to a task, or will happen.

    Attributes:
        at: when, in Unix seconds.
        what: the name of a state, or ``due``, ``lease ends``, ``record expires``.
        worker: the worker that recorded it; empty: none did.
        note: what else is known, in words; empty: nothing.
    """

    at: float
    what: str
    worker: str = ""
    note: str = ""


class FailureView(Struct, frozen=True, kw_only=True):
    """The failure of an attempt.

    Attributes:
        type: the type of the exception.
        message: its message.
        traceback: the traceback of the worker; empty: no code of the task ran.
        task: the name of the task that failed.
        task_id: the id of the task that failed. It is another one if the task failed because of that one.
        attempt: the attempt that failed.
    """

    type: str
    message: str
    traceback: str = ""
    task: str = ""
    task_id: str = ""
    attempt: int = 0


class ProgressView(Struct, frozen=True, kw_only=True):
    """How much is done of how much.

    Attributes:
        done: how much is done.
        total: how much there is to do.
        note: what the task does now; empty: it has not said so.
    """

    done: float
    total: float
    note: str = ""


class BlockerRow(Struct, frozen=True, kw_only=True):
    """A task or group for which the task waits; the task itself, if it waits for no other one.

    Attributes:
        task_id: its id.
        task: its name; empty: unknown.
        state: its state.
        text: its state and what holds it up, in words.
    """

    task_id: str
    task: str
    state: State
    text: str


class NextRow(Struct, frozen=True, kw_only=True):
    """A task or group that waits for the task.

    Attributes:
        task_id: its id.
        task: its name; empty: unknown, or a group.
        group: whether it is a group.
        state: its state; None: unknown, or not sent yet.
        how: ``next``, ``on success`` or ``on error``; ``group``: the task is a member of it.
    """

    task_id: str
    task: str = ""
    group: bool = False
    state: State | None = None
    how: str = "next"


class TaskPage(Page, frozen=True, kw_only=True):
    """The page of a task.

    Attributes:
        task_id: the id that was asked for.
        found: whether the backend has a record of it.
        group: whether it is a group.
        state: its state; None: unknown.
        ended: whether it has ended.
        task: its name; empty: unknown, or a group.
        queue: the queue of its message; empty: unknown.
        workflow: the id of the first task or group of its workflow; empty: it is a workflow by itself.
        parent: the id of the task after which it runs, or of its group; empty: none.
        attempt: the latest attempt; the first is 0.
        starts: how often this attempt was started. More than 1: earlier workers died or lost their leases.
        worker: the worker that started it last; empty: none did.
        taken_over_from: the worker from which this attempt was taken over; empty: none.
        timeline: what happened to it and what will, in order.
        lease_left_seconds: how long the lease of its run lasts from now; negative: it has ended. None: no run holds it.
        run_seconds: how long its last run has taken so far, or took; None: unknown.
        waited_seconds: how long it waited since it was sent, until its last start; None: it has not started.
        progress: how far it is; None: it reports nothing.
        members: for a group: how many members it has; None: it is none.
        members_ended: for a group: how many of them have ended.
        failure: the failure of its last attempt that failed; None: none has.
        waiting: what it waits for, in words; empty: it waits for nothing.
        blockers: the tasks for which it waits.
        more_blockers: how many further ones there are.
        following: the tasks that wait for it.
        more_following: how many further ones there are.
        arguments: its arguments; None: they were not asked for.
        result: its result, as text; None: there is none, or it was not asked for.
        unreadable: why a part of the record cannot be read; empty: all of it can.
    """

    task_id: str
    found: bool = True
    group: bool = False
    state: State | None = None
    ended: bool = False
    task: str = ""
    queue: str = ""
    workflow: str = ""
    parent: str = ""
    attempt: int = 0
    starts: int = 0
    worker: str = ""
    taken_over_from: str = ""
    timeline: tuple[Moment, ...] = ()
    lease_left_seconds: float | None = None
    run_seconds: float | None = None
    waited_seconds: float | None = None
    progress: ProgressView | None = None
    members: int | None = None
    members_ended: int = 0
    failure: FailureView | None = None
    waiting: str = ""
    blockers: tuple[BlockerRow, ...] = ()
    more_blockers: int = 0
    following: tuple[NextRow, ...] = ()
    more_following: int = 0
    arguments: Arguments | None = None
    result: str | None = None
    unreadable: str = ""


def read_task(context: ReadContext, query: TaskQuery) -> TaskPage:
    """Read the page. A task that is unknown has a page that says so.

    Raises:
        ServiceError: a service could not be reached.
    """
    page = TaskPage(at=context.now(), task_id=query.id)
    if not context.stores:
        return replace(page, found=False, problem="The backend stores nothing: no task can be looked up by its id.")
    handle = context.app.result(query.id)
    try:
        record = handle.record()
    except UnknownResult:
        return replace(page, found=False, problem=_UNKNOWN)
    page = _with_waiting(_recorded(page, record), handle, record)
    page = _with_following(context, _with_failure(context, page, record), record)
    if query.arguments:
        page = replace(page, arguments=read_arguments(context.app, record), result=_result(context, handle, record))
    return page


_UNKNOWN = "The backend has no record of this id. The id is wrong, or the record has expired."


def _recorded(page: TaskPage, record: TaskRecord) -> TaskPage:
    """What the record says by itself."""
    started, history = record.history.get(State.STARTED), record.history
    sent = history.get(State.PENDING)
    last = history.get(record.state)
    end = page.at if record.state is State.STARTED else None if last is None else last.at
    runs = started is not None and (record.state is State.STARTED or record.state.terminal)
    return replace(
        page,
        group=is_group(record),
        state=record.state,
        ended=record.state.terminal,
        task="" if is_group(record) else record.task,
        queue=record.queue,
        workflow=record.workflow,
        parent=record.parent,
        attempt=record.attempt,
        starts=record.starts,
        worker="" if started is None else started.worker,
        timeline=tuple(sorted(_timeline(record), key=lambda one: one.at)),
        lease_left_seconds=None if record.leased_until is None else record.leased_until - page.at,
        run_seconds=max(0.0, end - started.at) if runs and started is not None and end is not None else None,
        waited_seconds=None if started is None or sent is None else max(0.0, started.at - sent.at),
    )


def _timeline(record: TaskRecord) -> Iterator[Moment]:
    for state, change in record.history.items():
        yield Moment(at=change.at, what=state.value, worker=change.worker, note=_notes(record).get(state, ""))
    if record.leased_until is not None:
        yield Moment(at=record.leased_until, what="lease ends", note="The worker renews it while the task runs.")
    if record.expires_at is not None:
        yield Moment(at=record.expires_at, what="record expires")


def _notes(record: TaskRecord) -> Mapping[State, str]:
    notes: dict[State, str] = {}
    if record.starts > 1:
        notes[State.STARTED] = f"Start {record.starts} of this attempt: earlier workers died, or lost their leases."
    elif record.attempt:
        notes[State.STARTED] = f"Attempt {record.attempt + 1}."
    if record.state is State.RECEIVED:
        notes[State.RECEIVED] = "A worker has given it back before its end."
    return notes


def _with_waiting(page: TaskPage, handle: Result[object], record: TaskRecord) -> TaskPage:
    """The page with what the task waits for, and its progress."""
    try:
        progress = handle.progress()
        page = replace(
            page,
            progress=ProgressView(done=progress.done, total=progress.total, note=progress.note)
            if (progress.done, progress.total) not in {(0, 1), (1, 1)} or progress.note
            else None,
            members=int(progress.total) if page.group else None,
            members_ended=int(progress.done) if page.group else 0,
        )
        if record.state.terminal:
            return page
        report = handle.waits_for()
    except (SerializationError, UnknownResult) as error:
        return replace(page, unreadable=str(error))
    return replace(
        page,
        waiting=str(report),
        blockers=tuple(map(_blocker_row, report.blockers)),
        more_blockers=report.more,
    )


def _blocker_row(blocker: Blocker) -> BlockerRow:
    text = str(blocker).removeprefix(f"{blocker.task_id} (").removesuffix(")")
    return BlockerRow(task_id=blocker.task_id, task=blocker.task, state=blocker.state, text=text)


def _with_failure(context: ReadContext, page: TaskPage, record: TaskRecord) -> TaskPage:
    """The page with the failure of the last attempt that failed, and what else the payload says."""
    runtime = context.app.runtime
    try:
        if record.state.terminal:
            if record.state is State.SUCCESS or record.payload is None:
                return page
            found = runtime.registry.codec.decode(runtime.payloads.load(record.payload), Failure)
            return replace(page, failure=_failure_view(found))
        known = Unfinished.load(runtime.payloads, record)
        failure = None if known.failure is None else runtime.registry.codec.decode(known.failure, Failure)
    except SerializationError as error:
        return replace(page, unreadable=str(error))
    moments = page.timeline
    if known.due is not None and known.due > page.at:
        moments = tuple(sorted((*moments, Moment(at=known.due, what="due")), key=lambda one: one.at))
    return replace(
        page,
        timeline=moments,
        failure=None if failure is None else _failure_view(failure),
        taken_over_from=known.taken_over_from,
    )


def _failure_view(failure: Failure) -> FailureView:
    return FailureView(
        type=failure.type,
        message=failure.message,
        traceback=failure.traceback,
        task=failure.task,
        task_id=failure.task_id,
        attempt=failure.attempt,
    )


def _result(context: ReadContext, handle: Result[object], record: TaskRecord) -> str | None:
    """The result as text; None: there is none."""
    if record.state is not State.SUCCESS:
        return None
    try:
        return shown_value(handle.get(timeout=context.app.settings.send_seconds))
    except (SerializationError, UnknownResult) as error:
        return f"It cannot be read: {error}"


# What waits for the task


def _with_following(context: ReadContext, page: TaskPage, record: TaskRecord) -> TaskPage:
    """The page with the tasks that wait for this one. It reads a few records, however large the workflow is."""
    if record.downstream is None:
        return page  # as for most tasks
    runtime = context.app.runtime
    try:
        (frames,) = downstream([record], runtime.payloads, runtime.backend.read, runtime.backend.load_bodies)
        known = load_downstream(record, runtime.payloads)
    except SerializationError as error:
        return replace(page, unreadable=page.unreadable or str(error))
    callbacks = known.callbacks.get(record.task_id, Callbacks()) if isinstance(known, Downstream) else Callbacks()
    rows = [
        *(_next_row(frame) for frame in frames),
        *(replace(_next_row(then[0]), how="on success") for then in callbacks.on_success if then),
        *(replace(_next_row(then[0]), how="on error") for then in callbacks.on_error if then),
    ]
    shown = _with_states(context, rows[:_MOST_NEXT])
    return replace(page, following=shown, more_following=len(rows) - len(shown))


def _next_row(frame: Frame) -> NextRow:
    if isinstance(frame, Join):
        return NextRow(task_id=frame.group_id, group=True, how="group")
    if isinstance(frame, Fork):
        return NextRow(task_id=frame.group_id, group=True)
    return NextRow(task_id=frame.id, task=frame.task)


def _with_states(context: ReadContext, rows: Sequence[NextRow]) -> tuple[NextRow, ...]:
    """The rows with the names and states that records have."""
    records = context.app.runtime.backend.read([row.task_id for row in rows])
    return tuple(
        row if record is None else replace(row, state=record.state, task="" if row.group else record.task or row.task)
        for row, record in zip(rows, records, strict=True)
    )
