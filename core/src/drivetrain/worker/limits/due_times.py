"""Records when tasks are due that wait for long: a rescue must not take them for lost ones."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from drivetrain.contract import Outcome, State, Transition
from drivetrain.worker.effects import EffectRunner
from drivetrain.worker.limits.waits import WaitingFor
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.run import Run
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.frames import UNIQUE_HEADER

__all__ = ["DueTimes"]

#: From this wait on, the due time of a task is recorded, in seconds. A rescue waits for longer.
_RECORDED_SECONDS = 60.0


class DueTimes:
    """Records due times in the payloads of unfinished tasks. Used by one thread."""

    def __init__(
        self, runtime: Runtime, options: WorkerOptions, *, effect_runner: EffectRunner, retrier: Retrier
    ) -> None:
        self._runtime = runtime
        self._options = options
        self._effect_runner = effect_runner
        self._retrier = retrier
        self._lists_tasks = runtime.backend.capabilities.lists_tasks

    def record(self, waiting: Sequence[tuple[Run, float, WaitingFor | None]]) -> set[str]:
        """Record due times where they are far; the ids of runs whose task has ended or runs elsewhere.

        Args:
            waiting: each run with its due time in Unix seconds, and the limit for which its task waits.

        Raises:
            GaveUp: the worker stops while the backend is unavailable.
        """
        late = self._runtime.clock.now() + _RECORDED_SECONDS
        waiting = [entry for entry in waiting if entry[1] >= late]
        if not waiting or not self._lists_tasks:
            return set()
        outcomes = self._record([self._transition(run, State.PENDING, due, limit) for run, due, limit in waiting])
        begun = [
            entry
            for entry, outcome in zip(waiting, outcomes, strict=True)
            # The claim of a unique task may end with its start.
            if not outcome.applied and UNIQUE_HEADER not in entry[0].invocation.call.headers
        ]
        return self._record_begun(begun) if begun else set()

    def _record_begun(self, begun: Sequence[tuple[Run, float, WaitingFor | None]]) -> set[str]:
        """Record due times of tasks beyond PENDING: as if each run had started, and then postponed its task."""
        outcomes = self._record([self._transition(run, State.STARTED) for run, _, _ in begun])
        started = [entry for entry, outcome in zip(begun, outcomes, strict=True) if outcome.applied]
        self._record([self._transition(run, State.RECEIVED, due, limit) for run, due, limit in started])
        return {run.id for run, _, _ in begun} - {run.id for run, _, _ in started}

    def _record(self, transitions: Sequence[Transition]) -> Sequence[Outcome]:
        return self._retrier.call("record", lambda: self._runtime.backend.record(transitions)) if transitions else ()

    def _transition(
        self, run: Run, state: State, due: float | None = None, limit: WaitingFor | None = None
    ) -> Transition:
        unfinished = None if due is None else self._effect_runner.unfinished(run.invocation, due=due)
        if unfinished is not None and limit is not None:
            unfinished = replace(unfinished, limit=limit.dump())
        return Transition(
            task_id=run.task_id,
            state=state,
            attempt=run.invocation.attempt,
            at=self._runtime.clock.now(),
            worker=self._options.name,
            task=run.invocation.call.task,
            run=None if state is State.PENDING else run.id,
            lease=self._options.lease_seconds if state is State.STARTED else None,
            payload=None if unfinished is None else unfinished.dump(self._runtime.payloads),
        )
