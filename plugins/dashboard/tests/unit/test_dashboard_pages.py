"""Each page, as HTML and as JSON, of an app that has worked."""

import pytest

from drivetrain import chain, group
from drivetrain.contract import ValueWrite
from drivetrain.worker.status import Scale, WorkerStatus, status_key
from drivetrain.worker.value_codec import encode
from drivetrain_dashboard.views.catalog import PAGES
from drivetrain_dashboard.web.links import API_PATHS

#: The pages that need no id.
PLAIN = [kind.name for kind in PAGES.values() if kind.name not in {"task", "workflow", "operation"}]


@pytest.mark.parametrize("name", PLAIN)
def test_each_page_is_answered(client, worked, name):
    client.page(PAGES[name].path)
    assert client.read(API_PATHS[name])["problem"] == ""


def test_the_overview_counts_queues_and_says_what_needs_attention(client, worked):
    page = client.read("/overview")
    [queue] = page["queues"]
    assert (queue["name"], queue["ready"], queue["delayed"], queue["dead"]) == ("default", 1, 1, 1)
    assert queue["workers"] == 0
    assert queue["diagnosis"] == "No worker serves it."
    texts = [one["text"] for one in page["attention"]]
    assert "Queue default: 2 tasks wait. No worker serves it." in texts
    assert "Queue default has 1 dead letter." in texts


def test_tasks_are_found_by_search_words(client, worked):
    page = client.read('/tasks?q=state:failed task:"fail"')
    [task] = page["tasks"]
    assert task["task_id"] == worked["failed"]
    assert task["failure"] == "builtins.ValueError: no stock"
    assert page["count"] == {"number": 1, "exact": True}
    assert page["cursor"] is None


def test_a_wrong_search_word_is_explained_on_the_page(client, worked):
    assert "there is no search word stat:; did you mean state:?" in client.read("/tasks?q=stat:failed")["error"]
    client.page("/tasks?q=stat:failed")
    assert "a quote that is not closed" in client.read('/tasks?q=task:"x')["error"]


def test_tasks_come_in_pages(client, app):
    sent = {app.signature("add", number, 0).send().id for number in range(7)}
    found, cursor, pages = set(), "", 0
    while cursor is not None:
        page = client.read(f"/tasks?q=state:waiting&limit=3&cursor={cursor}")
        assert page["first"] is (pages == 0)
        found |= {one["task_id"] for one in page["tasks"]}
        cursor, pages = page["cursor"], pages + 1
    assert (found, pages >= 3) == (sent, True)


def test_a_count_that_is_not_exact_says_so(client, app):
    for number in range(4):
        app.signature("add", number, 0).send()
    assert client.read("/tasks?q=state:waiting&limit=2")["count"] == {"number": 2, "exact": False}
    assert client.read("/tasks?q=state:waiting&limit=2&count=1")["count"] == {"number": 4, "exact": True}


def test_a_task_shows_its_states_and_its_failure(client, worked):
    page = client.read(f"/task?id={worked['failed']}")
    assert page["state"] == "FAILURE"
    assert [one["what"] for one in page["timeline"][:4]] == ["PENDING", "RECEIVED", "STARTED", "FAILURE"]
    assert (page["failure"]["type"], page["failure"]["message"]) == ("builtins.ValueError", "no stock")
    assert "raise ValueError(text)" in page["failure"]["traceback"]
    assert page["run_seconds"] >= 0


def test_arguments_are_hidden_until_asked_for(client, worked):
    for task_id in worked.values():
        assert client.read(f"/task?id={task_id}")["arguments"] is None
    shown = {name: client.read(f"/task?id={task_id}&arguments=true") for name, task_id in worked.items()}
    assert shown["failed"]["arguments"]["args"] == ["'no stock'"]
    assert shown["dead"]["arguments"]["args"] == ["'no stock'"]
    assert shown["waiting"]["arguments"]["args"] == ["3", "4"]
    assert shown["delayed"]["arguments"]["args"] == ["5", "6"]
    assert "has succeeded" in shown["succeeded"]["arguments"]["problem"]
    assert shown["succeeded"]["result"] == "3"


def test_an_unknown_task_has_a_page_that_says_so(client):
    page = client.read("/task?id=nothing")
    assert (page["found"], page["state"]) == (False, None)
    assert "has no record of this id" in page["problem"]
    assert "has no record" in client.read("/workflow?id=nothing")["problem"]
    assert "there is no operation nothing" in client.read("/operation?id=nothing")["problem"]
    assert client.read("/schedules?schedule=nothing")["unknown"] is True


def test_a_task_shows_what_it_waits_for_and_what_waits_for_it(client, app):
    first, second = app.signature("add", 1, 2), app.signature("add", 3)
    result = chain(first, second).send()
    tree = client.read(f"/workflow?id={result.id}")["tree"]
    head, tail = (step["id"] for step in tree["steps"])
    assert tail == result.id
    [following] = client.read(f"/task?id={head}")["following"]
    assert (following["task_id"], following["task"], following["state"], following["how"]) == (
        tail,
        "add",
        "PENDING",
        "next",
    )
    waiting = client.read(f"/task?id={tail}")
    assert waiting["waiting"].startswith(f"waits for {head} (PENDING, queue 'default'")
    assert [one["task_id"] for one in waiting["blockers"]] == [head]


def test_a_workflow_folds_large_groups(client, app):
    result = group(app.signature("add", number, 1) for number in range(30)).send()
    page = client.read(f"/workflow?id={result.id}&members=10")
    [step] = page["tree"]["steps"]
    assert (step["members"], len(step["branches"]), page["hidden"]) == (30, 10, 20)
    assert page["states"] == {"PENDING": 10}


def test_a_member_of_a_group_shows_the_group_that_waits_for_it(client, app):
    result = group(app.signature("add", number, 1) for number in range(3)).send()
    [member, *_] = result.members
    following = client.read(f"/task?id={member.id}")["following"]
    assert [(one["task_id"], one["how"]) for one in following] == [(result.id, "group")]
    assert client.read(f"/task?id={result.id}")["members"] == 3


def test_workers_show_what_they_do(client, app):
    with app.worker(name="w1"):
        result = app.signature("add", 1, 2).send()
        assert result.wait(30)
        [worker] = client.read("/workers")["workers"]
        assert (worker["name"], worker["state"], worker["queues"]) == ("w1", "working", ["default"])


@pytest.mark.parametrize("scale", [None, Scale(processes=3, least=2, most=8)])
def test_a_worker_shows_how_many_processes_its_supervisor_runs(client, app, scale):
    status = WorkerStatus(
        name="w1",
        host="here",
        pid=1,
        version="1",
        queues=["default"],
        slots={"thread": 8},
        started=1.0,
        reported=1.0,
        scale=scale,
    )
    app.runtime.backend.write_values([ValueWrite(key=status_key("w1"), value=encode(status), expires_in_seconds=60.0)])
    [worker] = client.read("/workers")["workers"]
    shown = "the supervisor runs 3 processes now, between 2 and 8" in client.page("/workers")
    assert (worker["scale"], shown) == (
        (None, False) if scale is None else ({"processes": 3, "least": 2, "most": 8}, True)
    )


def test_an_opened_queue_shows_its_messages(client, worked):
    page = client.read("/queues?queue=default")
    ready, delayed = page["sections"]
    assert [one["task_id"] for one in ready["messages"]] == [worked["waiting"]]
    assert [one["task_id"] for one in delayed["messages"]] == [worked["delayed"]]
    assert (ready["more"], delayed["messages"][0]["due"] > page["at"]) == (0, True)


def test_a_schedule_shows_its_next_ticks(client, worked):
    page = client.read("/schedules?schedule=hourly")
    [row] = page["schedules"]
    assert (row["id"], row["when"], row["state"], len(row["next"])) == ("hourly", "every 3600 s", "active", 3)
    assert len(page["opened"]["next"]) == 20


def test_dead_letters_are_chosen_by_task_and_reason(client, worked):
    page = client.read("/dead-letters")
    assert page["queue"] == "default"
    assert [one["task_id"] for one in page["letters"]] == [worked["dead"]]
    assert "no stock" in page["letters"][0]["reason"]
    assert client.read("/dead-letters?task=other")["letters"] == []
    assert client.read("/dead-letters?reason=NO+STOCK")["tasks"] == {"die": 1}


def test_the_drivers_page_says_what_drivers_do(client):
    parts = client.read("/drivers")["parts"]
    assert [part["name"] for part in parts] == ["broker", "backend", "together"]
    assert all(part["groups"] for part in parts)


def test_a_wrong_parameter_is_refused_with_its_name(client):
    assert "limit" in client.read("/tasks?limit=many", status=422)["error"]
    assert "unknown field" in client.read("/tasks?colour=red", status=422)["error"]
    assert "id" in client.read("/task", status=422)["error"]
    client.page("/task", status=422)


def test_an_unknown_address_is_not_found(client):
    assert "There is no such page." in client.page("/nothing", status=404)
    assert client.read("/nothing", status=404) == {"status": 404, "error": "There is no such page."}
