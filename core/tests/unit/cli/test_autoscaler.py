"""How many processes there are to be: a pure decision, on a clock of the test."""

from dataclasses import dataclass
from itertools import pairwise

import pytest

from drivetrain.cli.autoscaling import Autoscaler, Load


def load(**known):
    idle = {
        "processes": 2,
        "starting": 0,
        "waiting": 0,
        "running": 0,
        "ended_per_second": 0.0,
        "slots": 8,
        "processors_used": 0.0,
        "processors_free": 4.0,
    }
    return Load(**{**idle, **known})


def decisions(scaler, one, seconds):
    """The numbers that were decided, by the second, for a load that does not change."""
    found = {now: scaler.decide(one, float(now)) for now in range(seconds)}
    return {now: decision.processes for now, decision in found.items() if decision is not None}


BUSY = {"waiting": 100, "running": 16}
#: Two processes are busy enough that one could not do their work, and nothing waits.
STEADY = {"running": 8, "processors_used": 1.0}


def test_a_process_is_added_after_work_has_waited_for_a_while():
    assert decisions(Autoscaler(1, 8), load(**BUSY), 4) == {3: 3}


@pytest.mark.parametrize(
    "other",
    [
        {"waiting": 0},
        {"waiting": 100, "ended_per_second": 200.0},
        {"processors_free": 0.3},
        {"processes": 8},
        {"starting": 1},
    ],
    ids=["nothing waits", "it is done within a second", "no processor is free", "there are enough", "one starts"],
)
def test_no_process_is_added_where_it_would_not_help(other):
    assert decisions(Autoscaler(1, 8), load(**{**BUSY, **other}), 100) == {}


def test_a_break_begins_the_wait_again():
    scaler = Autoscaler(1, 8)
    for now in range(100):
        assert scaler.decide(load(**BUSY) if now % 3 else load(**STEADY), float(now)) is None


def test_processes_are_added_where_the_free_processors_are_unknown():
    scaler = Autoscaler(1, 8)
    assert decisions(scaler, load(**BUSY, processors_free=None), 4) == {3: 3}


@pytest.mark.parametrize(
    ("processes", "free", "most", "expected"),
    [(1, 16, 8, 2), (2, 16, 8, 3), (8, 16, 32, 12), (8, 2.9, 32, 10), (8, 0.5, 32, 9), (8, 16, 9, 9)],
)
def test_at_most_half_as_many_again_are_added_at_a_time(processes, free, most, expected):
    one = load(**BUSY, processes=processes, processors_free=free)
    assert decisions(Autoscaler(1, most), one, 4) == {3: expected}


def test_changes_keep_their_distance():
    assert decisions(Autoscaler(1, 8), load(**BUSY), 20) == {3: 3, 7: 3, 11: 3, 15: 3, 19: 3}


def test_a_process_retires_after_half_a_minute_without_work():
    assert decisions(Autoscaler(1, 8), load(), 31) == {30: 1}
    assert decisions(Autoscaler(2, 8), load(), 100) == {}
    assert decisions(Autoscaler(1, 8), load(processes=8), 31) == {30: 7}


@pytest.mark.parametrize("other", [{"running": 5}, {"waiting": 5}, {"processors_used": 0.8}, {"starting": 1}], ids=str)
def test_no_process_retires_that_is_needed(other):
    assert decisions(Autoscaler(1, 8), load(processors_free=0.0, **other), 100) == {}


def test_the_reason_says_what_was_seen():
    scaler = Autoscaler(1, 8)
    for now in range(3):
        scaler.decide(load(**BUSY), float(now))
    assert scaler.decide(load(**BUSY), 3.0).reason == "100 tasks wait, 16 run, and 4.0 processors are free"


@dataclass
class Machine:
    """Processes that work off tasks of one second of a processor each."""

    scaler: Autoscaler
    processors: int = 4
    processes: int = 1
    waiting: float = 0.0

    def second(self, now, sent):
        self.waiting += sent
        used = min(self.processes, self.processors, self.waiting)
        self.waiting -= used
        decision = self.scaler.decide(
            load(
                processes=self.processes,
                waiting=int(self.waiting),
                running=round(used),
                ended_per_second=used,
                slots=1,
                processors_used=used,
                processors_free=self.processors - used,
            ),
            float(now),
        )
        if decision is not None:
            self.processes = decision.processes
        return self.processes


def test_it_grows_to_the_processors_and_shrinks_when_the_work_is_done():
    machine = Machine(Autoscaler(1, 16))
    grown = [machine.second(now, 100 if now == 0 else 0) for now in range(40)]
    assert max(grown) == 4, "more than the processors would not help"
    assert grown.index(4) <= 12
    shrunk = [machine.second(now, 0) for now in range(40, 240)]
    assert shrunk[-1] == 1
    assert all(before - after in (0, 1) for before, after in pairwise(shrunk))


@pytest.mark.parametrize("rate", [0.5, 1.4, 2.0, 2.6, 3.3])
def test_it_does_not_swing_under_a_steady_load(rate):
    machine = Machine(Autoscaler(1, 16))
    numbers = [machine.second(now, rate) for now in range(1000)]
    assert len(set(numbers[300:])) == 1
