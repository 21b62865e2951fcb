"""Rescue: tasks whose message is gone are ended, and nothing that is only slow is; in virtual time."""

import logging
from datetime import timedelta

import pytest

from drivetrain import State, TaskFailed, chain, chord, group, retry
from drivetrain.contract import (
    BrokerCapabilities,
    Durability,
    Hold,
    Member,
    QueueSection,
    QueueSizes,
    RunLease,
    Transition,
    evolve,
    hookimpl,
)
from drivetrain.testing import VirtualClock
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.rescue.message_search import MAX_MESSAGES
from drivetrain.worker.rescue.missed_messages import SEARCHES, certainty_seconds
from drivetrain.worker.rescue.rescuer import rescuer
from support.faults import Changed, Fault, Faults, Moment, let_fail, rewire

HOUR = 3600.0
PAUSE = HOUR / (SEARCHES - 1)
LOST = "drivetrain.ResultLost"


class Operator:
    """An app in virtual time, and a worker's rescue."""

    def __init__(self, app, clock):
        self.app = app
        self.clock = clock
        self.rescuer = self.another()

    def another(self, **options):
        return rescuer(self.app.runtime, WorkerOptions(queues=("default",), **options))

    def pass_hours(self, hours=2.0, *, working=False):
        """Let time pass with all the looks that belong to it; the ids of those that were ended."""
        ended = []
        for _ in range(round(hours * HOUR / PAUSE)):
            self.clock.turn(PAUSE)
            if working:
                self.work()
            ended += [found.overdue.record.task_id for found in self.rescuer.search() if found.done]
        return ended

    def work(self):
        return self.app.worker().drain()

    def lose(self, queue="default"):
        """Drop all messages, as somebody does who deletes a queue."""
        for section in (QueueSection.READY, QueueSection.DELAYED):
            self.app.runtime.broker.purge(queue, section)

    def states(self, handle):
        return [record and record.state for record in self.app.runtime.backend.read(handle._parts)]


@pytest.fixture
def operator(make_app, url):
    clock = VirtualClock()
    return Operator(make_app(url, clock=clock), clock)


def assert_lost(*handles):
    for handle in handles:
        assert handle.wait(0), "it waits without end"
        with pytest.raises(TaskFailed) as raised:
            handle.get(0)
        assert raised.value.failure.type == LOST


# What is lost


def test_every_handle_of_a_workflow_ends_whose_messages_are_gone(operator):
    s = operator.app.signature
    handles = [
        operator.app.send(s("value", 1)),
        operator.app.send(s("value", 1).set(delay=60)),
        operator.app.send(chain(s("value", 1), s("add", 2), s("add", 3))),
        operator.app.send(chord([s("value", 1), chain(s("value", 1), s("add", 2))], s("total"))),
        operator.app.send(chain(group(group(s("value", 1)), s("value", 2)), s("value"))),
    ]
    operator.lose()
    operator.pass_hours()
    assert_lost(*handles)
    assert {state for handle in handles for state in operator.states(handle)} == {State.FAILURE}


def test_what_is_lost_in_the_middle_of_a_workflow_is_ended_too(operator):
    s = operator.app.signature
    handle = operator.app.send(chain(s("value", 1), s("add", 2).set(delay=60), s("add", 3)))
    operator.work()
    operator.lose()
    operator.pass_hours()
    assert_lost(handle)
    assert operator.states(handle) == [State.SUCCESS, State.FAILURE, State.FAILURE]


def test_a_lost_retry_is_ended(operator):
    flaky = operator.app.signature("flaky", 3).set(retry=retry.fixed(600, max_retries=3))
    handle = operator.app.send(chain(flaky, operator.app.signature("value")))
    operator.work()
    assert operator.states(handle) == [State.RETRY, State.PENDING]
    operator.lose()
    operator.pass_hours()
    assert_lost(handle)


def test_a_group_that_collects_failures_goes_on_without_the_lost_member(operator, log):
    s = operator.app.signature
    header = group(s("value", 1), s("value", 2).set(delay=60)).set(on_member_failure="collect")
    handle = operator.app.send(header | s("value"))
    operator.work()
    operator.lose()
    operator.pass_hours()
    operator.work()
    assert handle.get(0)[0] == 1
    assert handle.get(0)[1].type == LOST


def test_error_callbacks_of_lost_tasks_run_once_each(operator, log):
    s = operator.app.signature
    first = s("value", 1).set(on_error=[s("caught").set(task_id="own")])
    last = s("value").set(on_error=[s("caught").set(task_id="later")])
    operator.app.send(chain(first, last).set(on_error=[s("caught").set(task_id="around")]))
    operator.lose()
    operator.pass_hours(working=True)
    caught = [failure.type for task, failure in log.notes if task == "caught"]
    assert caught == [LOST] * 3


def test_a_task_whose_worker_died_and_whose_message_is_gone_is_ended(operator):
    handle = operator.app.send(operator.app.signature("value", 1))
    operator.lose()
    start = Transition(task_id=handle.id, state=State.STARTED, at=operator.clock.now(), run="of the dead", lease=30.0)
    operator.app.runtime.backend.record([start])
    operator.pass_hours()
    assert_lost(handle)


def test_what_waits_for_a_task_that_ended_without_making_it_go_on_is_ended(operator):
    s = operator.app.signature
    handle = operator.app.send(chain(s("value", 1).set(task_id="first"), s("add", 2), s("add", 3)))
    operator.lose()
    # All that is left of a worker that died after it had recorded the result.
    done = Transition(task_id="first", state=State.SUCCESS, at=operator.clock.now(), payload=b"", retention=60.0)
    operator.app.runtime.backend.record([done])
    operator.pass_hours(4)
    assert_lost(handle)


def test_a_complete_group_without_its_continuation_is_continued(operator):
    s = operator.app.signature
    members = [s("value", number).set(task_id=f"m{number}") for number in range(2)]
    handle = operator.app.send(chord(members, s("total")))
    backend, payloads = operator.app.runtime.backend, operator.app.runtime.payloads
    (group_id,) = [task_id for task_id in handle._parts if backend.read_groups([task_id])[0] is not None]
    operator.lose()
    ends = [
        Transition(
            task_id=f"m{number}",
            state=State.SUCCESS,
            at=operator.clock.now(),
            payload=payloads.dump(number),
            member=Member(group_id, number),
        )
        for number in range(2)
    ]
    backend.record(ends)
    operator.pass_hours()
    operator.work()
    assert handle.get(0) == 1


def test_a_lost_task_is_logged_and_reported_to_observers(make_app, url, caplog):
    clock, seen = VirtualClock(), []

    class Observer:
        @hookimpl
        def task_failed(self, event, failure):
            seen.append((event.task_id, event.task, failure.type))

    operator = Operator(make_app(url, clock=clock, plugins=[Observer()]), clock)
    handle = operator.app.send(operator.app.signature("value", 1))
    operator.lose()
    with caplog.at_level(logging.WARNING, "drivetrain.rescue"):
        assert operator.pass_hours() == [handle.id]
    (line,) = [record for record in caplog.records if record.task_id == handle.id]
    assert "its message is gone" in line.getMessage()
    assert seen == [(handle.id, "value", LOST)]


def test_only_one_of_many_rescues_ends_a_task(operator):
    handle = operator.app.send(operator.app.signature("value", 1))
    operator.lose()
    others = [operator.another(name=f"w{number}") for number in range(3)]
    ended = []
    for _ in range(2 * SEARCHES):
        operator.clock.turn(PAUSE)
        for one in [operator.rescuer, *others]:
            ended += [found for found in one.search() if found.done]
    assert len(ended) == 1
    assert_lost(handle)


def test_another_worker_searches_when_the_searching_worker_dies(operator):
    handle = operator.app.send(operator.app.signature("value", 1))
    operator.lose()
    operator.pass_hours(0.5)
    operator.rescuer = operator.another(name="heir")
    operator.pass_hours(3)
    assert_lost(handle)


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize(("method", "nth"), [("record", 1), ("record", 2), ("record", 3), ("complete", 1)])
def test_a_call_that_fails_while_a_task_is_ended_is_made_again(operator, method, nth, moment):
    s = operator.app.signature
    handle = operator.app.send(chord([chain(s("value", 1), s("value")), s("value", 2)], s("total")))
    operator.lose()
    faults = Faults(Fault(method, nth, moment))
    let_fail(operator.app, faults)
    operator.rescuer = operator.another()
    operator.pass_hours(3)
    assert faults.struck == 1
    assert_lost(handle)
    assert set(operator.states(handle)) == {State.FAILURE}


# What is only slow


def test_a_backlog_of_a_day_is_not_touched(operator):
    handles = operator.app.send_many([operator.app.signature("value", number) for number in range(50)])
    assert operator.pass_hours(24) == []
    assert operator.work() == 50
    assert [handle.get(0) for handle in handles] == list(range(50))


def test_a_lost_task_is_found_while_there_is_a_backlog(operator):
    lost = operator.app.send(operator.app.signature("value", 0))
    operator.lose()
    slow = operator.app.send_many([operator.app.signature("value", number) for number in range(50)])
    assert operator.pass_hours() == [lost.id]
    assert operator.work() == len(slow)


def test_a_delay_of_a_year_is_kept(operator):
    handle = operator.app.send(operator.app.signature("value", 1).set(delay=timedelta(days=365)))
    later = operator.app.send(
        chain(operator.app.signature("value", 1).set(delay=HOUR * 30), operator.app.signature("value"))
    )
    assert operator.pass_hours(24) == []
    operator.clock.turn(366 * 24 * HOUR)
    operator.work()
    assert (handle.get(0), later.get(0)) == (1, 1)


def test_a_retry_that_waits_for_its_time_is_kept(operator):
    handle = operator.app.send(operator.app.signature("flaky", 1).set(retry=retry.fixed(20 * HOUR, max_retries=3)))
    operator.work()
    assert operator.pass_hours(19) == []
    operator.pass_hours(2, working=True)
    assert handle.get(0) == 1


def test_a_task_that_runs_for_a_day_is_kept(operator):
    app = operator.app
    handle = app.send(chain(app.signature("value", 1), app.signature("value")))
    backend, broker = app.runtime.backend, app.runtime.broker
    (delivery,) = broker.receive(["default"], limit=1, wait_seconds=0, hold_seconds=2000)
    start = Transition(task_id=delivery.message.id, state=State.STARTED, at=operator.clock.now(), run="r", lease=2000.0)
    backend.record([start])
    for _ in range(96):
        assert operator.pass_hours(0.25) == []
        backend.renew([RunLease(task_id=delivery.message.id, run="r", seconds=2000)])
        broker.extend([delivery], hold_seconds=2000)
    assert operator.states(handle) == [State.STARTED, State.PENDING]


def test_a_message_of_a_worker_that_was_stopped_for_a_day_is_found_again(operator):
    handle = operator.app.send(operator.app.signature("value", 1))
    operator.app.runtime.broker.receive(["default"], limit=1, wait_seconds=0, hold_seconds=30)
    assert operator.pass_hours(24) == []
    operator.work()
    assert handle.get(0) == 1


def test_a_message_that_comes_at_the_last_moment_is_not_ended_while_it_runs(operator):
    handle = operator.app.send(operator.app.signature("value", 1))
    operator.lose()
    backend, record = operator.app.runtime.backend, operator.app.runtime.backend.record
    started = Transition(task_id=handle.id, state=State.STARTED, at=operator.clock.now(), run="in time", lease=HOUR)

    def record_late(transitions):
        if transitions[0].run != "in time":
            record([evolve(started, at=operator.clock.now())])
        return record(transitions)

    changed = Changed(backend)
    changed.record = record_late
    rewire(operator.app, backend=changed)
    operator.rescuer = operator.another()
    assert operator.pass_hours(1.5) == []
    assert operator.states(handle) == [State.STARTED]


def test_a_dead_letter_is_not_lost(operator):
    handle = operator.app.send(operator.app.signature("value", 1))
    (delivery,) = operator.app.runtime.broker.receive(["default"], limit=1, wait_seconds=0, hold_seconds=30)
    operator.app.runtime.broker.dead_letter([(delivery, "put aside")])
    assert operator.pass_hours(24) == []
    assert operator.states(handle) == [State.PENDING]


def test_a_queue_that_is_too_long_is_not_searched(operator, caplog):
    lost = operator.app.send(operator.app.signature("value", 0))
    operator.lose()
    long = Changed(operator.app.runtime.broker)
    long.sizes = lambda queues: {
        name: QueueSizes(ready=MAX_MESSAGES + 1, delayed=0, in_flight=0, dead=0) for name in queues
    }
    rewire(operator.app, broker=long)
    operator.rescuer = operator.another()
    assert operator.pass_hours(24) == []
    assert operator.states(lost) == [State.PENDING]
    report = operator.app.operations.rescue(dry_run=True)
    assert "a search reads at most 10000" in report.backlog


# Brokers that do not show their messages


@pytest.fixture
def counting(operator):
    """An operator of a broker that tells how many messages are ready, and nothing else, as RabbitMQ does."""
    broker = operator.app.runtime.broker
    blind = Changed(broker, peeks=False, lists_queues=False, store=None)
    blind.sizes = lambda queues: {
        q: evolve(size, delayed=None, in_flight=None) for q, size in broker.sizes(queues).items()
    }
    blind.queues = list
    rewire(operator.app, broker=blind)
    operator.rescuer = operator.another()
    return operator


def test_where_a_broker_only_counts_an_empty_queue_is_evidence(counting):
    s = counting.app.signature
    lost = counting.app.send(chain(s("value", 1).set(task_id="lost"), s("value")))
    elsewhere = counting.app.send(s("value", 1).set(queue="elsewhere"))
    late = counting.app.send(s("value", 2).set(delay=48 * HOUR))
    counting.app.runtime.broker.purge("default", QueueSection.READY)
    assert counting.pass_hours() == ["lost"]
    assert_lost(lost)
    assert counting.pass_hours(24) == []
    assert [*counting.states(elsewhere), *counting.states(late)] == [State.PENDING] * 2


def test_where_a_broker_only_counts_nothing_is_lost_while_anything_waits(counting):
    lost = counting.app.send(counting.app.signature("value", 1))
    counting.lose()
    counting.app.send(counting.app.signature("value", 2))
    assert counting.pass_hours(24) == []
    counting.work()
    assert counting.pass_hours() == [lost.id]


def test_where_a_broker_only_counts_a_retry_keeps_its_queue(counting):
    handle = counting.app.send(counting.app.signature("flaky", 1).set(retry=retry.fixed(60, max_retries=3)))
    counting.work()
    assert counting.states(handle) == [State.RETRY]
    counting.lose()
    assert counting.pass_hours() == [handle.id]
    assert_lost(handle)


def test_what_an_older_version_sent_to_such_a_broker_is_not_decided(counting):
    old = Transition(task_id="old", state=State.PENDING, at=counting.clock.now(), task="value")
    counting.app.runtime.backend.record([old])
    assert counting.pass_hours(24) == []
    (found,) = counting.app.operations.rescue(dry_run=True).tasks
    assert "its queue is not recorded" in found.reason
    (found,) = counting.app.operations.end_lost("old").tasks
    assert found.done == "ended"
    assert_lost(counting.app.result("old"))


# How long


def broker(**capabilities):
    return BrokerCapabilities(durability=Durability.NONE, **capabilities)


@pytest.mark.parametrize(
    ("capabilities", "seconds"),
    [
        (broker(peeks=True), 150.0),
        (broker(), 480.0),
        (broker(hold=Hold.CONNECTION, longest_hold_seconds=1800.0), 3600.0),
        (broker(hold=Hold.CONNECTION), None),
    ],
)
def test_searches_take_longer_than_a_message_can_be_hidden(capabilities, seconds):
    assert certainty_seconds(capabilities, lease_seconds=30.0, version_mismatch_seconds=240.0) == seconds


def test_it_can_be_switched_off(operator):
    assert operator.another(rescue_after_seconds=None) is None


# By an operator


def test_a_dry_run_shows_lost_tasks_before_they_are_ended(operator):
    handle = operator.app.send(operator.app.signature("value", 1))
    operator.lose()
    operator.clock.turn(HOUR)
    (found,) = operator.app.operations.rescue(dry_run=True).tasks
    assert (found.overdue.record.task_id, found.reason, found.done) == (handle.id, "", "")
    assert operator.states(handle) == [State.PENDING]
    (found,) = operator.app.operations.rescue().tasks
    assert found.done == "ended"
    assert_lost(handle)


def test_an_operator_cannot_end_what_lies_in_a_queue(operator):
    handle = operator.app.send(operator.app.signature("value", 1))
    (found,) = operator.app.operations.end_lost(handle.id, "nobody knows it").tasks
    assert (found.done, found.reason) == ("", "its message is in a queue")
    assert operator.work() == 1
    assert handle.get(0) == 1
