"""Records the results of runs in the backend, within its size limit."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from drivetrain.contract import (
    Failure,
    GroupProgress,
    Member,
    Outcome,
    State,
    TooLarge,
    Transition,
    evolve,
)
from drivetrain.worker.downstream import dump_downstream
from drivetrain.worker.effects import EffectRunner
from drivetrain.worker.events import event_of_run
from drivetrain.worker.execution import failure_of
from drivetrain.worker.log_text import shortened
from drivetrain.worker.logs import get_logger
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.results import ResultFactory, dead_reason_of
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.run import RunResult, log_extra
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.frames import Join
from drivetrain.workflow.wire import dump_frames

__all__ = ["ResultRecorder"]

logger = get_logger("drivetrain.worker")

#: The largest failure where the backend has no limit, in characters.
_LARGEST_FAILURE = 1_000_000


class ResultRecorder:
    """Records results. Thread-safe; recording a result again changes nothing.

    All methods that record raise `GaveUp` if the worker stops while the backend is unavailable.
    """

    def __init__(
        self, runtime: Runtime, options: WorkerOptions, *, effect_runner: EffectRunner, retrier: Retrier
    ) -> None:
        self._runtime = runtime
        self._options = options
        self._effect_runner = effect_runner
        self._retrier = retrier
        self._results = ResultFactory(runtime)
        self._largest_value = runtime.backend.capabilities.largest_value_bytes

    def record(self, results: Sequence[RunResult]) -> tuple[list[RunResult], dict[Member, GroupProgress]]:
        """Record results; the results as recorded, and the progress of the groups whose members have ended.

        A result is missing if another worker has taken over its task: that worker settles it.
        """
        results = [self._with_dead_reason(result) if result.state is State.FAILURE else result for result in results]
        results = [self._within_size_limit(result) for result in results] if self._largest_value else results
        fresh = [result for result in results if not result.recorded]
        now = self._runtime.clock.now()
        transitions = [self._transition(result, now) for result in fresh]
        if not transitions:
            return list(results), {}
        outcomes = self._retrier.call("record", lambda: self._runtime.backend.record(transitions))
        settled = [result for result in results if result.recorded]
        progress: dict[Member, GroupProgress] = {}
        for result, transition, outcome in zip(fresh, transitions, outcomes, strict=True):
            if (recorded := self._recorded_result(result, transition, outcome)) is not None:
                settled.append(recorded)
            if outcome.applied and outcome.group is not None and transition.member is not None:
                progress[transition.member] = outcome.group
        return settled, progress

    def record_failure(self, failed: RunResult) -> Outcome:
        """Record a result of `unsettled`; what became of it."""
        transition = self._transition(failed, self._runtime.clock.now())
        return self._retrier.call("record", lambda: self._runtime.backend.record([transition]))[0]

    def unsettled(self, result: RunResult, error: Exception, *, dead_reason: str) -> RunResult:
        """The failure of a result that cannot be settled because of ``error``. Its message is dead-lettered."""
        failed = replace(self._failed_by(result, error), dead_reason=dead_reason)
        return self._within_size_limit(self._with_dead_reason(failed))

    def _failed_by(self, result: RunResult, error: Exception) -> RunResult:
        """The failure that ``result`` becomes because of ``error``."""
        failure = self._shortened(failure_of(result.invocation, error))
        plain = self._runtime.registry.codec.encode(failure)
        return replace(
            result, state=State.FAILURE, value=None, replacement=(), failure=plain, error=failure, recorded=False
        )

    def _with_dead_reason(self, result: RunResult) -> RunResult:
        """The failure with the reason of its dead letter, for a worker that receives the message again."""
        reason = dead_reason_of(result)
        if reason is None or result.error is None or result.recorded:
            return result
        error = evolve(result.error, dead_reason=shortened(reason))
        plain = self._runtime.registry.codec.encode(error)
        return replace(result, failure=plain, error=error, dead_reason=reason)

    def _within_size_limit(self, result: RunResult) -> RunResult:
        """The result, or a failure where it is too large for the backend."""
        limit = self._largest_value
        if limit is None or result.recorded or (size := len(self._payload(result))) <= limit:
            return result
        if result.error is not None:
            short = self._shortened(result.error)
            return replace(result, failure=self._runtime.registry.codec.encode(short), error=short)
        return self._failed_by(result, TooLarge(f"the result of task {result.task_id}", size, limit))

    def _shortened(self, failure: Failure) -> Failure:
        """The failure, shortened to a size that the backend accepts."""
        most = _LARGEST_FAILURE if self._largest_value is None else self._largest_value // 32
        texts = len(failure.message) + len(failure.traceback) + len(failure.dead_reason)
        if texts + len(repr((failure.args, failure.kwargs))) <= most:
            return failure
        return evolve(
            failure,
            message=failure.message[: most // 2],
            traceback=failure.traceback[-most // 2 :],
            args=(),
            kwargs={},
            dead_reason=failure.dead_reason[: most // 2],
        )

    def _recorded_result(self, result: RunResult, transition: Transition, outcome: Outcome) -> RunResult | None:
        """The result as recorded; None if another worker has taken over the task, and settles it."""
        before = outcome.before
        if outcome.applied or before is None:
            return result
        ours = (
            before.run == transition.run and before.state is transition.state and before.attempt == transition.attempt
        )
        if ours:
            return result  # recorded before; only the answer was lost
        self._notify_discarded(result, before.state)
        if before.state.terminal:
            if before.state is not State.CANCELLED:  # which is logged when the heartbeat finds it
                _log_discarded(result, f"another run of it had ended as {before.state.value}")
            return replace(self._results.recorded(result.delivery, result.invocation, before), run=result.run)
        _log_discarded(result, "another worker has taken the task over")
        return None

    def _notify_discarded(self, result: RunResult, recorded: State) -> None:
        runtime = self._runtime
        if result.run is not None and runtime.observers.watches("result_discarded"):
            event = event_of_run(
                result.run, self._options.name, runtime.clock, state=result.state, run_seconds=result.run_seconds
            )
            runtime.observers.notify("result_discarded", event=event, recorded=recorded)

    def _transition(self, result: RunResult, now: float) -> Transition:
        call, frames = result.invocation.call, result.invocation.frames
        terminal, first = result.state.terminal, frames[0] if frames else None
        return Transition(
            task_id=call.id,
            state=result.state,
            attempt=result.invocation.attempt,
            at=now,
            worker=self._options.name,
            task=call.task,
            run=None if result.run is None else result.run.id,
            payload=self._payload(result),
            downstream=self._downstream(result) if result.replacement else None,
            retention=self._runtime.record_retention_seconds(call.retention) if terminal else None,
            member=first.member if terminal and isinstance(first, Join) else None,
        )

    def _downstream(self, result: RunResult) -> bytes:
        """For the record of a replaced task: what replaces it, and what follows."""
        call, frames = result.invocation.call, result.invocation.frames
        known = dump_downstream(frames, call=call, replacement=result.replacement, largest_bytes=self._largest_value)
        return self._runtime.payloads.dump(known)

    def _payload(self, result: RunResult) -> bytes:
        dump = self._runtime.payloads.dump
        if result.state is State.SUCCESS:
            return dump(result.value)
        if result.state is State.RETRY:
            unfinished = self._effect_runner.unfinished(result.invocation, due=result.retry_at, failure=result.failure)
            if result.replacement:
                unfinished = replace(unfinished, replacement=dump_frames(result.replacement))
            return unfinished.dump(self._runtime.payloads)
        return dump(result.failure)


def _log_discarded(result: RunResult, reason: str) -> None:
    text = "task %s: result discarded, because %s"
    logger.warning(text, result.task_id, reason, extra=log_extra(result.invocation))
