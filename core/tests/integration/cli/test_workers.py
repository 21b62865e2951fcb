"""``drivetrain workers`` and ``drivetrain top``: who lives, what runs, which queue nobody serves."""

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from datetime import datetime
from io import StringIO

import pytest
from rich.console import Console

from drivetrain import App, chain, group
from drivetrain.cli.commands.top import _unavailable, _view
from drivetrain.cli.overview import Overview, Rates, rates, worker_document
from drivetrain.cli.overview_tables import queue_table, worker_table
from drivetrain.cli.queue_notes import blocked_notes, queue_notes
from drivetrain.contract import QueueSizes, State, Transition, ValueWrite, evolve
from drivetrain.worker.counts.task_counts import TaskCounts
from drivetrain.worker.status import RunningTask, WaitingTask, WorkerStatus, status_key
from drivetrain.worker.stop_requests import StopRequest
from drivetrain.worker.value_codec import encode

SIZES = QueueSizes(ready=1, delayed=2, in_flight=3, dead=4)


def sizes(ready=0, delayed=0):
    return QueueSizes(ready=ready, delayed=delayed, in_flight=0, dead=0)


def status(name="w", **changes):
    fields = {"host": "h", "pid": 1, "version": "0", "queues": ["a"], "slots": {"threads": 2}, "started": 0.0}
    return WorkerStatus(**{**fields, "name": name, "reported": 0.0, **changes})


@pytest.fixture
def held(shop):
    """A worker in a thread that runs a task for as long as the test lasts; the handle of the task.

    It has an app of its own: a command closes the app that it has loaded.
    """
    gate, begun = threading.Event(), threading.Event()
    with App("sqlite:///work.db") as app:

        @app.task(name="held")
        def held() -> None:
            begun.set()
            assert gate.wait(60)

        with app.worker(name="w"):
            handle = held.send()
            assert begun.wait(60)
            while not any(worker.running for worker in app.operations.workers()):
                assert not gate.wait(0.05)
            yield handle
            gate.set()


class TestWorkers:
    def test_no_worker(self, shop, run, run_json):
        assert run("--app", "shop:app", "workers").stdout == "No worker reports. Start one with `drivetrain worker`.\n"
        assert run_json("--app", "shop:app", "workers") == (0, {"workers": []})

    def test_table(self, shop, run, held):
        lines = run("--app", "shop:app", "workers").stdout.splitlines()
        assert re.split(r"\s{2,}", lines[0])[:4] == ["WORKER", "STATE", "QUEUES", "SLOTS"]
        assert re.split(r"\s{2,}", lines[1])[:3] == ["w", "working", "default"]
        running = next(line for line in lines if line.startswith("held"))
        assert held.id in running

    def test_json(self, shop, run_json, held):
        code, document = run_json("--app", "shop:app", "workers")
        assert code == 0
        (worker,) = document["workers"]
        assert (worker["name"], worker["pid"], worker["stopping"]) == ("w", os.getpid(), False)
        assert [(one["id"], one["task"]) for one in worker["running"]] == [(held.id, "held")]
        assert datetime.fromisoformat(worker["running"][0]["began"])
        assert worker["total"]["received"] == worker["counts"]["held"]["received"] == 1

    def test_a_worker_in_another_process_without_its_app(self, start_worker, run_json, shop):
        worker = start_worker("--no-supervisor")
        while not (found := run_json("--broker", "sqlite:///work.db", "workers")[1]["workers"]):
            assert not threading.Event().wait(0.05)
        assert found[0]["pid"] == worker.pid
        worker.signal(signal.SIGTERM)
        assert worker.ended() == 0
        assert run_json("--broker", "sqlite:///work.db", "workers")[1]["workers"] == []

    @pytest.mark.parametrize("processes", [1, 2])
    def test_stopped_by_name_and_not_replaced(self, start_worker, run, run_json, shop, processes):
        worker = start_worker("--processes", str(processes), workers=processes)
        while len(found := run_json("--broker", "sqlite:///work.db", "workers")[1]["workers"]) < processes:
            assert not threading.Event().wait(0.05)
        names = [one["name"] for one in found]
        outcome = run("--broker", "sqlite:///work.db", "workers", "stop", *names, "--why", "a new kernel")
        answers = [f"Asked {name} to stop; it waits for nothing that runs." for name in names]
        assert outcome.stdout.splitlines() == answers
        assert worker.ended() == 0
        log = "\n".join(worker.lines)
        assert log.count("has asked for it: a new kernel") == processes
        assert "starting another" not in log
        outcome = run("--broker", "sqlite:///work.db", "workers", "stop", names[0])
        assert outcome.exit_code == 3
        assert f"no worker named '{names[0]}' reports" in outcome.stderr


class TestTop:
    def test_once(self, shop, run, held):
        shop.add.s(1, 2).set(queue="lonely").send()
        lines = run("--app", "shop:app", "top", "--once").stdout.splitlines()
        assert re.split(r"\s{2,}", lines[0]) == [
            "QUEUE",
            "READY",
            "DELAYED",
            "IN FLIGHT",
            "DEAD",
            "OLDEST",
            "SERVED BY",
        ]
        assert "no worker" in next(line for line in lines if line.startswith("lonely"))
        assert "no worker" not in next(line for line in lines if line.startswith("default"))
        assert any(held.id in line for line in lines)

    def test_json(self, shop, run_json, held):
        code, document = run_json("--app", "shop:app", "top")
        assert code == 0
        assert {one["queue"]: one["served"] for one in document["queues"]} == {"default": True}
        assert [one["name"] for one in document["workers"]] == ["w"]

    def test_without_a_terminal(self, shop, run):
        outcome = run("--app", "shop:app", "top")
        assert outcome.exit_code == 2
        assert "use --once" in outcome.stderr

    def test_without_rich(self, shop, run, monkeypatch):
        monkeypatch.setitem(sys.modules, "rich.live", None)
        monkeypatch.setattr("drivetrain.cli.commands.top._is_terminal", lambda: True)
        outcome = run("--app", "shop:app", "top")
        assert outcome.exit_code == 2
        assert "pip install 'drivetrain[top]'" in outcome.stderr

    def test_the_live_view_shows_what_changes_until_control_c(self, shop, project, start_worker):
        reader, terminal = pty.openpty()
        watching = subprocess.Popen(
            [sys.executable, "-m", "drivetrain.cli", "--app", "shop:app", "top", "--interval", "0.1"],
            stdin=terminal, stdout=terminal, env={**os.environ, "COLUMNS": "200", "LINES": "40", "TERM": "xterm"},
        )  # fmt: skip
        os.close(terminal)
        seen = b""
        try:
            while b"0 workers" not in seen:
                seen += os.read(reader, 4096)
            start_worker("--no-supervisor")
            while b"1 workers" not in seen:
                seen += os.read(reader, 4096)
            watching.send_signal(signal.SIGINT)
            drain(reader)
            assert watching.wait(60) == 0
        finally:
            watching.kill()
            watching.wait()
        assert b"per second: 0.0 succeeded" in seen


def drain(reader):
    """Read what a terminal still shows, until its program has ended."""
    try:
        while os.read(reader, 4096):
            pass
    except OSError:
        pass  # Linux reports the end of a terminal as an error
    os.close(reader)


def test_who_stops_a_worker_is_shown():
    stopped = status(stopping=True, stop_request=StopRequest(started=0.0, since=1.0, why="a new kernel", by="ada"))
    assert worker_table([stopped])[1][0][1] == "stopping: ada has asked for it: a new kernel"
    request = worker_document(stopped)["stop_request"]
    assert (request["by"], request["why"]) == ("ada", "a new kernel")


def text_of(view):
    console = Console(width=200, file=StringIO())
    console.print(view)
    return console.file.getvalue()


def test_the_view_shows_names_as_they_are():
    """Square brackets are not markup, and control characters are visible."""
    task = RunningTask(task_id="1", task="[red]\x1b", attempt=0, queue="q", began=0.0)
    overview = Overview(at=2.0, queues={"a": SIZES}, workers=[status(running=[task], running_count=1)])
    shown = text_of(_view(overview, Rates(), 5))
    assert "[red]\\x1b" in shown
    assert "1 workers, 1 tasks running" in shown


def test_an_outage_is_shown_above_the_last_view():
    overview = Overview(at=2.0, queues={"a": SIZES}, workers=[status()])
    assert "cannot read: away; retrying" in text_of(_unavailable(None, 5, "away"))
    shown = text_of(_unavailable(overview, 5, "away"))
    assert shown.index("cannot read: away") < shown.index("working")


def test_rates_compare_workers_that_live():
    before = Overview(
        at=10.0,
        queues={},
        workers=[
            status("a", counts={"t": TaskCounts(succeeded=5)}),
            status("gone", counts={"t": TaskCounts(succeeded=9)}),
        ],
    )
    now = Overview(
        at=12.0,
        queues={},
        workers=[
            status("a", counts={"t": TaskCounts(succeeded=9, failed=2)}),
            status("new", started=11.0, counts={"t": TaskCounts(succeeded=2)}),
        ],
    )
    assert rates(before, now) == Rates(succeeded=3.0, failed=1.0, retried=0.0)
    assert rates(None, now) == Rates()
    assert rates(now, now) == Rates()


def test_a_worker_that_started_again_under_its_name_counts_from_its_start():
    before = Overview(at=10.0, queues={}, workers=[status("a", counts={"t": TaskCounts(succeeded=50)})])
    again = status("a", started=10.5, counts={"t": TaskCounts(succeeded=2)})
    assert rates(before, Overview(at=11.0, queues={}, workers=[again])).succeeded == 2.0


def test_a_queue_is_not_served_by_a_worker_that_stops():
    overview = Overview(at=0.0, queues={"a": SIZES}, workers=[status(stopping=True)])
    assert not overview.served("a")
    assert Overview(at=0.0, queues={"a": SIZES}, workers=[status()]).served("a")


def test_without_a_backend_it_is_not_known_who_serves_a_queue():
    overview = Overview(at=0.0, queues={"a": sizes(ready=3)}, workers=[], knows_workers=False)
    assert overview.served("a") is None
    assert queue_table(overview)[1][0][-2] == "unknown"
    assert list(queue_notes(overview)) == []


def test_a_queue_with_tasks_that_no_worker_serves_is_named():
    overview = Overview(
        at=0.0,
        queues={
            "a": sizes(ready=3),
            "b": sizes(ready=1),
            "empty": sizes(),
            "no 1": sizes(delayed=1),
        },
        workers=[status(queues=["b"])],
    )
    assert list(queue_notes(overview)) == [
        "No worker serves a, where 3 tasks wait. Start one: drivetrain worker --queues a",
        "No worker serves no 1, where 1 task waits. Start one: drivetrain worker --queues 'no 1'",
    ]


def test_a_blocked_worker_says_why():
    blocked = status("w", blocked="all 2 slots run tasks that wait for results of other tasks")
    overview = Overview(at=0.0, queues={"a": SIZES}, workers=[blocked, status("free")])
    text = "Worker w is blocked: all 2 slots run tasks that wait for results of other tasks."
    assert list(queue_notes(overview)) == list(blocked_notes(overview.workers)) == [text]
    assert [row[1] for row in worker_table(overview.workers)[1]] == ["blocked", "working"]
    assert worker_document(blocked)["blocked"] == blocked.blocked
    assert list(queue_notes(evolve(overview, queues={"other": sizes()}))) == []


def test_workers_of_other_apps_are_not_listed(project, run_json):
    with App("sqlite:///work.db", name="one") as app, app.worker():
        while not app.operations.workers():
            assert not threading.Event().wait(0.05)
        assert run_json("--broker", "sqlite:///work.db", "--namespace", "two", "workers")[1]["workers"] == []


class TestQueues:
    def test_pause_and_resume(self, shop, run, run_json):
        shop.add.send(1, 2)
        outcome = run("--app", "shop:app", "queues", "pause", "default", "--why", "provider down")
        assert outcome.exit_code == 0
        assert outcome.stdout.startswith("Paused default.")
        assert re.search(
            "default .* no worker +since .* by .*@.*: provider down", run("--app", "shop:app", "queues").stdout
        )
        assert run_json("--app", "shop:app", "queues")[1]["queues"][0]["paused"]["why"] == "provider down"
        assert "provider down" in run("--app", "shop:app", "inspect").stdout
        assert shop.app.worker().drain() == 0
        outcome = run("queues", "resume", "default", "mails", "--app", "shop:app")
        assert outcome.stdout.splitlines() == ["Resumed default.", "mails was not paused."]
        assert run_json("--app", "shop:app", "inspect")[1]["queues"][0]["paused"] is None
        assert shop.app.worker().drain() == 1

    def test_a_queue_must_be_named(self, shop, run):
        assert run("--app", "shop:app", "queues", "pause").exit_code == 2

    def test_a_user_without_a_name(self, shop, run, monkeypatch):
        def getuser():
            raise KeyError

        monkeypatch.setattr("getpass.getuser", getuser)
        assert run("--app", "shop:app", "queues", "pause", "default").exit_code == 0
        assert shop.app.operations.paused()["default"].by.startswith("unknown@")


class TestInspect:
    def test_what_runs_is_listed_with_its_worker(self, shop, run, run_json, held):
        lines = run("--app", "shop:app", "inspect").stdout.splitlines()
        row = next(line for line in lines if held.id in line)
        assert re.split(r"\s{2,}", row)[:5] == ["default", held.id, "held", "0", "w"]
        (queue,) = run_json("--app", "shop:app", "inspect")[1]["queues"]
        assert [(one["worker"], one["id"], one["task"]) for one in queue["running"]] == [("w", held.id, "held")]
        assert queue["served"] is True

    def test_what_waits_in_a_worker_is_listed(self, shop, run, run_json):
        waiting = WaitingTask(task_id="1", task="t", attempt=0, queue="default", received=0.0)
        reported = status("w", queues=["default"], waiting=[waiting], waiting_count=1)
        write = ValueWrite(key=status_key("w"), value=encode(reported), expires_in_seconds=600.0)
        shop.app.runtime.backend.write_values([write])
        lines = run("--app", "shop:app", "inspect").stdout.splitlines()
        header = next(index for index, line in enumerate(lines) if "WAITS IN A WORKER" in line)
        assert re.split(r"\s{2,}", lines[header + 1])[:5] == ["default", "1", "t", "0", "w"]
        (queue,) = run_json("--app", "shop:app", "inspect")[1]["queues"]
        assert [(one["worker"], one["id"]) for one in queue["waiting"]] == [("w", "1")]


def test_a_result_shows_who_had_the_task(shop, run, run_json):
    """After a release: who gave it back, and no start. After a take-over: from whom it was taken."""
    backend, handle = shop.app.runtime.backend, shop.add.send(1, 2)
    start = Transition(task_id=handle.id, state=State.STARTED, at=5e9, worker="first", run="a", lease=60.0)
    backend.record([start, evolve(start, state=State.RECEIVED, at=5e9 + 1, lease=None)])
    document = run_json("--app", "shop:app", "result", handle.id)[1]
    assert (document["state"], document["worker"], document["released_by"]) == ("RECEIVED", None, "first")
    assert "STARTED" not in document["times"]
    assert "by worker first before its end" in run("--app", "shop:app", "result", handle.id).stdout
    backend.record([evolve(start, lease=0.0)])
    worker = shop.app.worker(name="second")
    (delivery,) = shop.app.runtime.broker.receive(["default"], limit=1, wait_seconds=5, hold_seconds=600)
    assert worker._receiver.start([delivery])
    document = run_json("--app", "shop:app", "result", handle.id)[1]
    assert (document["worker"], document["taken_over_from"], document["released_by"]) == ("second", "first", None)
    assert "from worker first, whose lease had ended" in run("--app", "shop:app", "result", handle.id).stdout


def test_a_result_shows_the_lease_of_a_run(shop, run, run_json, held):
    code, document = run_json("--app", "shop:app", "result", held.id)
    assert (code, document["starts"], document["worker"]) == (124, 1, "w")
    assert datetime.fromisoformat(document["leased_until"])
    assert "lease ends" in run("--app", "shop:app", "result", held.id).stdout


def test_every_start_is_logged_at_debug(shop, caplog):
    caplog.set_level("DEBUG", "drivetrain.worker")
    handle = shop.add.send(1, 2)
    assert shop.app.worker().drain() == 1
    record = next(one for one in caplog.records if "starting attempt 0 from queue default" in one.message)
    assert record.task_id == handle.id


def test_the_tree_of_a_workflow(shop, run, run_json):
    workflow = chain(shop.add.s(1, 2), group([shop.add.s(number) for number in range(12)]))
    handle = shop.app.send(workflow)
    drawn = run("--app", "shop:app", "result", "--tree", handle.id)
    assert drawn.exit_code == 124
    lines = drawn.stdout.splitlines()
    assert re.fullmatch(r"├─ shop.add  \w+  PENDING  queue default  \S+", lines[1])
    assert lines[2] == f"└─ group  {handle.id}  PENDING, waits  0 of 12 done  <"
    assert lines[-1] == "   └─ 2 more members"
    assert shop.app.worker().drain() == 13
    code, document = run_json("--app", "shop:app", "result", "--tree", handle.id, "--members", "3")
    first, second = document["steps"]
    assert (code, document["id"], first["id"]) == (0, first["id"], first["id"])
    assert (second["states"], len(second["branches"]), second["done"]) == ({"SUCCESS": 12}, 3, 12)
    assert run("--app", "shop:app", "result", "--tree", "nothing").exit_code == 3


def test_a_result_says_what_it_waits_for_and_its_progress(shop, run, run_json):
    first = shop.add.s(1, 2).set(queue="nobody", task_id="first")
    handle = shop.app.send(chain(first, shop.add.s(3)))
    code, document = run_json("--app", "shop:app", "result", handle.id)
    expected = "waits for first (PENDING, queue 'nobody', served by no worker)"
    assert (code, document["waiting"], document["progress"]["total"]) == (124, expected, 2)
    assert [one["task_id"] for one in document["waits_for"]] == ["first"]
    lines = [line.split(maxsplit=1) for line in run("--app", "shop:app", "result", handle.id).stdout.splitlines()]
    assert ["waiting", expected] in lines
    assert ["progress", "0 of 2"] in lines
    own = run("--app", "shop:app", "result", "first").stdout
    assert "PENDING, queue 'nobody', served by no worker" in own
