"""Counts over time in a backend: several workers write and fold while calls fail, and a reader counts nothing twice.

A machine of Hypothesis drives the real writers, folders and reader over a memory backend whose clock is turned by hand.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from types import SimpleNamespace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from drivetrain.app.counts import counts_range, read_counts
from drivetrain.contract import ServiceUnavailable
from drivetrain.drivers.memory import MemoryBackend
from drivetrain.testing import VirtualClock
from drivetrain.worker.counts.folder import CountsFolder, stored_minutes
from drivetrain.worker.counts.stored import COUNTS_PREFIX, MINUTE_PREFIX
from drivetrain.worker.counts.task_counts import CountedTasks, TaskCounts
from drivetrain.worker.counts.writer import CountsWriter

DAY = 86400.0
TASKS = ("a", "b")
#: After how many writes one fails, and whether it is done first.
faults = st.tuples(st.sampled_from([None, None, 0, 1, 2]), st.booleans())


class Service:
    """A backend whose calls fail as planned."""

    def __init__(self, backend):
        self._backend = backend
        self.capabilities = backend.capabilities
        self.writes = 0
        #: Called once after a read.
        self.interlude = None
        self.plan(None, False)

    def plan(self, fails_in, done_first):
        """Fail a later write, after this number of others, before it is done or after; None: no write."""
        self._fails_in, self._done_first, self.failed = fails_in, done_first, False

    def write_values(self, writes):
        self.writes += 1
        fails = self._fails_in == 0
        if self._fails_in is not None:
            self._fails_in -= 1
        if fails:
            self.failed = True
            if self._done_first:
                self._backend.write_values(writes)
            raise ServiceUnavailable("the reply is lost")
        return self._backend.write_values(writes)

    def read_values(self, keys):
        found = self._backend.read_values(keys)
        interlude, self.interlude = self.interlude, None
        if interlude is not None:
            interlude()
        return found

    def list_values(self, prefix, *, limit, cursor=None):
        return self._backend.list_values(prefix, limit=limit, cursor=cursor)


class Skewed:
    """The clock of a machine that is wrong by some seconds."""

    def __init__(self, clock, seconds):
        self._clock = clock
        self.seconds = seconds

    def now(self):
        return self._clock.now() + self.seconds

    def monotonic(self):
        return self._clock.monotonic()


class Worker:
    """The part of a worker that writes and folds counts."""

    def __init__(self, service, clock, retention):
        self.new: Counter[str] = Counter()
        self.clock = clock
        runtime = SimpleNamespace(backend=service, clock=clock)
        self.writer = CountsWriter(runtime, self, retention)
        self.folder = CountsFolder(runtime, retention, 100_000)
        self.late_since: float | None = None

    def take(self):
        """As `Activity.take`."""
        taken, self.new = self.new, Counter()
        return [CountedTasks(task, "q", TaskCounts(received=number)) for task, number in taken.items()]


class Counting(RuleBasedStateMachine):
    """What workers have counted, beside what a reader finds."""

    retention = 2 * DAY

    @initialize(skews=st.tuples(*[st.sampled_from([0, 0, -200, 45, 700])] * 2))
    def begin(self, skews):
        self.clock = VirtualClock()
        self.backend = MemoryBackend("", self.clock)
        self.service = Service(self.backend)
        self.workers = [Worker(self.service, Skewed(self.clock, skew), self.retention) for skew in skews]
        self.counted: Counter[str] = Counter()
        #: Whether anything may be lost: a worker died, or could not write for minutes.
        self.lossy = False

    @rule(index=st.integers(0, 1), task=st.sampled_from(TASKS), number=st.integers(1, 9))
    def count(self, index, task, number):
        self.workers[index].new[task] += number
        self.counted[task] += number

    @rule(index=st.integers(0, 1), task=st.sampled_from(TASKS), number=st.integers(1, 9), fault=faults)
    def count_and_write(self, index, task, number, fault):
        self.count(index, task, number)
        self.write(index, fault)

    @rule(index=st.integers(0, 1), fault=faults)
    def write(self, index, fault):
        worker = self.workers[index]
        self.service.plan(*fault)
        worker.writer._safely("write counts", worker.writer.write)
        if not self.service.failed:
            worker.late_since = None
        elif worker.late_since is None:
            worker.late_since = self.clock.now()

    @rule(index=st.integers(0, 1), fault=faults)
    def wait_and_fold(self, index, fault):
        self.pass_time(150)
        self.fold(index, fault)

    @rule(index=st.integers(0, 1), fault=faults)
    def fold(self, index, fault):
        worker = self.workers[index]
        self.service.plan(*fault)
        worker.writer._safely("fold counts", worker.folder.fold)

    @rule(index=st.integers(0, 1), number=st.integers(1, 9))
    def fold_while_another_worker_folds(self, index, number):
        """Another one folds all of it, and what a third one has written, between a read and a write of this one."""
        self.pass_time(150)
        third = Worker(self.service, self.workers[index].clock, self.retention)
        third.new["a"] += number

        def interlude():
            third.writer.write()
            third.folder._fold(list(stored_minutes(self.backend)))

        self.service.interlude = interlude
        self.fold(index, (None, False))
        if self.service.interlude is None:
            self.counted["a"] += number
        self.service.interlude = None

    @rule(seconds=st.sampled_from([3, 61, 3600]))
    def pass_time(self, seconds):
        self.clock.turn(seconds)
        self.lossy |= any(one.late_since is not None for one in self.workers) and seconds > 100

    @rule(index=st.integers(0, 1))
    def restart(self, index):
        old = self.workers[index]
        self.lossy |= bool(old.new) or old.late_since is not None
        self.workers[index] = Worker(self.service, old.clock, self.retention)

    @rule(index=st.integers(0, 1), seconds=st.sampled_from([-600, -61, 0, 61]))
    def set_clock(self, index, seconds):
        self.workers[index].clock.seconds = seconds

    @rule(step=st.sampled_from([None, 60, 600, 3600]))
    def read(self, step):
        self.check(self.found(None if step is None else timedelta(seconds=step)))

    @invariant()
    def nothing_is_counted_twice_or_lost(self):
        if hasattr(self, "workers"):
            self.check(self.found(timedelta(minutes=10)))

    def found(self, step):
        """All that a reader finds whose clock is ahead of all workers."""
        now = self.clock.now() + 1000
        within = counts_range(self.retention, now, since=_moment(now - DAY), until=None, step=step)
        return read_counts(self.backend, within, lambda one: True)

    def check(self, found):
        pending = sum((one.new for one in self.workers), Counter())
        late = any(one.late_since is not None for one in self.workers)
        for task in TASKS:
            number = found.by_task().get(task, TaskCounts()).received
            certain = self.counted[task] - pending[task]
            assert number <= certain, "nothing is counted twice"
            assert number == certain or self.lossy or late, "nothing is lost"
        assert found.total.received == sum(point.total.received for point in found.points)


def _moment(seconds):
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC)


def test_workers_that_write_and_fold_count_everything_once():
    run_state_machine_as_test(Counting, settings=settings(max_examples=60, stateful_step_count=30, deadline=None))


def test_a_clock_that_is_set_back_changes_no_minute_that_is_over():
    machine = Counting()
    machine.begin((0, 0))
    for seconds in (0, 61, -61):
        machine.clock._turn(seconds)
        machine.count_and_write(0, "a", 1, (None, False))
    machine.check(machine.found(None))
    machine.wait_and_fold(0, (None, False))
    machine.check(machine.found(None))


def keys(backend, prefix=COUNTS_PREFIX):
    return sorted(key for key, _ in backend.list_values(prefix, limit=10_000).values)


def hours_of_work(hours, *, workers=3, retention=2 * DAY):
    """Workers that count something in every minute; the backend and its clock."""
    clock = VirtualClock()
    service = Service(MemoryBackend("", clock))
    running = [Worker(service, Skewed(clock, 0), retention) for _ in range(workers)]
    for _ in range(hours * 60):
        for worker in running:
            worker.new["a"] += 1
            worker.writer.write()
        clock.turn(60)
        for worker in running:
            worker.folder.fold()
    return service, clock


def test_the_number_of_values_is_bounded_whatever_the_number_of_workers():
    service, _ = hours_of_work(5)
    found = keys(service)
    minutes, tens = keys(service, "counts/60/"), keys(service, "counts/600/")
    assert 175 <= len(minutes) <= 183, "a value for each minute of the last three hours"
    assert 30 <= len(tens) <= 32, "a value for each ten minutes of five hours"
    assert len(keys(service, MINUTE_PREFIX)) <= 9, "the last minutes of three workers"
    assert len(found) <= 183 + 32 + 9 + 1


def test_all_of_it_expires_with_the_retention():
    service, clock = hours_of_work(1, retention=1800.0)
    assert len(keys(service)) < 30 + 12
    clock.turn(3600)
    assert keys(service) == []


def test_a_worker_that_is_idle_writes_nothing():
    clock = VirtualClock()
    service = Service(MemoryBackend("", clock))
    worker = Worker(service, Skewed(clock, 0), DAY)
    for _ in range(20):
        worker.writer.write()
        clock.turn(5)
    assert service.writes == 0


def test_one_worker_folds_in_a_minute():
    service, clock = hours_of_work(1)
    clock.turn(60)
    first, second = (Worker(service, Skewed(clock, 0), DAY) for _ in range(2))
    before = service.writes
    first.folder.fold()
    assert service.writes > before + 1
    before = service.writes
    second.folder.fold()
    assert service.writes == before + 1, "it asks whose turn it is"
