"""How much a worker holds, as time goes by: on a clock that is turned by hand."""

from types import SimpleNamespace

from drivetrain.worker.flow_control import FlowControl
from drivetrain.worker.in_flight import InFlight
from drivetrain.worker.registry import Pool

SLOTS, LIMIT = 4, 1000


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

    def take(self, count):
        runs = [self.run() for _ in range(count)]
        self.held.add(runs)
        return runs, self.load.excess(runs)

    def run(self):
        self.number += 1
        return SimpleNamespace(lone=None, id=str(self.number), definition=SimpleNamespace(pool=Pool.THREADS), began=0.0)

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
