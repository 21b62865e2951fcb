"""Revivals: plans what must be recorded again so that ended tasks run again. Reads only.

A task that failed has ended all that waited for it. To retry it, these tasks must wait again, and so must the groups
around it. A group completes only when all its members have succeeded, so all its failed members are retried together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import Factory, define, evolve, frozen
from msgspec.structs import replace

from drivetrain.app.bulk.group_journal import FailedGroup, GroupJournal
from drivetrain.app.bulk.messages import FoundMessage, MessageSearch
from drivetrain.contract import Failure, GroupRecord, QueueSection, SerializationError, State, TaskRecord
from drivetrain.worker.downstream import WaitsFor, load_downstream
from drivetrain.worker.effects import GROUP_TASK
from drivetrain.worker.kept_messages import KeptMessage, KeptMessages
from drivetrain.worker.publisher import workflow_of
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.advance import Publish
from drivetrain.workflow.frames import Frames, Invocation, Join
from drivetrain.workflow.wire import load_frames

__all__ = ["CannotRetry", "NotYet", "NothingToRetry", "Revival", "RevivalPlanner", "RevivedGroup", "RevivedTask"]


#: For how long after the end of a task its message may not be kept yet, in seconds.
_MOMENT_SECONDS = 5.0


class CannotRetry(Exception):
    """The task cannot be retried; the text says why."""


class NotYet(CannotRetry):
    """The task cannot be retried now; in a moment it perhaps can."""


class NothingToRetry(Exception):
    """The task needs no retry, or another task is the one to retry; the text says which."""


@frozen(kw_only=True)
class RevivedTask:
    """A task that will run again, and where its message was found."""

    #: Its next attempt.
    effect: Publish
    kept: KeptMessage | None = None
    letter: FoundMessage | None = None
    #: Whether its next attempt is recorded already: an earlier retry has stopped before it had published the message.
    is_recorded: bool = False


@frozen(kw_only=True)
class RevivedGroup:
    """A group that is opened again."""

    group: FailedGroup
    #: What follows it; without the end of its branch in an outer group that has gone on.
    continuation: Frames
    #: Whether it is open already: an earlier retry has stopped after it had opened the group.
    is_open: bool = False


@define
class Revival:
    """The plan of a retry: tasks that run again, and groups that are opened again."""

    tasks: dict[str, RevivedTask] = Factory(dict)
    groups: dict[str, RevivedGroup] = Factory(dict)

    def add(self, other: Revival) -> None:
        """Add what ``other`` plans."""
        self.tasks.update(other.tasks)
        self.groups.update(other.groups)


@frozen
class _Known:
    """What is stored of a task."""

    record: TaskRecord | None
    kept: KeptMessage | None


class RevivalPlanner:
    """Plans the retry of tasks. It changes nothing. Used by one thread.

    Args:
        runtime: the drivers of the app.
        kept_messages: reads the kept messages.
        journal: knows the groups whose revival has begun.
        messages: searches the queues.
    """

    def __init__(
        self, runtime: Runtime, *, kept_messages: KeptMessages, journal: GroupJournal, messages: MessageSearch
    ) -> None:
        self._runtime = runtime
        self._kept_messages = kept_messages
        self._journal = journal
        self._messages = messages

    def plan(self, task_ids: Sequence[str]) -> tuple[Revival, Mapping[str, Exception]]:
        """The revival of all those of ``task_ids`` that can be retried, and for the other ones why they cannot.

        Raises:
            ServiceError: a service could not be reached.
        """
        known, whole, refused = self._known(task_ids), Revival(), dict[str, Exception]()
        letters = self._letters(known)
        for task_id in task_ids:
            if task_id in whole.tasks:
                continue
            try:
                whole.add(self._plan_one(task_id, known, letters, whole))
            except (CannotRetry, NothingToRetry, SerializationError) as error:
                refused[task_id] = error
        return whole, refused

    def _plan_one(
        self, task_id: str, known: Mapping[str, _Known], letters: Mapping[str, FoundMessage], whole: Revival
    ) -> Revival:
        part, waiting = Revival(), [task_id]
        while waiting:
            one = waiting.pop()
            if one in part.tasks or one in whole.tasks:
                continue
            if one not in known:
                known = {**known, **self._known([one])}
                letters = {**letters, **self._letters({one: known[one]})}
            try:
                task = self._task(known[one], letters.get(one))
            except (CannotRetry, NothingToRetry) as error:
                if one == task_id:
                    raise
                kind = NotYet if isinstance(error, NotYet) else CannotRetry
                raise kind(f"another member of its group has failed with task {one}, and {error}") from error
            invocation = task.effect.invocation
            frames, causes = self._revive_groups(invocation.frames, part, whole)
            effect = replace(task.effect, invocation=replace(invocation, frames=frames))
            part.tasks[one] = evolve(task, effect=effect)
            waiting += causes
        return part

    # Tasks

    def _known(self, task_ids: Sequence[str]) -> dict[str, _Known]:
        records = self._runtime.backend.read(task_ids)
        kept = self._kept_messages.read(task_ids)
        return {one: _Known(record, kept.get(one)) for one, record in zip(task_ids, records, strict=True)}

    def _letters(self, known: Mapping[str, _Known]) -> Mapping[str, FoundMessage]:
        """The messages in the queues of those tasks whose message is not kept."""
        wanted = {
            task_id: one.record
            for task_id, one in known.items()
            if one.kept is None and one.record is not None and _failed_itself(one.record, self._runtime)
        }
        dead = self._messages.find({name: record.queue for name, record in wanted.items()}, [QueueSection.DEAD])
        # The message of a task that was cancelled early waits in its queue until a worker drops it.
        cancelled = {
            name: record.queue
            for name, record in wanted.items()
            if name not in dead and record.state is State.CANCELLED
        }
        return {**dead, **self._messages.find(cancelled, [QueueSection.DELAYED, QueueSection.READY])}

    def _task(self, known: _Known, letter: FoundMessage | None) -> RevivedTask:
        record, kept = known.record, known.kept
        if record is None and kept is None:
            raise CannotRetry("the backend has no record of it: the id is wrong, or its retention is over")
        if record is not None and kept is not None and _was_interrupted(record, kept):
            interrupted = replace(kept.invocation, attempt=record.attempt)
            return RevivedTask(effect=_next_attempt(interrupted, record, kept.workflow), kept=kept, is_recorded=True)
        if record is not None:
            self._check_record(record)
        if kept is None and letter is None:
            # A worker keeps a message after all that follows the end of its task, which a caller may have seen before.
            kind = NotYet if record is not None and self._has_just_ended(record) else CannotRetry
            raise kind(self._why_no_arguments(record))
        found = kept or _kept(letter)
        attempt = max(found.invocation.attempt, 0 if record is None else record.attempt) + 1
        invocation = replace(found.invocation, attempt=attempt)
        return RevivedTask(effect=_next_attempt(invocation, record, found.workflow), kept=kept, letter=letter)

    def _has_just_ended(self, record: TaskRecord) -> bool:
        ended = record.history.get(record.state)
        return ended is not None and abs(self._runtime.clock.now() - ended.at) < _MOMENT_SECONDS

    def _why_no_arguments(self, record: TaskRecord | None) -> str:
        if not self._runtime.keeps_failed:
            return "its arguments are not stored, because the setting keep_failed is off; send it again"
        gone = "its arguments are no longer stored; send it again"
        if record is None or record.state is not State.CANCELLED or self._runtime.broker.capabilities.peeks:
            return gone
        return f"{gone}. If no worker has received it yet, retry it later: this broker cannot show its message"

    def _check_record(self, record: TaskRecord) -> None:
        if not record.state.terminal:
            raise NothingToRetry(f"it has not ended: it is {record.state}")
        if record.state is State.SUCCESS:
            raise NothingToRetry("it has succeeded")
        cause = self._cause(record)
        if record.task == GROUP_TASK:
            raise NothingToRetry(f"it is a group, which failed with task {cause}; retry that task")
        if cause != record.task_id:
            raise NothingToRetry(f"it did not run, because task {cause} ended without success; retry that task")
        if _waited(record, self._runtime):
            raise NothingToRetry("it did not run, because it waited for another task of its workflow; retry that task")

    def _cause(self, record: TaskRecord) -> str:
        failure = self._failure(record.payload)
        return record.task_id if failure is None else failure.task_id

    def _failure(self, payload: bytes | None) -> Failure | None:
        plain = None if payload is None else self._runtime.payloads.load(payload)
        decoded = self._runtime.registry.codec.decode(plain)
        return decoded if isinstance(decoded, Failure) else None

    # Groups

    def _revive_groups(self, frames: Frames, part: Revival, whole: Revival) -> tuple[Frames, list[str]]:
        """The frames of a task in the groups that are opened again, and the tasks that must be retried with it."""
        causes: list[str] = []
        own, inner = frames, ""
        while frames and isinstance(join := frames[-1], Join):
            if join.group_id in part.groups or join.group_id in whole.groups:
                break
            (group,) = self._runtime.backend.read_groups([join.group_id])
            if group is not None and group.collect:
                # The group has gone on with the failure. So the task, or the group inside, runs again by itself.
                if inner:
                    part.groups[inner] = evolve(part.groups[inner], continuation=frames[:-1])
                else:
                    own = frames[:-1]
                break
            revived = self._revived_group(join.group_id, group)
            if revived is None:
                break
            part.groups[join.group_id] = revived
            causes += revived.group.causes.values()
            frames, inner = revived.continuation, join.group_id
        return own, causes

    def _revived_group(self, group_id: str, group: GroupRecord | None) -> RevivedGroup | None:
        """The group, to be opened again; None: it is open, and nothing is to be done."""
        if group is not None and group.failed:
            return self._revived(self._failed_group(group))
        journal = self._journal.load(group_id)
        if group is None:
            if journal is None:
                raise CannotRetry(f"its group {group_id} is no longer stored; send the workflow again")
            return self._revived(journal)
        if journal is None:
            return None
        # An earlier retry has stopped after it had opened the group. It may have sent some of the tasks.
        causes = {index: one for index, one in journal.causes.items() if not self._runs_again(one)}
        return evolve(self._revived(replace(journal, causes=causes)), is_open=True)

    def _revived(self, group: FailedGroup) -> RevivedGroup:
        return RevivedGroup(group=group, continuation=load_frames(self._runtime.payloads.load(group.continuation)))

    def _runs_again(self, task_id: str) -> bool:
        """Whether a task that had failed was sent again."""
        (record,) = self._runtime.backend.read([task_id])
        return record is not None and (not record.state.terminal or record.state is State.SUCCESS)

    def _failed_group(self, group: GroupRecord) -> FailedGroup:
        group_id = group.group_id
        if group.done < group.size:
            count = group.size - group.done
            raise CannotRetry(
                f"{count} of {group.size} members of its group {group_id} have not ended; retry it when they have"
            )
        (record,) = self._runtime.backend.read([group_id])
        if record is not None and not record.state.terminal:
            raise NotYet(f"its group {group_id} is about to end; try again in a moment")
        succeeded, causes = dict[int, bytes](), dict[int, str]()
        for index, payload in enumerate(self._runtime.backend.read_members(group_id)):
            if payload is None:
                raise CannotRetry(f"the backend has lost results of its group {group_id}; send the workflow again")
            failure = self._failure(payload)
            if failure is None:
                succeeded[index] = payload
            else:
                causes[index] = failure.task_id
        return FailedGroup(
            group_id=group_id,
            size=group.size,
            continuation=group.continuation,
            succeeded=succeeded,
            causes=causes,
            workflow="" if record is None else record.workflow,
            parent="" if record is None else record.parent,
        )


def _was_interrupted(record: TaskRecord, kept: KeptMessage) -> bool:
    """Whether a retry has recorded the next attempt, and has not yet dropped the kept message, which it does last."""
    return record.state is State.PENDING and record.attempt > kept.invocation.attempt


def _kept(letter: FoundMessage | None) -> KeptMessage:
    if letter is None:
        raise AssertionError("there is neither a kept message nor a message in a queue")
    return KeptMessage(letter.invocation, workflow_of(letter.message))


def _next_attempt(invocation: Invocation, record: TaskRecord | None, workflow: str) -> Publish:
    """The effect that publishes an attempt now and without an end: these times were those of the first attempt."""
    call = replace(invocation.call, eta=None, delay=None, expires_at=None, expires_after=None)
    invocation, first = replace(invocation, call=call), next(iter(invocation.frames), None)
    # A retry that was interrupted leaves no record for a moment.
    group_id = first.group_id if isinstance(first, Join) else ""
    return Publish(invocation, workflow, group_id if record is None else record.parent)


def _waited(record: TaskRecord, runtime: Runtime) -> bool:
    """Whether a task ended before it was published: its record still names the task for which it waited."""
    return isinstance(load_downstream(record, runtime.payloads), WaitsFor)


def _failed_itself(record: TaskRecord, runtime: Runtime) -> bool:
    """Whether the message of an ended task may be in a queue."""
    ended = record.state.terminal and record.state is not State.SUCCESS
    return ended and record.task != GROUP_TASK and not _waited(record, runtime)
