"""Sending workflows, and cancelling what was sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from drivetrain.app.ids import new_id
from drivetrain.contract import (
    Failure,
    NotSupported,
    PublishFailed,
    ServiceError,
    State,
    TaskRecord,
    Transition,
    UnknownResult,
)
from drivetrain.worker.follow_up import GROUP_TASK, FollowUp
from drivetrain.worker.patience import Patience
from drivetrain.worker.publisher import Publisher
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.advance import Effect, End, Failed, Open, Publish, Resumed, advance, after
from drivetrain.workflow.frames import Call, Fork, Frames, ids
from drivetrain.workflow.plan import plan
from drivetrain.workflow.signature import Workflow
from drivetrain.workflow.wire import load_frames

__all__ = ["Sending"]


class Sending:
    """The sender's side of an app. Thread-safe."""

    def __init__(self, runtime: Runtime, *, try_seconds: float) -> None:
        """Make it.

        Args:
            runtime: whose drivers.
            try_seconds: how long to try again while a service is away.
        """
        self._runtime = runtime
        #: Tries again while a service is away, for a while.
        self.patience = Patience(runtime.clock, limit_seconds=try_seconds)
        self._follow_up = FollowUp(runtime, Publisher(runtime, self.patience), self.patience)

    def send(self, workflows: Sequence[Workflow[Any]]) -> list[Frames]:
        """Send workflows, as one batch; the frames of each, with all ids given.

        Raises:
            InvalidSignature: one of them cannot be sent as written; then nothing was sent.
            NotSupported: the broker or the backend lacks what one of them needs; then nothing was sent.
            PublishFailed: the broker refused some; all others were sent.
        """
        planned = [plan(workflow, self._runtime.registry, new_id) for workflow in workflows]
        for frames in planned:
            self._check(frames)
        effects = [effect for frames in planned for effect in advance(frames, Resumed())]
        self._announce(effects)
        try:
            self._follow_up.perform(effects)
        except PublishFailed as error:
            with suppress(ServiceError):  # the error itself matters more; what is left behind expires with its workflow
                self._runtime.backend.forget(list(error.failures))
            raise
        return planned

    def cancel(self, task_ids: Iterable[str]) -> bool:
        """Cancel tasks that have not ended, and all that waits for them; whether there was any.

        Raises:
            UnknownResult: nothing is known of one of them.
        """
        task_ids = list(task_ids)
        records = self.patience.call("read", lambda: self._runtime.backend.read(task_ids))
        for task_id, record in zip(task_ids, records, strict=True):
            if record is None:
                raise UnknownResult(task_id)
        open_records = [record for record in records if record is not None and not record.state.terminal]
        for record in open_records:
            self._cancel(record)
        return bool(open_records)

    # Checking

    def _check(self, frames: Frames) -> None:
        levels = self._runtime.broker.capabilities.priority_levels
        remembers = self._runtime.backend.capabilities.stores
        if not remembers and any(isinstance(frame, Fork) for frame in frames):
            raise NotSupported("groups and chords need a backend that remembers, and this app's backend is null://")
        for call in _calls(frames):
            if call.priority >= levels:
                raise NotSupported(
                    f"task {call.task} has priority {call.priority}, and this app's broker knows "
                    + (f"0 to {levels - 1}" if levels > 1 else "no priorities (0 only)")
                )
            if call.retries is not None:
                self._runtime.retry_policy(call.retries.policy, call.retries.parameters)

    # Announcing

    def _announce(self, effects: Iterable[Effect]) -> None:
        """Record every task that waits for another as PENDING, with the id under which the backend finds what waits."""
        now, dump = self._runtime.clock.now(), self._runtime.payloads.dump
        waiting = [
            Transition(task_id=task_id, state=State.PENDING, at=now, task=task, downstream=dump({"in": first}))
            for first, frames in _waiting(effects)
            for task_id, task in _named(frames)
        ]
        if waiting:
            self.patience.call("record", lambda: self._runtime.backend.record(waiting))

    # Cancelling

    def _cancel(self, record: TaskRecord) -> None:
        failure = Failure(
            type="drivetrain.Cancelled",
            message="it was cancelled",
            task=record.task,
            task_id=record.task_id,
            attempt=record.attempt,
        )
        plain = self._runtime.registry.codec.encode(failure, Failure)
        self._follow_up.perform([End(record.task_id, State.CANCELLED, plain)])
        effects = advance(self._downstream(record), Failed(plain, None, State.CANCELLED))
        self._follow_up.perform(effects)

    def _downstream(self, record: TaskRecord) -> Frames:
        if record.downstream is None:
            return ()
        plain = self._runtime.payloads.load(record.downstream)
        if isinstance(plain, list):
            return load_frames(plain)
        before = self.patience.call("read", lambda: self._runtime.backend.read([plain["in"]]))[0]
        if before is None or before.task_id == record.task_id:
            return ()
        return after(self._downstream(before), record.task_id) or ()


def _calls(frames: Frames) -> Iterator[Call]:
    for frame in frames:
        if isinstance(frame, Call):
            yield frame
            for then in (*frame.on_success, *frame.on_error):
                yield from _calls(then)
        elif isinstance(frame, Fork):
            for branch in frame.branches:
                yield from _calls(branch)


def _waiting(effects: Iterable[Effect]) -> Iterator[tuple[str, Frames]]:
    for effect in effects:
        if isinstance(effect, Publish):
            yield effect.invocation.call.id, effect.invocation.frames
        elif isinstance(effect, Open):
            yield effect.group_id, effect.continuation


def _named(frames: Frames) -> Iterator[tuple[str, str]]:
    names = {call.id: call.task for call in _calls(frames)}
    for task_id in ids(frames):
        yield task_id, names.get(task_id, GROUP_TASK)
