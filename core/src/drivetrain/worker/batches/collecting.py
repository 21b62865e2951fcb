"""Collects the rows of batched tasks, and hands each batch to its pool: when it is full, or when its wait is over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from attrs import define, field

from drivetrain.contract import Clock
from drivetrain.worker.batches.batch_run import BatchRun, batch_of
from drivetrain.worker.batches.spec import Batch
from drivetrain.worker.flow_control import FlowControl
from drivetrain.worker.in_flight import InFlight
from drivetrain.worker.registry import Registry
from drivetrain.worker.run import Run
from drivetrain.worker.threads import Threads

__all__ = ["BatchCollector"]

#: What the rows of one batch have in common: their task, their queue, and their two time limits.
_Kind: TypeAlias = tuple[str, str, float | None, float | None]


@define(eq=False)
class _Open:
    """A batch that is not full. Its rows are in flight."""

    #: When it runs, full or not, by the monotonic clock.
    due: float
    rows: list[Run] = field(factory=list)


class BatchCollector:
    """Puts rows together to batches. Thread-safe.

    The start of a row is recorded before it comes here, so it has a lease, which the heartbeat renews. A worker that is
    killed loses no row: another one takes it over. A worker that stops releases its rows.
    """

    def __init__(
        self,
        clock: Clock,
        threads: Threads,
        *,
        registry: Registry,
        in_flight: InFlight,
        flow_control: FlowControl,
        submit: Callable[[Sequence[Run]], None],
    ) -> None:
        """Make it.

        Args:
            clock: the clock of the worker.
            threads: starts its thread, when the first row must wait.
            registry: tells whether any task is batched.
            in_flight: the runs of the worker.
            flow_control: learns which batches need a slot.
            submit: hands runs and batches to their pools.
        """
        self._clock = clock
        self._threads = threads
        self._registry = registry
        self._in_flight = in_flight
        self._flow_control = flow_control
        self._submit = submit
        self._open: dict[_Kind, _Open] = {}
        self._changed = threading.Condition()
        self._started = False
        self._stopped = False

    def submit(self, runs: Sequence[Run]) -> None:
        """Hand over runs: rows with their batch, all others at once."""
        if not self._registry.batched:
            self._submit(runs)
            return
        ready = self.ready(runs)
        if ready:
            self._submit(ready)
        with self._changed:
            if self._open and not self._started:
                self._threads.start("drivetrain-batches", self._run)
                self._started = True
            self._changed.notify()

    def ready(self, runs: Sequence[Run]) -> list[Run]:
        """Take in the rows among ``runs``; the batches that are full, and the other runs, in order."""
        ready: list[Run] = []
        with self._changed:
            for run in runs:
                batch = run.definition.batch
                if batch is None or run.lone is not None or isinstance(run, BatchRun):
                    ready.append(run)
                elif (full := self._add(run, batch)) is not None:
                    ready.append(full)
        return ready

    def take_partial(self) -> list[BatchRun]:
        """The batches that are not full, whose wait is not over either."""
        with self._changed:
            return [self._form(kind) for kind in list(self._open)]

    def take_back(self, which: Callable[[Run], bool] = lambda _row: True) -> list[Run]:
        """Remove those rows that ``which`` chooses from their batches, which have not begun; these rows."""
        taken: list[Run] = []
        with self._changed:
            for kind, one in list(self._open.items()):
                taken += [row for row in one.rows if which(row)]
                one.rows = [row for row in one.rows if not which(row)]
                if not one.rows:
                    del self._open[kind]
        return taken

    def waiting(self) -> Iterable[Run]:
        """The rows that wait for their batch now."""
        with self._changed:
            return [row for one in self._open.values() for row in one.rows]

    def stop(self) -> None:
        """End its thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _add(self, row: Run, batch: Batch) -> BatchRun | None:
        """Put a row into its batch; the batch, if it is full now."""
        call = row.invocation.call
        kind = row.definition.name, row.delivery.message.queue, call.timeout, call.soft_timeout
        one = self._open.get(kind)
        if one is None:
            one = self._open[kind] = _Open(self._clock.monotonic() + batch.wait)
        one.rows.append(row)
        return self._form(kind) if len(one.rows) >= batch.size else None

    def _form(self, kind: _Kind) -> BatchRun:
        batch = batch_of(self._open.pop(kind).rows)
        self._in_flight.form(batch)
        self._flow_control.batch_taken(batch)
        return batch

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._stopped:
                    return
                due = self._due()
                if not due:
                    self._clock.wait(self._changed, self._seconds_to_next())
            if due:
                self._submit(due)

    def _due(self) -> list[BatchRun]:
        now = self._clock.monotonic()
        return [self._form(kind) for kind, one in list(self._open.items()) if one.due <= now]

    def _seconds_to_next(self) -> float | None:
        """How long until the next batch is due; None: there is none."""
        first = min((one.due for one in self._open.values()), default=None)
        return None if first is None else max(0.0, first - self._clock.monotonic())
