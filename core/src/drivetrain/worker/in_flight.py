"""The runs that a worker has in flight."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable

from drivetrain.contract import Clock
from drivetrain.worker.registry import Pool
from drivetrain.worker.run import Run

__all__ = ["InFlight"]


class InFlight:
    """The runs that a worker has started and not yet settled. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._runs: dict[str, Run] = {}
        self._in_pool: Counter[Pool] = Counter()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._runs)

    def in_pool(self, pool: Pool) -> int:
        """How many of them are for this pool; suspects are not counted, since they run alone."""
        return self._in_pool[pool]

    def only_suspects(self) -> bool:
        """Whether all of them are suspects."""
        return not any(self._in_pool.values())

    def holds(self, run: Run) -> bool:
        """Whether this run is among them."""
        return run.id in self._runs

    def add(self, runs: Iterable[Run]) -> None:
        """Add runs."""
        with self._changed:
            for run in runs:
                self._runs[run.id] = run
                if run.lone is None:
                    self._in_pool[run.definition.pool] += 1

    def remove(self, runs: Iterable[Run]) -> None:
        """Remove runs; those that are not in flight are ignored."""
        with self._changed:
            for run in runs:
                if self._runs.pop(run.id, None) is not None and run.lone is None:
                    self._in_pool[run.definition.pool] -= 1
            self._changed.notify_all()

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
