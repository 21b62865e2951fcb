"""``drivetrain bulk`` and ``drivetrain retry``: what they do, print, and end with."""

from datetime import timedelta

import pytest

from drivetrain import State
from drivetrain.app.bulk import operation as operation_module
from drivetrain.cli import operation_view


@pytest.fixture
def delayed(shop):
    """The ids of three tasks that are due tomorrow."""
    return [shop.add.si(n, 1).set(delay=timedelta(days=1)).send().id for n in range(3)]


@pytest.fixture
def failed(shop, monkeypatch):
    """The id of a task that has failed, and would succeed now."""
    handle = shop.app.send(shop.app.signature("shop.fragile"))
    with shop.app.worker():
        handle.wait(30)
    monkeypatch.setenv("FRAGILE", "whole")
    return handle.id


@pytest.fixture(autouse=True)
def _app(monkeypatch, shop):
    monkeypatch.setenv("DRIVETRAIN_APP", "shop:app")

    @shop.app.task(name="shop.fragile")
    def fragile() -> str:
        import os

        return os.environ["FRAGILE"]


def states(shop, task_ids):
    return [record.state for record in shop.app.runtime.backend.read(task_ids)]


def test_cancel_shows_the_outcome(shop, run, delayed):
    outcome = run("bulk", "cancel", *delayed, "--yes", "--why", "a mistake")
    assert outcome.exit_code == 0, outcome.output
    assert outcome.stdout.startswith(f"cancel tasks {', '.join(delayed)}: 3 done, 0 skipped, 0 failed\noperation ")
    assert "(a mistake)" in outcome.stdout
    assert states(shop, delayed) == [State.CANCELLED] * 3


def test_an_action_on_a_task_that_fails_ends_with_one(run, delayed):
    outcome = run("bulk", "cancel", delayed[0], "nobody", "--yes")
    assert outcome.exit_code == 1
    assert "failed nobody: the backend has no record of it" in outcome.stdout


def test_a_dry_run_changes_nothing(shop, run, run_json, delayed):
    assert run("bulk", "cancel", *delayed, "--dry-run").stdout == "would: cancel 3 tasks\n"
    assert run_json("bulk", "cancel", *delayed, "--dry-run") == (0, {"dry_run": "Cancel 3 tasks"})
    assert states(shop, delayed) == [State.PENDING] * 3


def test_search_words_choose_tasks(shop, run, run_json, delayed, failed):
    assert run("bulk", "cancel", "task:shop.add", "--dry-run").stdout == "would: cancel 3 tasks\n"
    assert run("bulk", "retry", "since:1h", "fragile", "--dry-run").stdout == "would: retry 1 task\n"
    code, document = run_json("bulk", "cancel", "task:shop.*", "--yes")
    assert (code, document["done"]) == (0, 3)
    assert document["selection"] == "tasks with state:pending,received,started,retry task:shop.*"
    assert states(shop, delayed) == [State.CANCELLED] * 3
    outcome = run("bulk", "cancel", "task:shop.*", "--yes")
    assert outcome.exit_code == 3
    assert "no task matches" in outcome.stderr
    assert run("bulk", "cancel", "tusk:shop.add", "--yes").exit_code == 2


def test_without_a_terminal_it_asks_for_yes(shop, run, delayed):
    outcome = run("bulk", "cancel", *delayed)
    assert outcome.exit_code == 2
    assert "use --yes to confirm" in outcome.stderr
    assert states(shop, delayed) == [State.PENDING] * 3


def test_ids_come_from_the_standard_input(shop, run, delayed):
    assert run("bulk", "cancel", "-", "--yes", input="\n".join(delayed)).exit_code == 0
    assert states(shop, delayed) == [State.CANCELLED] * 3
    assert run("bulk", "cancel", "-", "--yes", input="").exit_code == 2


def test_a_worker_runs_a_detached_operation(shop, run, run_json, delayed):
    outcome = run("bulk", "cancel", *delayed, "--yes", "--detach")
    assert outcome.exit_code == 0
    operation_id = outcome.stdout.split()[1]
    assert "waits for a worker" in outcome.stdout
    assert run_json("bulk", "show", operation_id)[1]["state"] == "waiting"
    with shop.app.worker():
        code, document = run_json("bulk", "show", operation_id, "--wait")
    assert (code, document["state"], document["done"], document["total"]) == (0, "done", 3, 3)
    assert states(shop, delayed) == [State.CANCELLED] * 3


def test_operations_are_listed_stopped_and_remembered(run, run_json, delayed):
    assert run("bulk", "list").stdout == "no operations\n"
    assert run("bulk", "history").stdout == "nothing was done in the last 90 days\n"
    operation_id = run("bulk", "cancel", *delayed, "--yes", "--detach").stdout.split()[1]
    assert run("bulk", "stop", operation_id).stdout == f"Stopping {operation_id}.\n"
    assert run("bulk", "stop", operation_id).stdout == f"{operation_id} had ended before.\n"
    assert run("bulk", "show", operation_id).exit_code == 1
    assert "stopped by " in run("bulk", "show", operation_id).stdout
    (document,) = run_json("bulk", "list")[1]["operations"]
    assert (document["id"], document["state"], document["done"]) == (operation_id, "stopped", 0)
    (entry,) = run_json("bulk", "history")[1]["history"]
    assert (entry["operation"], entry["action"], entry["state"]) == (operation_id, "cancel", "stopped")
    assert operation_id in run("bulk", "list").stdout
    assert "stopped" in run("bulk", "history").stdout


def test_an_unknown_operation_ends_with_three(run):
    for command in ("show", "stop"):
        outcome = run("bulk", command, "nobody")
        assert outcome.exit_code == 3
        assert "there is no operation nobody" in outcome.stderr


def test_delayed_tasks_run_now(shop, run, delayed):
    assert run("bulk", "run-now", *delayed, "--yes").exit_code == 0
    shop.app.worker().drain()
    assert states(shop, delayed) == [State.SUCCESS] * 3


def test_dead_letters_are_replayed_and_dropped(shop, run, run_json, monkeypatch):
    handle = shop.app.send(shop.app.signature("shop.fragile").set(dead_letter=True))
    shop.app.worker().drain()
    assert run("bulk", "replay", "default", "--dry-run").stdout == "would: replay 1 dead letter of 'default'\n"
    assert run("bulk", "replay", "default", "--yes").exit_code == 0
    shop.app.worker().drain()
    assert run("bulk", "drop", "default", "--reason", "nothing like it", "--yes").stdout.startswith("drop dead letters")
    code, document = run_json("bulk", "drop", "default", "--task", "shop.fragile", "--yes")
    assert (code, document["action"], document["done"]) == (0, "drop", 1)
    assert handle.state() is State.FAILURE


def test_a_failed_task_is_retried(shop, run, run_json, failed):
    code, document = run_json("retry", failed, "--why", "it is whole again")
    assert (code, document) == (0, {"tasks": [{"id": failed, "verdict": "done", "reason": None}]})
    shop.app.worker().drain()
    assert run_json("result", failed)[1]["state"] == "SUCCESS"
    outcome = run("retry", failed, "nobody")
    assert outcome.exit_code == 1
    assert "it has succeeded" in outcome.stdout
    assert "the backend has no record of it" in outcome.stdout


def test_many_failed_tasks_are_retried(shop, run_json, failed):
    code, document = run_json("bulk", "retry", failed, "--yes")
    assert (code, document["done"]) == (0, 1)
    shop.app.worker().drain()
    assert states(shop, [failed]) == [State.SUCCESS]


def test_ctrl_c_stops_the_operation(shop, delayed):
    operation = shop.app.operations.bulk.cancel(*delayed)

    class Interrupted(operation_module.Operation):
        def run(self, *, report=None):
            raise KeyboardInterrupt

    interrupted = Interrupted(operation.id, operation._store, operation._runner, shop.app.runtime.clock)
    record = operation_view.run_shown(interrupted, quiet=True)
    assert (record.state, record.done) == ("stopped", 0)
    assert record.stopped_by


def test_a_terminal_sees_a_progress_bar(shop, delayed, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    operation = shop.app.operations.bulk.cancel(*delayed)
    assert operation_view.run_shown(operation, quiet=False).done == 3
    assert "3/3" in capsys.readouterr().err
