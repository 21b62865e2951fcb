"""`app.operations.bulk`: operations on many tasks, in the caller or in a worker, stopped, taken over, and audited."""

from datetime import timedelta

import pytest

from drivetrain import ConfigurationError, DeadLetterFilter, NotSupported, QueueSection, State, UnknownResult
from drivetrain.app.bulk import selections, work
from drivetrain.app.bulk.facade import Bulk
from drivetrain.app.bulk.operation_record import Action, OperationState
from drivetrain.app.bulk.selections import Count
from drivetrain.app.bulk.takeover import OperationTakeover
from drivetrain.app.bulk.work import TaskWork
from drivetrain.app.finding import TaskFilter
from drivetrain.contract import TaskReach
from drivetrain.testing import VirtualTime
from support.faults import Changed, rewire
from support.waiting import until

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch):
    monkeypatch.setattr(selections, "PAGE", 10)
    monkeypatch.setattr(work, "PAGE", 10)


@pytest.fixture
def bulk(app):
    return app.operations.bulk


def delayed(app, number):
    return app.send_many(app.signature("value", n).set(delay=DAY) for n in range(number))


def states(handles):
    return {handle.state() for handle in handles}


def drain(app):
    return app.worker(queues=app.operations.queues()).drain()


def test_it_runs_in_the_caller_page_by_page(app, bulk):
    handles, seen = delayed(app, 25), []
    operation = bulk.cancel(*[handle.id for handle in handles], by="ann", why="a mistake")
    assert str(operation.progress()) == "0"
    assert operation.record().state is OperationState.WAITING
    record = operation.run(report=lambda progress: seen.append(str(progress)))
    assert seen == ["0 of 25", "10 of 25", "20 of 25", "25 of 25"]
    assert (record.state, record.done, record.skipped, record.failed) == (OperationState.DONE, 25, 0, 0)
    assert states(handles) == {State.CANCELLED}


def test_a_worker_runs_it(app, bulk):
    handles = delayed(app, 3)
    with app.worker():
        operation = bulk.cancel(*[handle.id for handle in handles], "unknown")
        assert operation.wait(30)
    assert states(handles) == {State.CANCELLED}
    (reason,) = operation.errors()
    assert (reason.task_id, operation.progress().failed) == ("unknown", 1)
    assert "the backend has no record of it" in reason.text


def test_it_keeps_the_first_reasons_and_counts_all(app, bulk):
    operation = bulk.cancel(*(f"unknown-{n}" for n in range(30)))
    operation.run()
    assert [one.task_id for one in operation.errors()] == [f"unknown-{n}" for n in range(20)]
    assert operation.progress().failed == 30


def test_ids_that_are_given_twice_count_once(app, bulk):
    (handle,) = delayed(app, 1)
    assert bulk.cancel(handle.id, handle.id).run().done == 1


def test_more_ids_than_one_value_holds(app, bulk):
    operation = bulk.cancel(*(f"unknown-{n}" for n in range(2150)))
    assert operation.run().failed == 2150
    assert not [key for key, _ in app.runtime.backend.list_values("operations/ids/", limit=10).values]


def test_it_is_stopped_before_it_begins(app, bulk):
    handles = delayed(app, 3)
    operation = bulk.cancel(*[handle.id for handle in handles])
    assert operation.stop(by="bob")
    record = operation.record()
    assert (record.state, record.stopped_by, record.done) == (OperationState.STOPPED, "bob", 0)
    assert states(handles) == {State.PENDING}
    assert not operation.stop()
    assert operation.run() == record


def test_it_is_stopped_between_two_pages(app, bulk):
    handles = delayed(app, 25)
    operation = bulk.cancel(*[handle.id for handle in handles])
    record = operation.run(report=lambda progress: progress.done and operation.stop(by="bob"))
    assert (record.state, record.done, str(operation.progress())) == (OperationState.STOPPED, 10, "10 of 25")
    assert [handle.state() for handle in handles].count(State.CANCELLED) == 10


class Died(BaseException):
    """The process of an operation dies here."""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_another_process_goes_on_after_a_death(make_app, url, monkeypatch, log, moment):
    """The process dies while it acts on the second page. The next one repeats that page, and retries no task twice."""
    first, second = make_app(url), make_app(url)
    handles = first.send_many(first.signature("broken", n) for n in range(25))
    drain(first)
    log.clear()
    operation = first.operations.bulk.retry(*[handle.id for handle in handles])
    act, pages = TaskWork.act, []

    def dying(self, targets, *, again):
        pages.append(len(targets))
        if len(pages) == 2:
            if moment == "after":
                act(self, targets, again=again)
            raise Died
        return act(self, targets, again=again)

    monkeypatch.setattr(TaskWork, "act", dying)
    with pytest.raises(Died):
        operation.run()
    monkeypatch.undo()
    drain(second)  # the tasks of the first pages fail once more, before the operation goes on
    OperationTakeover(second._services, "second").run_active()
    drain(second)
    record = operation.record()
    assert (record.state, record.done, record.runner) == (OperationState.DONE, 25, "second")
    assert {handle.record().attempt for handle in handles} == {1}
    assert len(log.notes) == 25


def test_only_one_process_runs_it(make_app, url):
    first, second = make_app(url), make_app(url)
    handles, ran = delayed(first, 15), []
    operation = first.operations.bulk.cancel(*[handle.id for handle in handles])
    other = Bulk(second._services).runner("second")
    operation.run(report=lambda _: ran.append(other.run(operation.id)))
    assert set(ran) == {False}


def test_an_error_of_a_driver_ends_it(app, bulk, monkeypatch):
    monkeypatch.setattr(TaskWork, "act", lambda *_args, **_options: 1 / 0)
    record = bulk.cancel("1").run()
    assert (record.state, record.error) == (OperationState.FAILED, "ZeroDivisionError: division by zero")


def test_dead_letters_are_replayed_and_dropped(app, bulk, log):
    app.send_many(app.signature("broken", n).set(dead_letter=True) for n in range(25))
    drain(app)
    log.clear()
    operation = bulk.replay("default")
    assert operation.run().done == 25
    assert drain(app) == 25
    assert bulk.drop("default", DeadLetterFilter(reason="no such reason")).run().done == 0
    assert bulk.drop("default", DeadLetterFilter(tasks=["broken"])).run().done == 25
    assert app.operations.sizes(["default"])["default"].dead == 0


def test_delayed_tasks_run_now(app, bulk, log):
    handles = delayed(app, 3)
    assert bulk.run_now(*[handle.id for handle in handles]).run().done == 3
    drain(app)
    assert states(handles) == {State.SUCCESS}
    assert len(log.notes) == 3


def test_what_has_run_now_does_not_run_again_when_its_old_message_comes(make_app, memory_url, log):
    app = make_app(memory_url)
    with VirtualTime(app) as time:
        handle = app.send(app.signature("value", 1).set(delay=timedelta(days=30)))
        (outcome,) = app.operations.run_now(handle.id)
        assert outcome.verdict.value == "done"
        time.run_for(days=60)
    assert len(log.notes) == 1


def test_a_cancelled_task_does_not_run_when_its_message_comes(make_app, memory_url, log):
    """Its record is kept until then, however short the retention is."""
    app = make_app(memory_url)
    with VirtualTime(app) as time:
        handle = app.send(app.signature("value", 1).set(delay=timedelta(days=30)))
        assert handle.cancel()
        time.run_for(days=31)
        assert not log.notes
        time.run_for(days=2)
        with pytest.raises(UnknownResult):
            handle.state()


def test_a_waiting_retry_runs_now(make_app, memory_url):
    app = make_app(memory_url)
    with VirtualTime(app) as time:
        handle = app.send(app.signature("flaky", 2))
        time.run_ready()
        assert handle.state() is State.RETRY
        assert [one.verdict.value for one in app.operations.run_now(handle.id)] == ["done"]
        time.run_ready()
        assert handle.record().attempt == 1
        time.run_for(hours=1)
        assert handle.get() == 2


def test_an_operation_goes_a_day_after_its_end_and_its_audit_entry_stays(make_app, memory_url):
    app = make_app(memory_url)
    with VirtualTime(app) as time:
        bulk = app.operations.bulk
        operation = bulk.cancel("1", by="ann", why="a mistake")
        time.run_for(days=3)
        assert [record.id for record in bulk.recent()] == [operation.id]
        operation.run()
        time.run_for(hours=23)
        assert [record.id for record in bulk.recent()] == [operation.id]
        time.run_for(hours=2)
        assert bulk.recent() == []
        with pytest.raises(UnknownResult, match="there is no operation"):
            operation.progress()
        time.run_for(days=60)
        (entry,) = bulk.audit()
        assert (entry.operation, entry.by, entry.why, entry.action.value) == (
            operation.id,
            "ann",
            "a mistake",
            "cancel",
        )
        assert (entry.selection, entry.failed) == ("task 1", 1)


def test_a_single_retry_is_audited_too(app, bulk):
    app.operations.retry("1", by="ann")
    (entry,) = bulk.audit()
    assert (entry.action.value, entry.by, entry.selection, entry.failed) == ("retry", "ann", "task 1", 1)


def test_no_task_is_no_operation(bulk):
    with pytest.raises(ConfigurationError, match="to cancel, give either the ids of tasks or a filter"):
        bulk.cancel()


def test_a_broker_that_cannot_show_delayed_messages_is_refused(app):
    rewire(app, broker=Changed(app.runtime.broker, peeks=False))
    with pytest.raises(NotSupported, match="cannot show delayed messages"):
        app.operations.bulk.run_now("1")
    with pytest.raises(NotSupported, match="cannot show delayed messages"):
        app.operations.run_now("1")


def test_a_task_that_is_due_or_waits_for_another_task_is_skipped(app):
    waiting, due = app.signature("add", 1).set(task_id="waiting"), app.signature("value", 1).set(task_id="due")
    app.send(due | waiting)
    outcomes = app.operations.run_now("due", "waiting", "nobody")
    assert [(one.verdict.value, one.reason) for one in outcomes] == [
        ("skipped", "it has no delayed message: it is due already"),
        ("skipped", "it waits for task due, not for a time"),
        ("failed", "the backend has no record of it: the id is wrong, or its retention is over"),
    ]
    assert [one.id for one in app.runtime.broker.peek("default", QueueSection.READY, limit=9)] == ["due"]


# Filters


def test_a_filter_retries_what_has_failed(app, bulk, log):
    handles = app.send_many(app.signature("broken", n) for n in range(25))
    app.send(app.signature("value", 1))
    drain(app)
    log.clear()
    operation = bulk.retry(where=TaskFilter(task="bro*", text="it is broken"))
    assert operation.record().selection == "tasks with state:failure,expired task:bro* text:it is broken"
    # They fail again while it goes on, and match again. They are not retried twice.
    record = operation.run(report=lambda _: drain(app))
    assert (record.done, record.total, record.exact) == (25, 25, True)
    assert len(log.notes) == 25
    assert {handle.record().attempt for handle in handles} == {1}


def test_a_filter_cancels_what_waits(app, bulk):
    handles = delayed(app, 25)
    assert bulk.cancel(where=TaskFilter(queue="def*")).run().done == 25
    assert states(handles) == {State.CANCELLED}


def test_a_filter_runs_now_what_is_delayed(app, bulk):
    handles = delayed(app, 25)
    assert bulk.run_now(where=TaskFilter(task="value")).run().done == 25
    drain(app)
    assert states(handles) == {State.SUCCESS}


def test_a_filter_counts_what_it_would_choose(app, bulk):
    delayed(app, 25)
    assert bulk.count(Action.CANCEL, TaskFilter(task="value")) == Count(25)
    assert bulk.count(Action.RETRY, TaskFilter(task="value")) == Count(0)


def test_ids_and_a_filter_are_refused_together(bulk):
    with pytest.raises(ConfigurationError, match="either the ids of tasks or a filter"):
        bulk.cancel("1", where=TaskFilter(task="value"))


def test_what_cannot_be_found_is_refused_before_anything_is_stored(app, bulk):
    reach = TaskReach.NONE
    rewire(
        app, backend=Changed(app.runtime.backend, lists_tasks=reach), broker=Changed(app.runtime.broker, peeks=False)
    )
    with pytest.raises(NotSupported, match="does not list"):
        bulk.cancel(where=TaskFilter(states=(State.PENDING,), task="value"))
    assert bulk.recent() == []


def test_tasks_that_only_queues_show_are_searched_again_until_none_is_left(app, bulk):
    """A queue shows its first messages only, and the next ones when these are gone."""
    rewire(app, backend=Changed(app.runtime.backend, lists_tasks=TaskReach.NONE))
    handles = app.send_many(app.signature("value", n) for n in range(25))
    operation = bulk.cancel(where=TaskFilter(states=(State.PENDING,)))
    record = operation.run()
    assert (record.done, record.exact) == (25, False)
    assert record.notices
    assert states(handles) == {State.CANCELLED}


def test_a_worker_goes_on_with_what_a_service_has_interrupted(app, bulk):
    (handle,) = delayed(app, 1)
    operation = bulk.cancel(handle.id)
    with app.worker():
        until(lambda: operation.record().state.ended, "the worker has run it")
    assert handle.state() is State.CANCELLED
