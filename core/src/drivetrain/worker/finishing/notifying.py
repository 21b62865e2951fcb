"""Tells observers and the log how tasks have ended."""

from __future__ import annotations

from collections.abc import Sequence

from drivetrain.contract import State, TaskEvent
from drivetrain.worker.events import event_of, event_of_run
from drivetrain.worker.logs import get_logger
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.run import RunResult, log_extra
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.shown import shown_failure

__all__ = ["ResultNotifier"]

#: Logs the ends of tasks, as `drivetrain.worker.execution` does.
logger = get_logger("drivetrain.task")

_HOOKS = {
    State.SUCCESS: "task_succeeded",
    State.FAILURE: "task_failed",
    State.RETRY: "task_retrying",
    State.CANCELLED: "task_cancelled",
    State.EXPIRED: "task_expired",
}


class ResultNotifier:
    """Notifies observers of results that were recorded just now, and logs successes. Thread-safe."""

    def __init__(self, runtime: Runtime, options: WorkerOptions) -> None:
        self._observers = runtime.observers
        self._watched = any(map(runtime.observers.watches, (*_HOOKS.values(), "tasks_ended")))
        self._clock = runtime.clock
        self._options = options

    def notify(self, results: Sequence[RunResult]) -> None:
        """Notify observers of results; results that were recorded before have been notified then."""
        if not self._watched:
            return
        ended = [
            (result, self._event(result))
            for result in results
            if not result.recorded or result.state is State.CANCELLED
        ]
        for result, event in ended:
            self._notify_one(result, event)
        if ended:
            self._observers.notify("tasks_ended", events=[event for _, event in ended])

    def _notify_one(self, result: RunResult, event: TaskEvent) -> None:
        hook = _HOOKS[result.outcome]
        if not self._observers.watches(hook):
            return
        failure = None if result.error is None else shown_failure(result.error)
        if result.outcome is State.SUCCESS:
            self._observers.notify(hook, event=event, run_seconds=result.run_seconds)
        elif result.state is State.FAILURE:
            self._observers.notify(hook, event=event, failure=failure)
        elif result.state is State.RETRY:
            delay = (result.retry_at or 0.0) - self._clock.now()
            self._observers.notify(hook, event=event, failure=failure, delay_seconds=max(0.0, delay))
        else:
            self._observers.notify(hook, event=event)

    def _event(self, result: RunResult) -> TaskEvent:
        if result.run is None:
            return event_of(result.invocation, self._options.name, result.delivery.message, state=result.outcome)
        ran = result.run_seconds
        return event_of_run(result.run, self._options.name, self._clock, state=result.outcome, run_seconds=ran)

    def log_successes(self, results: Sequence[RunResult]) -> None:
        """Log each success, if the options ask for it."""
        if not self._options.log_successes:
            return
        for result in results:
            if result.outcome is State.SUCCESS and not result.recorded:
                logger.info("succeeded in %.3f s", result.run_seconds, extra=log_extra(result.invocation))
