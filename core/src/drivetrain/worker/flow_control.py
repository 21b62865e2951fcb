"""Flow control: how many messages a worker may have in flight for each pool, no more than it is about to run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from drivetrain.contract import Clock
from drivetrain.worker.batches.batch_run import BatchRun
from drivetrain.worker.in_flight import InFlight
from drivetrain.worker.prefetch import Prefetch
from drivetrain.worker.registry import Pool, TaskDefinition
from drivetrain.worker.run import Run, RunResult

__all__ = ["STUCK_SECONDS", "FlowControl"]

#: A full pool is stuck when none of its tasks has ended for this time, in seconds: another worker may have free slots.
STUCK_SECONDS = 0.25
#: While one pool is full, the largest number of messages to receive in search of work for the others.
_PROBE = 8


class FlowControl:
    """Measures the pools of one worker. The settling thread reports to it, and the receiving thread reads it."""

    def __init__(
        self, clock: Clock, in_flight: InFlight, sizes: Mapping[Pool, int], used: Iterable[Pool], limit: int
    ) -> None:
        """Make it.

        Args:
            clock: measures how long no task has ended.
            in_flight: the runs of the worker.
            sizes: how many tasks each pool can run at once.
            used: the pools that tasks are known to run in.
            limit: the largest number of messages beyond the slots.
        """
        self._clock = clock
        self._in_flight = in_flight
        self._used = set(used) or {Pool.THREADS}
        self.prefetch = {pool: Prefetch(size, limit) for pool, size in sizes.items()}
        #: When a task of each pool has last ended; when there was work again; when there was enough for all its slots.
        self._ended_at = dict.fromkeys(sizes, clock.monotonic())
        self._busy_since = dict(self._ended_at)
        self._full_since = dict(self._ended_at)
        self._probe = _PROBE
        #: The batched tasks of the last messages, if these were nothing but rows.
        self._only_rows: Collection[TaskDefinition] = ()

    def settled(self, results: Sequence[RunResult]) -> None:
        """Measure runs that have ended."""
        now = self._clock.monotonic()
        ran: defaultdict[Pool, list[float]] = defaultdict(list)
        for result in results:
            run = result.run
            if run is not None and run.began is not None and (run.batch is None or _stands_for_batch(run)):
                ran[run.definition.pool].append(result.run_seconds)
        for pool, seconds in ran.items():
            elapsed = now - max(self._ended_at[pool], self._busy_since[pool])
            self.prefetch[pool].settled(len(seconds), sum(seconds) / len(seconds), elapsed)
            self._ended_at[pool] = now

    def room(self) -> int:
        """How many messages to receive; 0: wait for room."""
        rooms = [self._room(pool) for pool in self._used]
        free = [room for room in rooms if room > 0]
        if len(free) == len(rooms):
            return max(min(free), self._missing_rows()) if self._only_rows else min(free)
        return min(*free, self._probe) if free else 0

    def _missing_rows(self) -> int:
        """How many rows a batch lacks, of the task that lacks the fewest."""
        missing = [
            one.batch.size - self._in_flight.collected(one.name) for one in self._only_rows if one.batch is not None
        ]
        return min(missing, default=0)

    def slack(self) -> int:
        """How many runs must be settled until there is enough room for a round trip."""
        return min(self._ahead(pool) // 4 for pool in self._used)

    def excess(self, runs: Sequence[Run]) -> list[Run]:
        """Those of ``runs``, all in flight, for which their pools have no room.

        One queue carries tasks of several pools, and the pool of a message is known only after it is received.
        """
        definitions = {run.definition for run in runs}
        self._used |= {one.pool for one in definitions}
        batched = {one for one in definitions if one.batch is not None}
        self._only_rows = batched if len(batched) == len(definitions) else ()
        lone = [run for run in runs if run.definition not in batched] if batched else runs
        excess = self._excess(lone, {one.pool for one in definitions - batched})
        if batched:
            excess += [run for run in runs if run.definition in batched and not self._may_wait(run.definition.pool)]
        self._probe = 1 if len(excess) == len(runs) else _PROBE  # a fruitless probe keeps messages from other workers
        return excess

    def _excess(self, runs: Sequence[Run], pools: Collection[Pool]) -> list[Run]:
        """Those of these tasks, each of which needs a slot of one of these pools, for which the pools have no room."""
        for pool in pools:
            self._note_taken(pool, len(_of(runs, pool)))
        over = {pool: max(0, self._in_flight.in_pool(pool) - self._window(pool)) for pool in pools}
        return [run for pool in pools if over[pool] for run in _of(runs, pool)[-over[pool] :]]

    def _may_wait(self, pool: Pool) -> bool:
        """Whether one more batch may wait for a slot of ``pool``."""
        return self._in_flight.in_pool(pool) < self._window(pool)

    def batch_taken(self, batch: BatchRun) -> None:
        """Note that a batch, which is in flight, needs a slot from now on."""
        self._note_taken(batch.definition.pool, 1)

    def _note_taken(self, pool: Pool, number: int) -> None:
        """Note that ``number`` more need a slot of ``pool``; they are in flight."""
        now = self._clock.monotonic()
        before = self._in_flight.in_pool(pool) - number
        if before <= 0:
            self._busy_since[pool] = now
        if before < self.prefetch[pool].slots:
            self._full_since[pool] = now

    def waits(self, pool: Pool) -> bool:
        """Whether some runs in flight wait for a slot of ``pool``."""
        return self._in_flight.in_pool(pool) > self.prefetch[pool].slots

    def stuck(self, pool: Pool) -> bool:
        """Whether the runs that wait for ``pool`` should be released."""
        return self.waits(pool) and self._stalled_seconds(pool) >= STUCK_SECONDS

    def _room(self, pool: Pool) -> int:
        room = self._window(pool) - self._in_flight.in_pool(pool)
        # With short tasks, a small room is not worth a round trip.
        return room if room >= self._ahead(pool) // 4 else 0

    def _ahead(self, pool: Pool) -> int:
        return max(0, self._window(pool) - self.prefetch[pool].slots)

    def _window(self, pool: Pool) -> int:
        return self.prefetch[pool].window(self._stalled_seconds(pool))

    def _stalled_seconds(self, pool: Pool) -> float:
        full = self._in_flight.in_pool(pool) >= self.prefetch[pool].slots
        return self._clock.monotonic() - max(self._ended_at[pool], self._full_since[pool]) if full else 0.0


def _stands_for_batch(row: Run) -> bool:
    """Whether it is the first row that its batch runs: a batch is measured once."""
    batch = row.batch
    return isinstance(batch, BatchRun) and batch.running is not None and batch.running[0] is row


def _of(runs: Sequence[Run], pool: Pool) -> list[Run]:
    return [run for run in runs if run.definition.pool is pool]
