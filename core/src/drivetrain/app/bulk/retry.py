"""Retries of ended tasks: each runs again as a new attempt of the same id, and what waited for it waits again."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from drivetrain.app.bulk.group_journal import GroupJournal
from drivetrain.app.bulk.messages import MessageSearch, body_keys
from drivetrain.app.bulk.outcomes import TaskOutcome, done, failed, skipped
from drivetrain.app.bulk.revival import CannotRetry, NotYet, Revival, RevivalPlanner, RevivedGroup, RevivedTask
from drivetrain.app.bulk.unique_retries import claim_again
from drivetrain.app.sending import Sender
from drivetrain.contract import Completion, Member, NotSupported, QueueSection, ServiceError, State
from drivetrain.worker.kept_messages import KeptMessage, KeptMessages
from drivetrain.worker.publisher import workflow_of
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.value_lock import ValueLock
from drivetrain.workflow.advance import Open
from drivetrain.workflow.frames import Frames, Invocation, calls, ids

__all__ = ["TaskReviver"]

#: The name of the lock of the process that retries: two retries of one task at once would run it twice.
_LOCK = "drivetrain.retry"
_LOCK_SECONDS = 20.0
#: How long a process waits for the lock, in seconds.
_LONGEST_WAIT_SECONDS = 120.0
#: How often a process that waits for the lock asks for it, in seconds.
_POLL_SECONDS = 0.1
#: How often a retry is planned while a worker may be about to finish what ended a task.
_PLANS = 20
#: How many members of a group are completed in one call.
_BATCH = 1000


class TaskReviver:
    """Retries tasks that have ended without success. Used by one thread.

    Args:
        runtime: the drivers of the app.
        sender: records and publishes.
        messages: searches the queues for messages that are not kept.
    """

    def __init__(self, runtime: Runtime, sender: Sender, messages: MessageSearch) -> None:
        self._runtime = runtime
        self._sender = sender
        self._messages = messages
        self._kept_messages = KeptMessages(runtime, sender.retrier)
        self._journal = GroupJournal(runtime)
        self._planner = RevivalPlanner(
            runtime, kept_messages=self._kept_messages, journal=self._journal, messages=messages
        )
        self._lock = ValueLock(lambda: runtime.backend, _LOCK, seconds=_LOCK_SECONDS)

    def retry(self, task_ids: Sequence[str]) -> list[TaskOutcome]:
        """Retry tasks; the outcome of each, in order. To call it again after a failure or a crash goes on.

        Raises:
            NotSupported: the backend stores nothing.
            ServiceError: a service could not be reached, or another process retries tasks for too long.
        """
        if not self._runtime.backend.capabilities.stores:
            raise NotSupported("retrying needs a backend that stores results, and this app's backend is null://")
        self._acquire()
        try:
            revival, refused = self._plan(task_ids)
            refused = {**refused, **self._give_way(revival)}
            self._revive(revival)
        finally:
            self._lock.release()
        return [_outcome(task_id, refused.get(task_id)) for task_id in task_ids]

    def _plan(self, task_ids: Sequence[str]) -> tuple[Revival, Mapping[str, Exception]]:
        """Plan the retries; again for a moment while a worker may be about to finish what ended a task."""
        for _ in range(_PLANS - 1):
            revival, refused = self._planner.plan(task_ids)
            if not any(isinstance(error, NotYet) for error in refused.values()):
                return revival, refused
            self._runtime.clock.wait_event(threading.Event(), _POLL_SECONDS)
        return self._planner.plan(task_ids)

    def _give_way(self, revival: Revival) -> Mapping[str, Exception]:
        """Leave out unique tasks whose key another task holds. A unique task is a workflow by itself."""
        holders = claim_again(self._runtime, [one.effect.invocation.call for one in revival.tasks.values()])
        for task_id in holders:
            del revival.tasks[task_id]
        text = "task {} holds its unique key; retry it when that task has ended"
        return {task_id: CannotRetry(text.format(holder)) for task_id, holder in holders.items()}

    def _acquire(self) -> None:
        clock = self._runtime.clock
        deadline = clock.monotonic() + _LONGEST_WAIT_SECONDS
        while not self._lock.acquire():
            if clock.monotonic() > deadline:
                raise ServiceError("another process has retried tasks for two minutes; try again later")
            clock.wait_event(threading.Event(), _POLL_SECONDS)

    def _revive(self, revival: Revival) -> None:
        """Do what is planned. The tasks come last: until then, a repeated call finds them ended, and repeats all."""
        if not revival.tasks:
            return
        self._keep_letters(revival)
        if not self._lock.renew():
            raise ServiceError("this process has lost the lock drivetrain.retry; try again")
        groups, effects = list(revival.groups.values()), [one.effect for one in revival.tasks.values()]
        self._journal.store([one.group for one in groups if not one.is_open])
        self._forget_ended(groups, [one.invocation for one in effects])
        self._open(groups)
        self._journal.drop([one.group.group_id for one in groups])
        self._sender.announce([*map(_open, groups), *effects])
        self._publish(list(revival.tasks.values()))
        self._kept_messages.drop({name: one.kept for name, one in revival.tasks.items() if one.kept is not None})

    def _keep_letters(self, revival: Revival) -> None:
        """Drop the dead letters of the tasks, which would otherwise be replayed later. Until the end they are kept."""
        found = [one.letter for one in revival.tasks.values() if one.letter is not None]
        self._kept_messages.keep([KeptMessage(one.invocation, workflow_of(one.message)) for one in found])
        letters = [one.message for one in found if one.section is QueueSection.DEAD]
        for queue in {letter.queue for letter in letters}:
            self._runtime.broker.drop_dead_letters(queue, [one.id for one in letters if one.queue == queue])
        self._runtime.backend.drop_bodies(body_keys(self._runtime, letters))
        self._messages.forget(letter.id for letter in letters)

    def _forget_ended(self, groups: Sequence[RevivedGroup], invocations: Sequence[Invocation]) -> None:
        """Forget what ended with the tasks. What has not ended, or has succeeded, runs since an earlier retry."""
        frames = [*(one.continuation for one in groups), *(one.frames for one in invocations)]
        waiting = {task_id for one in frames for task_id in ids(one)}
        callbacks = {task_id for then in _error_callbacks(frames, invocations) for task_id in ids(then)}
        known = [*waiting, *callbacks]
        records = [one for one in self._runtime.backend.read(known) if one is not None and one.state.terminal]
        self._runtime.backend.forget(
            [one.task_id for one in records if one.task_id in callbacks or one.state is not State.SUCCESS]
        )

    def _open(self, groups: Sequence[RevivedGroup]) -> None:
        """Open groups again, with the members that have succeeded."""
        backend = self._runtime.backend
        backend.forget([one.group.group_id for one in groups if not one.is_open])
        self._sender.effect_runner.perform([_open(one) for one in groups])
        completions = [
            Completion(member=Member(one.group.group_id, index), payload=payload)
            for one in groups
            for index, payload in one.group.succeeded.items()
        ]
        for first in range(0, len(completions), _BATCH):
            backend.complete(completions[first : first + _BATCH])

    def _publish(self, tasks: Sequence[RevivedTask]) -> None:
        effects = [one.effect for one in tasks]
        pending = [replace(self._sender.effect_runner.pending(one), attempt=one.invocation.attempt) for one in effects]
        gone = [one.effect.invocation.call.id for one in tasks if not one.is_recorded]
        self._runtime.backend.forget(gone)
        self._sender.publisher.record_and_publish([one.invocation for one in effects], pending)


def _outcome(task_id: str, refused: Exception | None) -> TaskOutcome:
    if refused is None:
        return done(task_id)
    return failed(task_id, str(refused)) if isinstance(refused, CannotRetry) else skipped(task_id, str(refused))


def _open(one: RevivedGroup) -> Open:
    group = one.group
    return Open(group.group_id, group.size, False, one.continuation, group.workflow, group.parent)


def _error_callbacks(frames: Sequence[Frames], invocations: Sequence[Invocation]) -> Iterator[Frames]:
    """The error callbacks that the failures have led to. They run again if the next attempt fails."""
    for one in invocations:
        yield from (*one.call.on_error, *one.call.workflow_on_error)
    for waiting in frames:
        for call in calls(waiting):
            yield from call.on_error
