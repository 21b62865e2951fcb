"""The activity of a worker: counts and last runs, collected in memory, for its status."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from drivetrain.contract import Clock, State
from drivetrain.worker.run import Run, RunResult
from drivetrain.worker.status import EndedTask, RunningTask, TaskCounts

__all__ = ["MAX_RUNNING", "Activity", "running_tasks"]

#: The largest number of running tasks, and of ended ones, in a status.
MAX_RUNNING = 100
_MAX_ENDED = 20

_COUNTED = {
    State.SUCCESS: "succeeded",
    State.FAILURE: "failed",
    State.RETRY: "retried",
    State.CANCELLED: "cancelled",
    State.EXPIRED: "expired",
}


class Activity:
    """Counts what a worker does. Thread-safe; called once for each batch, so that a task costs little.

    Args:
        names: the names of tasks that are counted one by one. All other names come from messages, of which there may be
            any number; they are counted together, as ``""``.
        clock: tells when runs ended.
    """

    def __init__(self, names: Iterable[str], clock: Clock) -> None:
        self._names = frozenset(names)
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: defaultdict[str, TaskCounts] = defaultdict(TaskCounts)
        self._ended: deque[tuple[RunResult, float]] = deque(maxlen=_MAX_ENDED)

    def received(self, tasks: Sequence[str]) -> None:
        """Count received messages, by the names of their tasks."""
        with self._lock:
            for task in tasks:
                self._of(task).received += 1

    def ended(self, results: Sequence[RunResult]) -> None:
        """Count results that this worker has recorded."""
        now = self._clock.now()
        with self._lock:
            for result in results:
                if result.recorded or (counter := _COUNTED.get(result.state)) is None:
                    continue  # an earlier delivery of the task was counted
                counts = self._of(result.invocation.call.task)
                setattr(counts, counter, getattr(counts, counter) + 1)
                counts.run_seconds += result.run_seconds
            self._ended.extend((result, now) for result in results[-_MAX_ENDED:] if not result.recorded)

    def lease_lost(self, run: Run) -> None:
        """Count a run that another worker has taken over."""
        with self._lock:
            self._of(run.invocation.call.task).lease_lost += 1

    def counts(self) -> Mapping[str, TaskCounts]:
        """The counts by name of the task, as they are now."""
        with self._lock:
            return {name: replace(counts) for name, counts in self._counts.items()}

    def last_ended(self) -> Sequence[EndedTask]:
        """The last runs that have ended, the latest first."""
        with self._lock:
            ended = list(self._ended)
        return [
            EndedTask(
                task_id=result.task_id,
                task=result.invocation.call.task,
                attempt=result.invocation.attempt,
                state=result.state,
                ended=at,
                run_seconds=result.run_seconds,
            )
            for result, at in reversed(ended)
        ]

    def _of(self, task: str) -> TaskCounts:
        return self._counts[task if task in self._names else ""]


def running_tasks(runs: Iterable[Run], clock: Clock) -> list[RunningTask]:
    """Those of ``runs`` whose function has begun and not ended, the longest first."""
    offset = clock.now() - clock.monotonic()
    begun = [
        RunningTask(
            task_id=run.task_id,
            task=run.invocation.call.task,
            attempt=run.invocation.attempt,
            queue=run.invocation.call.queue,
            began=offset + run.began,
        )
        for run in runs
        if run.began is not None and not run.settling
    ]
    return sorted(begun, key=lambda one: one.began)
