"""The activity of a worker: counts and last runs, collected in memory, for its status."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence

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
        #: What each name is counted as.
        self._names = {name: name for name in names}
        self._clock = clock
        self._lock = threading.Lock()
        self._received: Counter[str] = Counter()
        self._recorded: Counter[tuple[str, State]] = Counter()
        self._leases_lost: Counter[str] = Counter()
        self._run_seconds: defaultdict[str, float] = defaultdict(float)
        self._ended: deque[tuple[RunResult, float]] = deque(maxlen=_MAX_ENDED)

    def received(self, tasks: Sequence[str]) -> None:
        """Count received messages, by the names of their tasks."""
        counted_as = self._names.get
        with self._lock:
            self._received.update([counted_as(task, "") for task in tasks])

    def ended(self, results: Sequence[RunResult]) -> None:
        """Count results that this worker has recorded. Those of an earlier delivery were counted then."""
        fresh = [result for result in results if not result.recorded]
        now = self._clock.now()
        counted_as = self._names.get
        names = [counted_as(result.invocation.call.task, "") for result in fresh]
        with self._lock:
            self._recorded.update(zip(names, [result.state for result in fresh], strict=True))
            for name, result in zip(names, fresh, strict=True):
                self._run_seconds[name] += result.run_seconds
            self._ended.extend((result, now) for result in fresh[-_MAX_ENDED:])

    def lease_lost(self, run: Run) -> None:
        """Count a run that another worker has taken over."""
        with self._lock:
            self._leases_lost[self._names.get(run.invocation.call.task, "")] += 1

    def counts(self) -> Mapping[str, TaskCounts]:
        """The counts by name of the task, as they are now."""
        counts: defaultdict[str, TaskCounts] = defaultdict(TaskCounts)
        with self._lock:
            for name, number in self._received.items():
                counts[name].received = number
            for (name, state), number in self._recorded.items():
                if (counter := _COUNTED.get(state)) is not None:
                    setattr(counts[name], counter, number)
            for name, number in self._leases_lost.items():
                counts[name].lease_lost = number
            for name, seconds in self._run_seconds.items():
                counts[name].run_seconds = seconds
        return counts

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
