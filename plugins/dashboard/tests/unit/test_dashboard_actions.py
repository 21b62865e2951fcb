"""Actions: by forms that lead back, and by JSON; on one task, on a selection, on all that match."""

import html
import re
import threading

import pytest

from drivetrain import Concurrency
from drivetrain.contract import State
from drivetrain.worker.pauses import Pause
from support.waiting import until


def shown_after(client, answer):
    """The page to which a form leads."""
    return html.unescape(client.page(answer.headers["location"]))


def ended(app, client, operation):
    """What is stored of an operation when it has ended. The dashboard runs it where no worker lives."""
    assert app.operations.bulk.get(operation).wait(30)
    return client.read(f"/operation?id={operation}")["operation"]


def test_a_form_acts_and_leads_back_with_an_answer(app, client, worked):
    answer = client.submit("tasks.cancel", ids=worked["waiting"], back="/tasks?q=state:waiting")
    assert re.fullmatch(r"/tasks\?q=state:waiting&notice=[\w-]+", answer.headers["location"])
    assert "1 task was cancelled." in shown_after(client, answer)
    assert app.result(worked["waiting"]).state() is State.CANCELLED


def test_an_answer_is_shown_only_by_its_key(client, worked):
    client.submit("tasks.cancel", ids=worked["waiting"])
    assert "cancelled." not in client.page("/tasks?notice=1%20task%20was%20cancelled.")


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"])
def test_a_form_leads_to_no_other_site(client, worked, back):
    answer = client.submit("tasks.cancel", ids=worked["waiting"], back=back)
    assert answer.headers["location"].startswith("/tasks?notice=")


def test_an_action_that_does_nothing_says_why(client, worked):
    text = shown_after(client, client.submit("tasks.cancel", ids=worked["succeeded"]))
    assert f"Task {worked['succeeded']} was not cancelled: it has ended" in text


def test_a_failed_task_is_retried(app, client, worked):
    done = client.act("tasks.retry", ids=[worked["failed"], worked["succeeded"]], why="stock is back")
    assert [one["verdict"] for one in done["outcomes"]] == ["done", "skipped"]
    assert done["text"].startswith("1 task was retried, 1 skipped")
    [entry, *_] = client.read("/operations")["audit"]
    assert (entry["action"], entry["by"], entry["why"]) == ("retry", "local", "stock is back")


def test_a_delayed_task_is_made_due_now(app, client, worked):
    client.act("tasks.run_now", ids=[worked["delayed"]])
    with app.worker():
        assert app.result(worked["delayed"]).get(timeout=30) == 11


def test_many_tasks_are_acted_on_in_the_background(app, client):
    sent = [app.signature("add", number, 0).send().id for number in range(25)]
    done = client.act("tasks.cancel", ids=sent)
    record = ended(app, client, done["operation"])
    assert (record["state"], record["done"], record["total"]) == ("done", 25, 25)


def test_all_that_match_are_counted_before_and_acted_on_in_the_background(app, client):
    for number in range(25):
        app.signature("add", number, 0).send()
    app.signature("fail", "x").send()
    fields = {"matching": "1", "q": "task:add state:waiting", "back": "/tasks"}
    question = html.unescape(client.submit("tasks.cancel", status=200, **fields).text)
    assert "Cancel: 25 tasks that match 'task:add state:waiting'?" in question
    assert app.operations.bulk.recent() == []
    answer = client.submit("tasks.cancel", confirmed="1", **fields)
    [record] = app.operations.bulk.recent()
    assert answer.headers["location"].startswith(f"/operation?id={record.id}&notice=")
    assert ended(app, client, record.id)["done"] == 25
    assert client.read("/tasks?q=state:waiting")["count"]["number"] == 1


def test_a_worker_that_lives_runs_the_operation(app, client):
    sent = [app.signature("add", number, 0).set(delay=3600).send().id for number in range(25)]
    before = {thread.name for thread in threading.enumerate()}
    with app.worker():
        done = client.act("tasks.cancel", ids=sent)
        record = ended(app, client, done["operation"])
    assert record["done"] == 25
    assert f"operation {done['operation']}" not in before | {thread.name for thread in threading.enumerate()}


def test_ids_or_all_that_match_and_not_both(client):
    for chosen in ({}, {"ids": ["x"], "matching": True}):
        assert "not both, and not none" in client.act("tasks.cancel", status=422, **chosen)["error"]


def test_an_operation_is_stopped(app, client):
    operation = app.operations.bulk.cancel("a", "b")
    assert "what it has done stays" in client.act("operations.stop", id=operation.id)["text"]
    assert client.read(f"/operation?id={operation.id}")["operation"]["stopped_by"] == "local"


def test_a_queue_is_paused_resumed_and_purged(app, client, worked):
    client.submit("queues.pause", queue="default", why="deploy")
    pause = app.operations.paused()["default"]
    assert isinstance(pause, Pause)
    assert (pause.why, pause.by) == ("deploy", "local")
    assert client.read("/queues")["queues"][0]["diagnosis"] == "It is paused: deploy."
    client.submit("queues.resume", queue="default")
    assert app.operations.paused() == {}
    assert "Drop the 2 tasks that wait in queue default?" in client.submit("queues.purge", 200, queue="default").text
    client.submit("queues.purge", queue="default", confirmed="1")
    assert app.result(worked["waiting"]).state() is State.CANCELLED


def test_a_worker_is_stopped(app, client):
    with app.worker(name="w") as worker:
        until(lambda: client.read("/workers")["workers"], "it reports")
        assert "Stop worker w?" in client.submit("workers.stop", 200, worker="w", why="a new kernel").text
        client.submit("workers.stop", worker="w", why="a new kernel", confirmed="1")
        until(lambda: worker.stop_request is not None, "it obeys")
        assert (worker.stop_request.by, worker.stop_request.why) == ("local", "a new kernel")
        until(lambda: worker.ended, "it has stopped")
    assert "no worker named 'gone' reports" in client.act("workers.stop", status=404, worker="gone")["error"]


def test_a_schedule_is_paused_triggered_backfilled_and_removed(app, client, worked):
    client.submit("schedules.pause", schedule="hourly", why="deploy")
    assert client.read("/schedules")["schedules"][0]["paused"]["why"] == "deploy"
    client.submit("schedules.resume", schedule="hourly", missed="1")
    task_id = client.act("schedules.trigger", schedule="hourly")["task_id"]
    assert app.result(task_id).state() is State.PENDING
    done = client.act("schedules.backfill", schedule="hourly", start="3h", end="1s")
    assert done["text"] == "3 ticks of schedule hourly were sent."
    assert (
        "start is 'soon'" in client.act("schedules.backfill", 422, schedule="hourly", start="soon", end="1s")["error"]
    )
    client.submit("schedules.remove", schedule="hourly", confirmed="1")
    assert client.read("/schedules")["schedules"] == []
    assert "there is no schedule" in client.act("schedules.trigger", 404, schedule="hourly")["error"]


def test_a_limit_is_set_and_reset(app, client):
    @app.task(name="limited", limits=[Concurrency("stripe", 3)])
    def limited() -> None: ...

    client.submit("limits.set", name="stripe", limit="5", per="")
    [row] = client.read("/limits")["limits"]
    assert (row["kind"], row["limit"], row["declared"], row["changed_by"]) == ("concurrency", 5.0, "3 at once", "local")
    client.submit("limits.reset", name="stripe")
    assert client.read("/limits")["limits"][0]["limit"] == 3.0
    assert "did you mean 'stripe'?" in client.act("limits.set", 422, name="strpe", limit=5)["error"]
    assert "limit" in client.act("limits.set", 422, name="stripe", limit=0)["error"]


def test_dead_letters_are_replayed_and_dropped(app, client, worked):
    done = client.act("dead_letters.replay", queue="default", ids=[worked["dead"]])
    assert ended(app, client, done["operation"])["done"] == 1
    with app.worker():
        assert app.result(worked["dead"]).wait(30)
    assert client.read("/dead-letters")["size"] == 1
    question = client.submit("dead_letters.drop", 200, queue="default", matching="1", task="die").text
    assert "Drop all dead letters of queue default, of task die? This cannot be undone." in question
    done = client.act("dead_letters.drop", queue="default", matching=True, task="die")
    assert ended(app, client, done["operation"])["done"] == 1
    assert client.read("/dead-letters")["letters"] == []
