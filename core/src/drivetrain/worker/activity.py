"""The activity of a worker: counts and last runs, collected in memory, for its status and for counts over time."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence

from drivetrain.contract import Clock, State
from drivetrain.worker.counts.tally import Tally
from drivetrain.worker.counts.task_counts import NO_COUNTS, CountedTasks, TaskCounts
from drivetrain.worker.run import Run, RunResult
from drivetrain.worker.status import EndedTask, RunningTask

__all__ = ["MAX_RUNNING", "Activity", "running_tasks"]

#: The largest number of running tasks, and of ended ones, in a status.
MAX_RUNNING = 100
_MAX_ENDED = 20

_CANCELLED = State.CANCELLED


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
        #: What was counted since the last `take`, by the names of the task and the queue.
        self._received: Counter[tuple[str, str]] = Counter()
        self._tallies: defaultdict[tuple[str, str], Tally] = defaultdict(Tally)
        #: What was counted before that, by the name of the task.
        self._taken: dict[str, TaskCounts] = {}
        self._ended: deque[tuple[RunResult, float]] = deque(maxlen=_MAX_ENDED)

    def received(self, tasks: Sequence[str], queues: Sequence[str]) -> None:
        """Count received messages, by the names of their tasks and, in the same order, of their queues."""
        counted_as = self._names.get
        names = [counted_as(task, "") for task in tasks]
        with self._lock:
            self._received.update(zip(names, queues, strict=True))

    def began(self, runs: Iterable[Run]) -> None:
        """Count how long those of ``runs`` have waited whose functions have begun. Each run is counted once.

        The others, and those that end before the next call, are counted by `ended`.
        """
        offset = self._clock.now() - self._clock.monotonic()
        with self._lock:
            for run in runs:
                if run.ready_at is not None and run.began is not None:
                    self._tally(run).waiting.add(max(0.0, offset + run.began - run.ready_at))
                    run.ready_at = None

    def ended(self, results: Sequence[RunResult]) -> None:
        """Count results that this worker has recorded. Those of an earlier delivery were counted then.

        A task that was cancelled before it started was recorded by the process that cancelled it. It is counted too.
        """
        now = self._clock.now()
        offset = now - self._clock.monotonic()
        counted_as = self._names.get
        with self._lock:
            tallies = self._tallies
            last_task = last_queue = tally = None
            ran, waited = list[float](), list[float]()
            for result in results:
                state = result.outcome
                if result.recorded and state is not _CANCELLED:
                    continue
                task, queue = result.invocation.call.task, result.delivery.message.queue
                if tally is None or task != last_task or queue != last_queue:
                    if tally is not None:
                        tally.add(ran, waited)
                    tally, ran, waited = tallies[counted_as(task, ""), queue], [], []
                    last_task, last_queue = task, queue
                tally.ended[state] += 1
                run = result.run
                if run is not None and (began := run.began) is not None:
                    ran.append(result.run_seconds)
                    if (ready := run.ready_at) is not None:
                        seconds = offset + began - ready
                        waited.append(seconds if seconds > 0 else 0.0)
                        run.ready_at = None
            if tally is not None:
                tally.add(ran, waited)
            self._ended.extend([(result, now) for result in results[-_MAX_ENDED:] if not result.recorded])

    def lease_lost(self, run: Run) -> None:
        """Count a run that another worker has taken over."""
        with self._lock:
            self._tally(run).lease_lost += 1

    def take(self) -> Sequence[CountedTasks]:
        """What was counted since the last call."""
        with self._lock:
            taken = self._pending()
            self._received, self._tallies = Counter(), defaultdict(Tally)
            for one in taken:
                self._taken[one.task] = self._taken.get(one.task, NO_COUNTS).plus(one.counts)
        return taken

    def counts(self) -> Mapping[str, TaskCounts]:
        """What was counted since the worker started, by the name of the task."""
        with self._lock:
            counts, pending = dict(self._taken), self._pending()
        for one in pending:
            counts[one.task] = counts.get(one.task, NO_COUNTS).plus(one.counts)
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
                state=result.outcome,
                ended=at,
                run_seconds=result.run_seconds,
            )
            for result, at in reversed(ended)
        ]

    def _tally(self, run: Run) -> Tally:
        return self._tallies[self._names.get(run.invocation.call.task, ""), run.delivery.message.queue]

    def _pending(self) -> list[CountedTasks]:
        for names, number in self._received.items():
            self._tallies[names].received = number
        return [CountedTasks(task, queue, tally.counts()) for (task, queue), tally in self._tallies.items()]


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
            batch="" if run.batch is None else run.batch.id,
        )
        for run in runs
        if run.began is not None and not run.settling
    ]
    return sorted(begun, key=lambda one: one.began)
