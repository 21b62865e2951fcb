"""How much a worker holds, as time goes by: on a clock that is turned by hand."""

from types import SimpleNamespace

from drivetrain.worker.batches.batch_run import BatchRun
from drivetrain.worker.batches.spec import Batch
from drivetrain.worker.flow_control import FlowControl
from drivetrain.worker.in_flight import InFlight
from drivetrain.worker.registry import Pool

SLOTS, LIMIT = 4, 1000


class Definition:
    """What flow control reads of a task."""

    def __init__(self, name, batch=None):
        self.name, self.batch, self.pool = name, batch, Pool.THREADS


LONE, BATCHED = Definition("lone"), Definition("batched", Batch(100))


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def monotonic(self):
        return self.seconds


class Bench:
    """Takes runs into a load, and ends them."""

    def __init__(self):
        self.clock = Clock()
        self.held = InFlight(self.clock)
        self.load = FlowControl(self.clock, self.held, dict.fromkeys(Pool, SLOTS), {Pool.THREADS}, LIMIT)
        self.number = 0

    def take(self, count, definition=LONE):
        runs = [self.run(definition) for _ in range(count)]
        self.held.add(runs)
        return runs, self.load.excess(runs)

    def run(self, definition=LONE):
        self.number += 1
        return SimpleNamespace(lone=None, id=str(self.number), definition=definition, began=0.0, batch=None)

    def form(self, rows):
        """A batch of rows, which is handed to the pool."""
        batch = BatchRun(
            id="batch", delivery=None, invocation=None, definition=rows[0].definition, received_at=0.0, rows=tuple(rows)
        )
        self.held.form(batch)
        self.load.batch_taken(batch)
        batch.running = rows

    def end(self, runs, *, seconds_each):
        self.clock.seconds += seconds_each * len(runs) / SLOTS
        self.load.settled([SimpleNamespace(run=run, run_seconds=seconds_each) for run in runs])
        self.held.remove(runs)

    def learn_that_tasks_are_short(self):
        for _ in range(30):
            runs, _ = self.take(max(SLOTS, self.load.room()))
            self.end(runs, seconds_each=0.0001)
        assert self.load.room() > 100


def test_what_is_taken_after_a_pause_is_kept():
    bench = Bench()
    bench.learn_that_tasks_are_short()
    room = bench.load.room()
    bench.clock.seconds += 60.0  # nothing came
    _, excess = bench.take(room)
    assert excess == [], "no task has caused the pause"


def test_a_pause_does_not_make_the_window_smaller():
    bench = Bench()
    bench.learn_that_tasks_are_short()
    room = bench.load.room()
    bench.clock.seconds += 60.0
    runs, _ = bench.take(room)
    bench.end(runs, seconds_each=0.0001)
    assert bench.load.room() >= room / 2


def test_tasks_that_turn_out_long_leave_no_room():
    bench = Bench()
    bench.learn_that_tasks_are_short()
    bench.take(bench.load.room())
    bench.clock.seconds += 0.5  # and none of them has ended
    assert bench.load.room() == 0
    assert bench.load.stuck(Pool.THREADS)


def test_as_many_rows_are_received_as_the_batch_lacks():
    bench = Bench()
    assert bench.load.room() == SLOTS
    bench.take(SLOTS, BATCHED)
    assert bench.load.room() == 96, "the last messages were rows, which hold no slot"
    bench.take(90, BATCHED)
    assert bench.load.room() == 6
    bench.take(1)
    assert bench.load.room() == SLOTS - 1, "there are other tasks too"


def test_a_batch_needs_one_slot_until_its_last_row_has_ended():
    bench = Bench()
    rows, excess = bench.take(100, BATCHED)
    assert excess == []
    assert (bench.held.collected("batched"), bench.held.in_pool(Pool.THREADS)) == (100, 0)
    bench.form(rows)
    assert (bench.held.collected("batched"), bench.held.in_pool(Pool.THREADS)) == (0, 1)
    bench.end(rows[:99], seconds_each=1.0)
    assert bench.held.in_pool(Pool.THREADS) == 1
    bench.end(rows[99:], seconds_each=1.0)
    assert bench.held.in_pool(Pool.THREADS) == 0


def test_rows_do_not_wait_in_a_worker_without_a_free_slot():
    bench = Bench()
    for _ in range(SLOTS):
        rows, _ = bench.take(3, BATCHED)
        bench.form(rows)
    bench.clock.seconds += 1
    rows, excess = bench.take(2, BATCHED)
    assert excess == rows
    assert bench.load.stuck(Pool.THREADS) is False, "all batches run"


def test_a_batch_counts_as_one_measurement():
    bench = Bench()
    rows, _ = bench.take(100, BATCHED)
    bench.form(rows)
    bench.end(rows, seconds_each=0.001)
    bench.take(0)
    assert bench.load.room() < SLOTS + 100, "one short batch is no hundred short tasks"
