"""``drivetrain tasks``: search words, pages, JSON, and what is said of a search that does not reach everything."""

import pytest


@pytest.fixture
def ended(shop):
    """A task that succeeded, one that failed, and one that waits."""
    sent = [shop.add.send(1, 2), shop.fail.send("\x1b[31mmoney")]
    shop.app.worker(name="w-1").drain()
    return [*sent, shop.add.send(3, 4)]


def test_tasks_are_shown_in_a_table(ended, run):
    outcome = run("--app", "shop:app", "tasks", "state:failed")
    header, row = outcome.stdout.splitlines()
    assert header.split() == ["TASK", "ID", "STATE", "TASK", "QUEUE", "ATTEMPT", "CHANGED", "WORKER", "FAILURE"]
    assert row.split()[:3] == [ended[1].id, "FAILURE", "shop.fail"]
    assert "w-1" in row
    assert row.endswith(r"builtins.ValueError: no \x1b[31mmoney")
    assert outcome.stderr == ""


def test_words_are_combined(ended, run_json):
    def found(*words):
        code, document = run_json("--app", "shop:app", "tasks", *words)
        assert code == 0
        return [task["task_id"] for task in document["tasks"]]

    assert found() == [result.id for result in reversed(ended)]
    assert found("task:shop.a*", "state:ended") == [ended[0].id]
    assert found("no", "\x1b[31mmoney") == [ended[1].id]
    assert found(f"id:{ended[2].id}") == [ended[2].id]
    assert found("worker:w-1", "since:1h", "queue:default", "state:succeeded") == [ended[0].id]
    assert found("task:nothing") == []


def test_the_document_says_what_was_searched(ended, run_json):
    code, document = run_json("--app", "shop:app", "tasks", "state:failed")
    (task,) = document["tasks"]
    assert code == 0
    assert document["searched"] == {"states": ["FAILURE"], "sources": ["backend"], "notices": []}
    assert (task["task_id"], task["state"], task["queue"], task["attempt"]) == (ended[1].id, "FAILURE", "default", 0)
    assert task["failure"] == "builtins.ValueError: no \x1b[31mmoney"
    assert task["changed"].endswith("Z")


def test_the_next_page_begins_at_the_cursor(ended, run, run_json):
    outcome = run("--app", "shop:app", "tasks", "--limit", "2")
    cursor = outcome.stderr.split()[-1]
    assert "repeat the command with --cursor" in outcome.stderr
    _, document = run_json("--app", "shop:app", "tasks", "--limit", "2", "--cursor", cursor)
    assert [task["task_id"] for task in document["tasks"]] == [ended[0].id]
    outcome = run("--app", "shop:app", "tasks", "state:failed", "--cursor", cursor)
    assert outcome.exit_code != 0
    assert "is not a cursor of this search" in outcome.stderr


def test_nothing_is_found(ended, run):
    assert run("--app", "shop:app", "tasks", "task:nothing").stdout == "No task matches.\n"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["stat:failed"], "there is no search word stat:; did you mean state:?"),
        (["state:broken"], "state: has 'broken'; use one or more"),
        (["since:yesterday"], "since: has 'yesterday'; use an age"),
        (["--limit", "0"], "Invalid value for '--limit'"),
        (["--limit", "many"], "Invalid value for '--limit'"),
        (["--cursor", "x"], "'x' is not a cursor of this search"),
    ],
)
def test_wrong_input_is_named(ended, run, words, error):
    outcome = run("--app", "shop:app", "tasks", *words)
    assert outcome.exit_code != 0
    assert error in outcome.stderr


def test_a_backend_that_lists_nothing_says_so(project, run):
    outcome = run("--broker", "sqlite:///work.db", "--backend", "null://", "tasks", "state:succeeded")
    assert outcome.exit_code != 0
    assert "cannot find tasks that succeeded: this app's backend does not list them" in outcome.stderr
    assert "drivetrain result ID" in outcome.stderr
    outcome = run("--broker", "sqlite:///work.db", "--backend", "null://", "tasks")
    assert outcome.stdout == "No task matches.\n"
    assert "Not searched: tasks that run" in outcome.stderr
