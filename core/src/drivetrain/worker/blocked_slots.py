"""Tells why a worker does nothing although tasks are ready: all its slots wait for results that no other produces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from drivetrain.contract import TaskRecord
from drivetrain.worker.in_flight import InFlight
from drivetrain.worker.logs import get_logger
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.registry import Pool
from drivetrain.worker.run import Run
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.worker_statuses import worker_statuses

__all__ = ["BlockedSlots"]

logger = get_logger("drivetrain.worker")

#: The records of how many awaited tasks are read at once, and how many queues are named.
_MOST_READ, _MOST_NAMED = 100, 3


class BlockedSlots:
    """Looks for pools whose slots all run tasks that wait for results. Used by one thread.

    It costs nothing until all slots of a pool wait, and then one read of records and a list of the workers. A child
    process does not tell that its task waits.

    Args:
        runtime: the drivers of the app.
        options: the options of the worker.
        in_flight: the runs of the worker.
        slots: how many tasks it can run at once, by pool.
    """

    def __init__(
        self, runtime: Runtime, options: WorkerOptions, in_flight: InFlight, slots: Mapping[Pool, int]
    ) -> None:
        self._runtime = runtime
        self._options = options
        self._in_flight = in_flight
        self._slots = slots
        #: The runs that blocked their pools at the check before: a wait that is over in a moment blocks nothing.
        self._suspected: frozenset[str] = frozenset()
        #: The reason that was logged last; empty: none since the worker was certainly free.
        self._logged = ""

    def reason(self) -> str:
        """Why this worker is blocked, in words; empty: it is not, or this cannot be known. Logged when it begins."""
        waiting = [run for pool, slots in self._slots.items() for run in self._waiting(pool, slots)]
        suspected = frozenset(run.id for run in waiting)
        reason = self._reason_of(waiting) if suspected and suspected == self._suspected else ""
        if not suspected and not self._suspected:
            self._logged = ""
        self._suspected = suspected
        if reason and reason != self._logged:
            logger.warning(
                "%s; a task that waits gives its slot back only when it ends: link the tasks by chain(...), chord(...) "
                "or on_success, or start another worker",
                reason,
            )
            self._logged = reason
        return reason

    def _waiting(self, pool: Pool, slots: int) -> Sequence[Run]:
        """The runs in the slots of a pool, one for each batch, if all slots wait for results."""
        running = list(
            {
                id(run.batch or run): run
                for run in self._in_flight.all()
                if run.definition.pool is pool and run.began is not None and not run.settling
            }.values()
        )
        return running if len(running) >= slots and all(run.awaits for run in running) else ()

    def _reason_of(self, waiting: Sequence[Run]) -> str:
        try:
            awaited = list(dict.fromkeys(task_id for run in waiting for task_id in run.awaits))[:_MOST_READ]
            records = [record for record in self._runtime.backend.read(awaited) if record is not None]
            served = self._served_elsewhere()
        except Exception:  # noqa: BLE001 - a third-party driver may raise anything; the next report tells of it
            return ""
        if len(records) < len(awaited) or any(record.state.terminal for record in records):
            return ""  # a waiting task is about to go on
        queues = {queue for record in records if (queue := self._queue_of(record))}
        if queues & served or not self._pools_of(records) <= {run.definition.pool for run in waiting}:
            return ""  # another worker may run them, or another pool of this one
        return f"all {len(waiting)} slots run tasks that wait for results{self._of(sorted(queues))}"

    def _of(self, queues: Sequence[str]) -> str:
        """Which queues the results come from, and who serves them; empty: unknown, for results of groups."""
        if not queues:
            return " of other tasks"
        named = ", ".join(queues[:_MOST_NAMED]) + (", ..." if len(queues) > _MOST_NAMED else "")
        who = "only this worker" if set(queues) & set(self._options.queues) else "no worker"
        return f" of queue{'s' if len(queues) > 1 else ''} {named}, which {who} serves"

    def _pools_of(self, records: Iterable[TaskRecord]) -> set[Pool]:
        """The pools in which tasks run, as far as this worker knows the tasks."""
        definitions = (self._runtime.registry.get(record.task) for record in records)
        return {definition.pool for definition in definitions if definition is not None}

    def _queue_of(self, record: TaskRecord) -> str:
        """The queue of a task; empty: unknown."""
        if record.queue:
            return record.queue
        definition = self._runtime.registry.get(record.task)
        return "" if definition is None else definition.defaults.queue

    def _served_elsewhere(self) -> set[str]:
        """The queues that other workers serve."""
        others: Iterable[Sequence[str]] = (
            status.queues
            for status in worker_statuses(self._runtime.backend)
            if status.name != self._options.name and not status.stopping
        )
        return {queue for queues in others for queue in queues}
