"""A chaos run finds each kind of fault that it looks for, and excuses what a fault explains."""

from collections import Counter

import pytest

from chaos.judging import LOST, Disturbance, Sent, judge
from chaos.results import rows, table
from chaos.story import Expected, Story
from chaos.tasks import RunEvent
from drivetrain.workflow.signature import Signature

LEASE_SECONDS = 3.0
ONE = Expected(Signature(task="hold", kwargs={"label": "t1"}), ["t1"], Counter({"t1": 1}))
CANCELLED = Expected(Signature(task="act", kwargs={"label": "t1"}), None, Counter(), cancelled=True)


def event(kind="begin", at=10.0, pid=1, attempt=0):
    return RunEvent(kind, "t1", "id", attempt, pid, at)


UNDISTURBED = (event(), event("end", 11.0))


def found(outcome=("t1",), events=UNDISTURBED, disturbances=(), expected=ONE, ended_at=12.0):
    outcome = list(outcome) if isinstance(outcome, tuple) else outcome
    findings = judge([Sent(expected, outcome, ended_at)], events, disturbances, lease_seconds=LEASE_SECONDS)
    names = ("lost", "wrong", "repeated", "overlapping", "left_over")
    assert findings.sound is not any(getattr(findings, name) for name in names)
    return {name for name in names if getattr(findings, name)}


def test_what_is_as_promised_is_sound():
    assert found() == set()


def test_a_workflow_that_did_not_end_is_lost():
    assert found(outcome=LOST) == {"lost"}


def test_an_attempt_that_never_ran_is_lost():
    assert found(events=()) == {"lost"}


def test_another_result_is_wrong():
    assert found(outcome=("t2",)) == {"wrong"}


def test_a_run_after_the_end_is_repeated():
    assert found(events=[event(), event("end", 11.0), event(at=13.0)]) == {"repeated"}


def test_two_runs_at_the_same_time_overlap():
    assert found(events=[event(), event(at=10.5, pid=2), event("end", 11.0), event("end", 11.5, pid=2)]) == {
        "overlapping"
    }


@pytest.mark.parametrize("pid", [1, None], ids=["its worker", "the service"])
def test_a_run_that_was_taken_over_because_of_a_fault_is_recovered(pid):
    events = [event(), event(at=14.0, pid=2), event("end", 15.0, pid=2)]
    disturbance = Disturbance("killed", pid, 10.2, 10.3)
    assert found(events=events, disturbances=[disturbance], ended_at=16.0) == set()
    findings = judge([Sent(ONE, ["t1"], 16.0)], events, [disturbance], lease_seconds=LEASE_SECONDS)
    assert (findings.recovered, findings.tasks, findings.faults) == (1, 1, {"killed": 1})


@pytest.mark.parametrize(
    "disturbance",
    [Disturbance("killed", 3, 10.2, 10.3), Disturbance("killed", 1, 2.0, 3.0), Disturbance("killed", 1, 20.0, 21.0)],
    ids=["of another worker", "long before", "afterwards"],
)
def test_a_fault_that_explains_nothing_excuses_nothing(disturbance):
    events = [event(), event(at=14.0, pid=2), event("end", 15.0, pid=2)]
    assert found(events=events, disturbances=[disturbance], ended_at=16.0) == {"overlapping"}


def test_the_next_attempt_does_not_overlap():
    assert (
        found(events=[event(), event("end", 11.0), event(at=11.5, attempt=1), event("end", 11.8, attempt=1)]) == set()
    )


def test_a_cancelled_task_that_ran_is_wrong():
    assert found(outcome=None, events=(), expected=CANCELLED) == set()
    assert found(outcome=None, expected=CANCELLED) == {"wrong"}


def test_what_is_left_over_is_not_sound():
    findings = judge([], (), (), lease_seconds=LEASE_SECONDS, left_over=["a dead letter"])
    assert not findings.sound
    assert any("a dead letter" in line for line in table(findings))


def test_a_seed_determines_what_is_sent():
    first, second, other = Story(5), Story(5), Story(6)
    series = [first.next() for _ in range(50)]
    assert [second.next() for _ in range(50)] == series
    assert [other.next() for _ in range(50)] != series


def test_the_table_has_a_row_for_each_pair():
    shown = {"seconds": 60.0, "tasks": 5, "faults": {"worker killed": 2}, "recovered": 1}
    shown |= dict.fromkeys(("lost", "wrong", "repeated", "overlapping", "left_over"), 0)
    assert list(rows({"redis+redis": shown}))[2:] == [
        "| `redis+redis` | 60 | 2 x worker killed | 5 | 1 | 0 | 0 | 0 | 0 | 0 |"
    ]
