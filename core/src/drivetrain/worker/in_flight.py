"""The runs that a worker has in flight."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable

from drivetrain.contract import Clock
from drivetrain.worker.batches.batch_run import BatchRun
from drivetrain.worker.registry import Pool
from drivetrain.worker.run import Run

__all__ = ["InFlight"]


class InFlight:
    """The runs that a worker has started and not yet settled. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._runs: dict[str, Run] = {}
        self._in_pool: Counter[Pool] = Counter()
        #: How many rows of each batched task wait for their batch, by the name of the task.
        self._collected: Counter[str] = Counter()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._runs)

    def in_pool(self, pool: Pool) -> int:
        """How many slots of this pool they need: one for each batch, none for rows that wait for their batch.

        Suspects are not counted, since they run alone.
        """
        return self._in_pool[pool]

    def collected(self, task: str) -> int:
        """How many rows of this batched task wait for their batch."""
        return self._collected[task]

    def only_suspects(self) -> bool:
        """Whether all of them are suspects."""
        return not any(self._in_pool.values()) and not any(self._collected.values())

    def holds(self, run: Run) -> bool:
        """Whether this run is among them."""
        return run.id in self._runs

    def add(self, runs: Iterable[Run]) -> None:
        """Add runs."""
        with self._changed:
            for run in runs:
                self._runs[run.id] = run
                if run.lone is None:
                    if run.definition.batch is None:
                        self._in_pool[run.definition.pool] += 1
                    else:
                        self._collected[run.definition.name] += 1

    def form(self, batch: BatchRun) -> None:
        """The rows of a batch, which are in flight, need one slot from now on."""
        with self._changed:
            batch.own_rows()
            batch.open_rows = sum(row.id in self._runs for row in batch.rows)
            if batch.open_rows:
                self._collected[batch.definition.name] -= batch.open_rows
                self._in_pool[batch.definition.pool] += 1

    def remove(self, runs: Iterable[Run]) -> None:
        """Remove runs; those that are not in flight are ignored."""
        with self._changed:
            for run in runs:
                if self._runs.pop(run.id, None) is not None and run.lone is None:
                    if run.definition.batch is None:
                        self._in_pool[run.definition.pool] -= 1
                    else:
                        self._remove_row(run)
            self._changed.notify_all()

    def _remove_row(self, row: Run) -> None:
        if not isinstance(row.batch, BatchRun):
            self._collected[row.definition.name] -= 1
            return
        row.batch.open_rows -= 1
        if not row.batch.open_rows:
            self._in_pool[row.definition.pool] -= 1

    def all(self) -> list[Run]:
        """The runs that are in flight now."""
        with self._changed:
            return list(self._runs.values())

    def wait_below(self, number: int, timeout_seconds: float) -> bool:
        """Wait until fewer than ``number`` are in flight; whether that is so."""
        with self._changed:
            if len(self._runs) >= number:
                self._clock.wait(self._changed, timeout_seconds)
            return len(self._runs) < number

    def wake(self) -> None:
        """Wake the threads in `wait_below`."""
        with self._changed:
            self._changed.notify_all()
