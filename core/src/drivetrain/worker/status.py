"""The status of a worker: what it reports of itself to the backend every few seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from drivetrain.contract import State
from drivetrain.worker.counts.task_counts import TaskCounts, added_up
from drivetrain.worker.stop_requests import StopRequest

__all__ = [
    "STATUS_PREFIX",
    "EndedTask",
    "RunningTask",
    "Scale",
    "WaitingTask",
    "WorkerStatus",
    "status_key",
]

#: The keys of statuses begin with it.
STATUS_PREFIX = "workers/"


class RunningTask(Struct, frozen=True, kw_only=True):
    """A task that a worker runs.

    Attributes:
        task_id: the id of the task.
        task: the name of the task.
        attempt: the attempt; the first is 0.
        queue: the queue of its message.
        began: when its function began, in Unix seconds.
        batch: the id of the batch with which it runs; empty: it runs by itself.
    """

    task_id: str
    task: str
    attempt: int
    queue: str
    began: float
    batch: str = ""


class WaitingTask(Struct, frozen=True, kw_only=True):
    """A task that a worker has received and started, and that waits for its batch or for a slot of this worker.

    Attributes:
        task_id: the id of the task.
        task: the name of the task.
        attempt: the attempt; the first is 0.
        queue: the queue of its message.
        received: when its message was received, in Unix seconds.
        collected: whether it waits for its batch, which holds no slot; otherwise it waits for a slot.
    """

    task_id: str
    task: str
    attempt: int
    queue: str
    received: float
    collected: bool = False


class EndedTask(Struct, frozen=True, kw_only=True):
    """A run that a worker has ended.

    Attributes:
        task_id: the id of the task.
        task: the name of the task.
        attempt: the attempt; the first is 0.
        state: SUCCESS, FAILURE, RETRY, CANCELLED or EXPIRED.
        ended: when it was recorded, in Unix seconds.
        run_seconds: how long its function ran.
    """

    task_id: str
    task: str
    attempt: int
    state: State
    ended: float
    run_seconds: float


class Scale(Struct, frozen=True, kw_only=True):
    """How many processes a worker has that is started with ``--autoscale``.

    Attributes:
        processes: how many there are now, without those that retire.
        least: the smallest number.
        most: the largest number.
    """

    processes: int
    least: int
    most: int


class WorkerStatus(Struct, frozen=True, kw_only=True):
    """What a worker reports of itself.

    Attributes:
        name: the name of the worker.
        host: the name of its machine.
        pid: the id of its process.
        version: the version of drivetrain.
        queues: the queues that it serves, in order.
        slots: how many tasks it can run at once, by pool.
        started: when it started, in Unix seconds.
        reported: when it reported this, in Unix seconds.
        stopping: whether it receives no more messages.
        stop_request: the request of an operator by which it stops; None: there is none.
        running: tasks that run, the longest first; at most `drivetrain.worker.activity.MAX_RUNNING`.
        running_count: how many tasks run.
        waiting: tasks that wait for their batch or a slot of this worker, the oldest first; at most 50.
        waiting_count: how many tasks have started and wait for their batch or a slot of this worker.
        replaced_children: how many child processes it has replaced since they had run enough tasks, or used too much
            memory: see `WorkerOptions.max_tasks_per_child`.
        blocked: why it runs nothing more although tasks are ready, in words; empty: it is not blocked.
        scale: the number of processes, where a supervisor adapts it; None: it is fixed.
        ended: the last runs that it has ended, the latest first.
        counts: what it has done since it started, by the name of the task; "" for all names that it does not know.
    """

    name: str
    host: str
    pid: int
    version: str
    queues: Sequence[str]
    slots: Mapping[str, int]
    started: float
    reported: float
    stopping: bool = False
    running: Sequence[RunningTask] = ()
    running_count: int = 0
    waiting: Sequence[WaitingTask] = ()
    waiting_count: int = 0
    replaced_children: int = 0
    blocked: str = ""
    scale: Scale | None = None
    ended: Sequence[EndedTask] = ()
    counts: Mapping[str, TaskCounts] = field(default_factory=dict)
    stop_request: StopRequest | None = None

    @property
    def total(self) -> TaskCounts:
        """`counts`, added up over all names."""
        return added_up(self.counts.values())


def status_key(name: str) -> str:
    """The key under which the worker of this name reports."""
    return STATUS_PREFIX + name
