"""Sending workflows, and cancelling what was sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from drivetrain.app.ids import new_id
from drivetrain.app.task_ids import check_known, names, parts
from drivetrain.app.unique_sending import UniqueClaims
from drivetrain.contract import (
    Failure,
    InvalidSignature,
    NotSupported,
    PublishFailed,
    SerializationError,
    ServiceError,
    State,
    TaskRecord,
    Transition,
    UnknownResult,
    evolve,
)
from drivetrain.worker.announcing import announce
from drivetrain.worker.downstream import Downstream, downstream, load_downstream
from drivetrain.worker.effects import EffectRunner
from drivetrain.worker.events import event_of
from drivetrain.worker.execution import failure_of
from drivetrain.worker.fair_keys import check_fair_keys, required_fair_key
from drivetrain.worker.payloads import Payloads
from drivetrain.worker.publisher import Publisher
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.send_calls import SharedSendCalls
from drivetrain.worker.unfinished import Unfinished
from drivetrain.workflow.advance import Complete, Effect, End, Failed, Publish, Resumed, advance
from drivetrain.workflow.amending import amend_calls
from drivetrain.workflow.frames import Call, Frames, Invocation, ids
from drivetrain.workflow.plan import plan
from drivetrain.workflow.signature import Signature, Workflow

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

__all__ = ["Sender"]


class Sender:
    """Sends and cancels workflows. Thread-safe.

    Args:
        runtime: the drivers and settings of the app.
        limit_seconds: how long to retry while a service is unavailable.
        fence: see `Publisher`; for a sender whose messages may be sent again, as those of a worker. None: no fence, and
            concurrent sends share calls of the drivers.
    """

    def __init__(self, runtime: Runtime, *, limit_seconds: float, fence: Callable[[], None] | None = None) -> None:
        self._runtime = runtime
        #: Retries while a service is unavailable.
        self.retrier = Retrier(runtime.clock, limit_seconds=limit_seconds)
        #: Publishes invocations.
        shared = SharedSendCalls(runtime) if fence is None else None
        self.publisher = Publisher(runtime, self.retrier, worker=fence is not None, fence=fence, shared=shared)
        #: Performs effects.
        self.effect_runner = EffectRunner(runtime, self.publisher, self.retrier)
        self._claims = UniqueClaims(runtime, self.retrier)

    def send(self, workflows: Sequence[Workflow[Any]]) -> list[Frames]:
        """Send workflows, as one batch; the frames of each, with all ids given.

        Raises:
            InvalidSignature: one of them cannot be sent as written, or under its id; then nothing was sent.
            PluginFailed: a plugin has failed in its hook ``publish_headers``; then nothing was sent.
            AlreadySent: another task holds the key of a unique one; then nothing was sent.
            NotSupported: the broker or the backend lacks what one of them needs; then nothing was sent.
            PublishFailed: the broker refused some; all others were sent.
        """
        return self.send_frames(*self.plan(workflows))

    def submit(
        self, workflow: Workflow[Any], loop: AbstractEventLoop
    ) -> tuple[Frames, Awaitable[Sequence[bool] | None]] | None:
        """Send a lone task as `send` does, without blocking: for coroutines.

        Returns:
            Its frames, and to be awaited: whether it is sent; see `Publisher.submit`. Unless it is, use `repeat`. None:
            it cannot be sent without blocking, and nothing is done; use `send`.
        """
        if not self._is_lone(workflow):
            return None
        (frames,), made = self.plan([workflow])
        self._check([frames], made)
        (effect,) = advance(frames, Resumed())
        if not isinstance(effect, Publish):
            return None
        published = self.publisher.submit(effect.invocation, self.effect_runner.pending(effect), loop)
        return None if published is None else (frames, published)

    def repeat(self, frames: Frames) -> None:
        """Send what `submit` has perhaps not sent. Raises as `send` does."""
        self._perform([frames])

    def _is_lone(self, workflow: Workflow[Any]) -> bool:
        """Whether to send it only takes one record and one message, and no other call of a service or a plugin."""
        if self._runtime.acting.adds_headers or not isinstance(workflow, Signature):
            return False
        registry = self._runtime.registry
        unique = registry.unique and workflow.task in registry and registry[workflow.task].unique is not None
        return not (unique or workflow.on_success or workflow.on_error or workflow.options.task_id)

    def plan(self, workflows: Sequence[Workflow[Any]]) -> tuple[list[Frames], AbstractSet[str]]:
        """The frames of workflows, with all ids given; and the ids that were made for them. Sends nothing.

        Raises:
            InvalidSignature: one of them cannot be sent as written.
        """
        made: set[str] = set()

        def make_id() -> str:
            task_id = new_id()
            made.add(task_id)
            return task_id

        return [plan(workflow, self._runtime.registry, make_id) for workflow in workflows], made

    def send_frames(self, planned: Sequence[Frames], made: AbstractSet[str]) -> list[Frames]:
        """Send planned workflows, as one batch; their frames. Raises as `send` does.

        Args:
            planned: the frames of each workflow.
            made: the ids that were made for it, and that no other task can have.
        """
        planned = list(planned)
        if self._runtime.acting.adds_headers:
            planned = [self._with_headers(frames) for frames in planned]
        self._check(planned, made)
        if self._runtime.registry.unique:
            return self._send_unique(planned)
        self._perform(planned)
        return planned

    def _send_unique(self, planned: Sequence[Frames]) -> list[Frames]:
        """Send workflows of which some may be unique tasks; the frames of each, as `send` returns them."""
        claimed = self._claims.claim(planned)
        if claimed.replaced:
            with suppress(UnknownResult):  # it was claimed, and never sent
                self.cancel(claimed.replaced)
        try:
            self._perform(claimed.sent)
        except PublishFailed as error:
            with suppress(ServiceError):  # the error itself matters more
                self._claims.give_up(error.failures, claimed)
            raise
        return claimed.planned

    def _perform(self, planned: Sequence[Frames]) -> None:
        effects = [effect for frames in planned for effect in advance(frames, Resumed(), workflow=_workflow_id(frames))]
        self.announce(effects)
        try:
            self.effect_runner.perform(effects)
        except PublishFailed as error:
            with suppress(ServiceError):  # the error itself matters more
                self._take_back(effects, error)
            raise

    def _take_back(self, effects: Iterable[Effect], error: PublishFailed) -> None:
        """Remove the records of tasks that depend on unpublished ones, so that they can be sent again."""
        for effect in effects:
            if isinstance(effect, Publish) and effect.invocation.call.id in error.failures:
                call, frames = effect.invocation.call, effect.invocation.frames
                failure = failure_of(effect.invocation, error.failures[call.id])
                event = Failed(self._runtime.registry.codec.encode(failure))
                ended = advance(frames, event, workflow=effect.workflow)
                self.effect_runner.perform(
                    one for one in ended if isinstance(one, Complete)
                )  # others may be in that group
                self._runtime.backend.forget([call.id, *ids(frames)])

    def cancel(self, task_ids: Iterable[str]) -> bool:
        """Cancel tasks that have not ended, and all tasks that depend on them.

        Returns:
            Whether any of them is cancelled, by this call or by an earlier one.

        Raises:
            UnknownResult: the backend has no record of any of them.
        """
        task_ids = list(task_ids)
        records = [record for record in self._read(task_ids) if record is not None]
        if task_ids and not records:
            raise UnknownResult(task_ids[0])
        records += self._replacing(records)
        # Also those that were cancelled before: that caller may have stopped before it cancelled what depends on them.
        cancelled = [record for record in records if record.state is State.CANCELLED]
        cancelled += self._record_cancelled([record for record in records if not record.state.terminal])
        self._cancel_downstream(cancelled)
        return bool(cancelled)

    def _replacing(self, records: Sequence[TaskRecord]) -> list[TaskRecord]:
        """The records of the tasks and groups that replace unfinished ones of ``records``, directly or further on."""
        found: list[TaskRecord] = []
        while records := [record for record in records if record.state is State.RETRY]:
            known = [load_downstream(record, self._runtime.payloads) for record in records]
            names = [name for one in known if isinstance(one, Downstream) for name in ids(one.replacement)]
            records = [record for record in self._read(names) if record is not None] if names else []
            found += records
        return found

    def _record_cancelled(self, records: Sequence[TaskRecord]) -> list[TaskRecord]:
        """Record tasks as cancelled; those that are cancelled now. The others have ended since they were read."""
        if not records:
            return []
        backend = self._runtime.backend
        transitions = [self._cancelling(record) for record in records]
        outcomes = self.retrier.call("record", lambda: backend.record(transitions))
        # Granted although there was no record: the task has ended since it was read, and its record has expired.
        gone = [one.task_id for one, outcome in zip(records, outcomes, strict=True) if outcome.before is None]
        if gone:
            self.retrier.call("forget", lambda: backend.forget(gone))
        # After a lost reply, the second try finds what the first one has recorded.
        return [
            outcome.before
            for outcome in outcomes
            if outcome.before is not None and (outcome.applied or outcome.before.state is State.CANCELLED)
        ]

    def _cancelling(self, record: TaskRecord) -> Transition:
        transition = self.effect_runner.ended(self._cancelled(record))
        return evolve(transition, retention=self._retention_until_due(record, transition.retention))

    def _retention_until_due(self, record: TaskRecord, retention: float | None) -> float | None:
        """How long to keep the record of a cancelled task, in seconds; None: without limit.

        Its message stays with the broker until it is due. Without the record, the task would run then.
        """
        due = _due(record, self._runtime.payloads)
        if due is None or retention is None:
            return retention
        return max(retention, due - self._runtime.clock.now() + self._runtime.redelivery_window_seconds)

    def _cancel_downstream(self, records: Sequence[TaskRecord]) -> None:
        load_bodies = self.effect_runner.long_chains.load_bodies
        following = downstream(records, self._runtime.payloads, self._read, load_bodies)
        self.effect_runner.perform(
            effect
            for record, frames in zip(records, following, strict=True)
            for event in [Failed(self._cancelled(record).failure, None, State.CANCELLED)]
            for effect in advance(frames, event, workflow=record.workflow)
        )

    def reset_for_replay(self, invocation: Invocation, *, workflow: str = "") -> None:
        """Record a task that has ended, and all tasks that depend on it, as they were when it was sent.

        Args:
            invocation: the task.
            workflow: the id of the first task or group of its workflow; empty: it is a workflow by itself.
        """
        backend, task_id = self._runtime.backend, invocation.call.id
        (before,) = self._read([task_id])
        effect = Publish(invocation, workflow, parent="" if before is None else before.parent)
        first, gone = self.effect_runner.pending(effect), [task_id, *ids(invocation.frames)]
        self.retrier.call("forget", lambda: backend.forget(gone))
        self.retrier.call("record", lambda: backend.record([first]))
        self.announce([effect])

    def _read(self, task_ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        return self.retrier.call("read", lambda: self._runtime.backend.read(task_ids))

    # Headers

    def _with_headers(self, frames: Frames) -> Frames:
        """Frames whose calls carry the headers that plugins add."""
        acting, workflow = self._runtime.acting, _workflow_id(frames)

        def amend(call: Call) -> Call:
            headers = acting.headers(evolve(event_of(Invocation(call=call), ""), workflow=workflow))
            return replace(call, headers=dict(headers)) if headers else call

        return amend_calls(frames, amend)

    # Checking

    def _check(self, planned: Sequence[Frames], made: AbstractSet[str]) -> None:
        """Check what was planned, and the ids that users gave: those that were not ``made`` for it."""
        levels, own = self._runtime.broker.capabilities.priority_levels, False
        if self._runtime.registry.fair:
            self._check_fair_keys(planned)
        for part in parts(planned):
            if isinstance(part, Call):
                if part.priority >= levels or part.retries is not None:
                    self._check_call(part, levels)
                own = own or part.id not in made
            else:
                if not self._runtime.backend.capabilities.stores:
                    raise NotSupported(
                        "groups and chords need a backend that stores results, and this app's backend is null://"
                    )
                own = own or part.group_id not in made
        if own:
            same = self._runtime.registry.same
            given = {task_id: name for task_id, name in names(planned, same).items() if task_id not in made}
            if self._runtime.backend.capabilities.stores:
                check_known(given, self._read(list(given)), same)

    def _check_fair_keys(self, planned: Sequence[Frames]) -> None:
        registry = self._runtime.registry
        calls = [part for part in parts(planned) if isinstance(part, Call)]
        known = [found for call in calls if (found := registry.get(call.task)) is not None]
        check_fair_keys(known, self._runtime.broker.capabilities)
        for first, *_ in planned:  # later calls get an argument from the task before them
            if isinstance(first, Call) and (definition := registry.get(first.task)) is not None:
                try:
                    required_fair_key(definition, first)
                except Exception as error:
                    raise InvalidSignature(
                        f"the fair_by of task {first.task} failed with {type(error).__name__}: {error}"
                    ) from error

    def _check_call(self, call: Call, levels: int) -> None:
        if call.priority >= levels:
            raise NotSupported(
                f"task {call.task} has priority {call.priority}, and this app's broker knows "
                + (f"0 to {levels - 1}" if levels > 1 else "no priorities (0 only)")
            )
        if call.retries is not None:
            self._runtime.retry_policy(call.retries.policy, call.retries.parameters)

    # Announcing

    def announce(self, effects: Iterable[Effect]) -> None:
        """See `drivetrain.worker.announcing.announce`."""
        announce(self._runtime, self.retrier, effects)

    # Cancelling

    def _cancelled(self, record: TaskRecord) -> End:
        failure = Failure(
            type="drivetrain.Cancelled",
            message="it was cancelled",
            task=record.task,
            task_id=record.task_id,
            attempt=record.attempt,
        )
        return End(record.task_id, State.CANCELLED, self._runtime.registry.codec.encode(failure, Failure))


def _workflow_id(frames: Frames) -> str:
    """The id of a workflow: that of its first task or group; empty if it is a single task without callbacks."""
    first = frames[0]
    if not isinstance(first, Call):
        return first.group_id
    alone = len(frames) == 1 and not first.has_callbacks
    return "" if alone else first.id


def _due(record: TaskRecord, payloads: Payloads) -> float | None:
    """When the next attempt of an unfinished task is due, in Unix seconds; None: at once, or it is not known."""
    try:
        return Unfinished.load(payloads, record).due
    except SerializationError:  # a newer version has written it
        return None
