"""``drivetrain worker`` in processes of its own: it works, stops on request, and is supervised."""

import json
import os
import re
import signal
import subprocess
import sys

import attrs
import pytest

from drivetrain import State, Worker
from drivetrain.cli.signals import Signals
from drivetrain.cli.worker_process import WorkerPlan, work

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="tasks wait at named pipes")


def fragile(code):
    """A module with an app, in which something happens as soon as a worker process imports it."""
    app = "import multiprocessing, os\nfrom drivetrain import App\napp = App('sqlite:///work.db')\n"
    return f"{app}if multiprocessing.parent_process():\n    {code}\n"


#: Breaks a thread of every worker.
BREAK_HEARTBEAT = "from drivetrain.worker.heartbeat import Heartbeat; Heartbeat.run = lambda self: 1 / 0"


HEAVY = """
import os
from drivetrain import App
app = App('sqlite:///work.db')
with open('importers', 'a') as file:
    file.write(f'{os.getpid()}\\n')
"""


def pids_of(worker, count):
    return [int(re.search(r"with pid (\d+)", worker.wait_for("runs with pid"))[1]) for _ in range(count)]


class TestOneProcess:
    def test_runs_tasks_until_sigterm(self, start_worker, shop):
        worker = start_worker()
        assert shop.add.send(1, 2).get(timeout=60) == 3
        worker.signal(signal.SIGTERM)
        assert worker.ended() == 0

    def test_sigterm_finishes_running_tasks_and_releases_waiting_ones(self, start_worker, shop, gate):
        worker = start_worker("--no-supervisor", "--concurrency", "1")
        held_at = gate("gate")
        held = shop.hold.send(str(held_at.path))
        worker.wait_for("held at")
        waiting = shop.app.send_many([shop.add.s(1, n) for n in range(20)])
        worker.signal(signal.SIGTERM)
        worker.wait_for("stopping")
        held_at.open()
        assert worker.ended() == 0
        assert held.get(timeout=0) == worker.pid
        sizes = shop.app.operations.sizes(["default"])["default"]
        # One for which there was no room may be put off for a moment; and one may have begun just before.
        ended = [result for result in waiting if result.state() is State.SUCCESS]
        assert (sizes.ready + sizes.delayed + len(ended), sizes.in_flight) == (20, 0)
        assert len(ended) < 5
        with shop.app.worker():
            assert [result.get(timeout=60) for result in waiting] == [1 + n for n in range(20)]

    @pytest.mark.parametrize("task", ["hold", "hold_in_child"])
    def test_second_sigterm_releases_at_once(self, start_worker, shop, gate, task):
        worker = start_worker()
        held = shop.app.send(getattr(shop, task).s(str(gate("gate").path)))
        worker.wait_for("held at")
        worker.signal(signal.SIGTERM)
        worker.wait_for("stopping")
        worker.signal(signal.SIGTERM)
        assert worker.ended() == 0
        assert held.state() is State.RECEIVED
        assert shop.app.operations.sizes(["default"])["default"].in_flight == 0

    @pytest.mark.parametrize("supervisor", ["--supervisor", "--no-supervisor"])
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
    def test_ctrl_c_and_a_closed_terminal_are_a_stop_too(self, start_worker, shop, gate, number, supervisor):
        worker = start_worker(supervisor)
        held_at = gate("gate")
        held = shop.hold.send(str(held_at.path))
        worker.wait_for("held at")
        worker.signal(number)
        worker.wait_for("stopping")
        held_at.open()
        assert worker.ended() == 0
        assert held.state() is State.SUCCESS

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_to_the_whole_group_leaves_tasks_in_child_processes_alone(self, start_worker, shop, gate, number):
        worker = start_worker()
        held_at = gate("gate")
        held = shop.hold_in_child.send(str(held_at.path))
        worker.wait_for("held at")
        os.killpg(worker.pid, number)
        worker.wait_for("stopping")
        held_at.open()
        assert worker.ended() == 0
        assert held.get(timeout=0) != worker.pid

    @pytest.mark.parametrize("supervisor", ["--supervisor", "--no-supervisor"])
    def test_sigusr1_writes_all_stacks_and_stops_nothing(self, start_worker, shop, gate, supervisor):
        worker = start_worker(supervisor)
        held_at = gate("gate")
        held = shop.hold.send(str(held_at.path))
        worker.wait_for("held at")
        worker.signal(signal.SIGUSR1)
        worker.wait_for('shop.py"', "in _hold")
        assert ("supervisor.py" in "".join(worker.lines)) == (supervisor == "--supervisor")
        held_at.open()
        assert held.get(timeout=60)
        worker.signal(signal.SIGTERM)
        assert worker.ended() == 0

    def test_sigusr1_writes_the_stacks_of_a_task_in_a_child_process(self, start_worker, shop, gate):
        worker = start_worker()
        held_at = gate("gate")
        held = shop.hold_in_child.send(str(held_at.path))
        worker.wait_for("held at")
        child = int(re.search(r"in process (\d+)", worker.lines[-1])[1])
        os.kill(child, signal.SIGUSR1)
        worker.wait_for('shop.py"', "in _hold")
        held_at.open()
        assert held.get(timeout=60) == child

    def test_kill_ends_its_child_processes(self, start_worker, shop, gate):
        worker = start_worker("--grace-seconds", "0.5")
        shop.hold_in_child.send(str(gate("gate").path))
        worker.wait_for("held at")
        worker.signal(signal.SIGKILL)
        assert worker.ended() == -signal.SIGKILL

    def test_options_reach_the_worker(self, start_worker, shop):
        worker = start_worker("--no-supervisor", "--queues", "high, default", "--name", "bench")
        (line,) = worker.lines
        assert "receives from high, default" in line
        result = shop.app.send(shop.add.s(1, 2).set(queue="high"))
        assert result.get(timeout=60) == 3
        assert result.record().history[State.SUCCESS].worker.startswith(f"bench:{worker.pid}:")


class TestLogs:
    def test_text_names_the_task_on_its_lines(self, start_worker, shop, gate):
        worker = start_worker()
        held = shop.hold.send(str(gate("gate").path))
        line = worker.wait_for("held at")
        assert re.match(
            rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z INFO shop \[shop\.hold {held.id}\] held at ", line
        )
        assert " [-] " in worker.lines[0]

    @pytest.mark.parametrize("task", ["hold", "hold_in_child"])
    def test_json_has_the_task_and_extra_fields(self, start_worker, shop, gate, task):
        worker = start_worker("--log-format", "json")
        path = str(gate("gate").path)
        held = shop.app.send(getattr(shop, task).s(path))
        line = json.loads(worker.wait_for("held at"))
        assert line["task"] == f"shop.{task}"
        assert line["task_id"] == held.id
        assert line["gate"] == path
        assert line["level"] == "INFO"

    def test_log_level_is_that_of_the_settings_by_default(self, start_worker, shop, monkeypatch):
        monkeypatch.setenv("DRIVETRAIN_LOG_LEVEL", "error")
        worker = start_worker("--log-level", "info")
        assert "receives" in worker.lines[-1]


class TestSupervisor:
    def test_processes_share_the_work(self, start_worker, shop, gate):
        worker = start_worker("--processes", "2", "--concurrency", "1", workers=2)
        gates = [gate("one"), gate("two")]
        held = shop.app.send_many([shop.hold.s(str(one.path)) for one in gates])
        for _ in gates:
            worker.wait_for("held at")
        for one in gates:
            one.open()
        pids = {result.get(timeout=60) for result in held}
        assert len(pids) == 2
        assert worker.pid not in pids
        worker.signal(signal.SIGTERM)
        assert worker.ended() == 0

    def test_replaces_one_that_was_killed(self, start_worker, shop):
        worker = start_worker("--processes", "2", workers=0)
        first, _ = pids_of(worker, 2)
        os.kill(first, signal.SIGKILL)
        worker.wait_for(str(first), "SIGKILL")
        (replacement,) = pids_of(worker, 1)
        assert replacement != first
        assert shop.add.send(1, 2).get(timeout=60) == 3
        worker.signal(signal.SIGTERM)
        assert worker.ended() == 0

    @pytest.mark.parametrize("processes", ["1", "2"])
    @pytest.mark.parametrize("code", [0, 1, 2])
    def test_replaces_one_that_a_task_has_ended_whatever_its_exit_code(
        self, start_worker, shop, monkeypatch, processes, code
    ):
        monkeypatch.setenv("DRIVETRAIN_MAX_STARTS", "1")
        worker = start_worker("--processes", processes, workers=int(processes))
        shop.end_process.send(code)
        worker.wait_for(f"ended with exit code {code}; starting another")
        worker.wait_for("runs with pid")
        assert shop.add.send(1, 2).get(timeout=60) == 3
        worker.signal(signal.SIGTERM)
        assert worker.ended() == 0

    def test_does_not_import_the_app(self, start_worker, project):
        (project / "heavy.py").write_text(HEAVY)
        worker = start_worker(reference="heavy", workers=1)
        importers = (project / "importers").read_text().split()
        assert len(importers) == 1
        assert importers != [str(worker.pid)]

    def test_takes_the_number_of_processes_from_the_settings(self, start_worker, monkeypatch):
        monkeypatch.setenv("DRIVETRAIN_PROCESSES", "2")
        worker = start_worker(workers=2)
        assert sum("runs with pid" in line for line in worker.lines) == 2

    def test_there_must_be_one_for_several_processes(self, run):
        outcome = run("worker", "shop:app", "--processes", "2", "--no-supervisor")
        assert outcome.exit_code == 2
        assert "--no-supervisor runs one process" in outcome.output

    def test_does_not_replace_one_that_was_asked_to_stop(self, start_worker):
        worker = start_worker("--processes", "2", workers=2)
        pids = [int(re.search(r"with pid (\d+)", line)[1]) for line in worker.lines if "with pid" in line]
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        assert worker.ended() == 0

    def test_its_death_stops_the_processes_gently(self, start_worker, shop, gate):
        worker = start_worker("--processes", "2", workers=2)
        held_at = gate("gate")
        held = shop.hold.send(str(held_at.path))
        worker.wait_for("held at")
        worker.signal(signal.SIGKILL)
        worker.wait_for("the supervisor has died")
        held_at.open()
        assert worker.ended() == -signal.SIGKILL  # its children hold stderr open: all have ended
        assert held.state() is State.SUCCESS

    def test_second_signal_releases_at_once(self, start_worker, shop, gate):
        worker = start_worker("--processes", "2", workers=2)
        held = shop.hold.send(str(gate("gate").path))
        worker.wait_for("held at")
        worker.signal(signal.SIGTERM)
        worker.wait_for("stopping;")
        worker.signal(signal.SIGTERM)
        assert worker.ended() == 0
        assert held.state() is State.RECEIVED

    def test_a_signal_to_the_whole_group_counts_once(self, start_worker, shop, gate):
        worker = start_worker("--processes", "2", workers=2)
        held_at = gate("gate")
        held = shop.hold.send(str(held_at.path))
        worker.wait_for("held at")
        os.killpg(worker.pid, signal.SIGTERM)
        worker.wait_for("stopping all")
        held_at.open()
        assert worker.ended() == 0
        assert held.state() is State.SUCCESS

    def test_a_wrong_configuration_stops_all(self, start_worker, project):
        (project / "fragile.py").write_text(fragile("raise ValueError('no key')"))
        worker = start_worker("--processes", "2", reference="fragile", workers=0)
        worker.wait_for("ValueError: no key")
        assert worker.ended() == 2

    def test_replaces_a_worker_process_in_which_a_thread_has_failed(self, start_worker, project):
        (project / "fragile.py").write_text(fragile(BREAK_HEARTBEAT))
        worker = start_worker("--processes", "2", reference="fragile", workers=0)
        worker.wait_for("CRITICAL", "thread drivetrain-heartbeat has failed; stopping the worker")
        worker.wait_for("ended with exit code 1", "starting another")
        worker.signal(signal.SIGTERM)
        assert worker.ended() in {0, 1}  # one may be failing just then

    def test_pauses_grow_while_crashes_go_on(self, start_worker, project):
        (project / "fragile.py").write_text(fragile("os._exit(9)"))
        worker = start_worker("--processes", "2", reference="fragile", workers=0)
        for pause in ("0.2", "0.4", "0.8"):
            worker.wait_for("process 1", f"starting another in {pause} s")
        worker.signal(signal.SIGTERM)
        assert worker.ended() in {0, 1}  # one may be crashing just then


def test_a_worker_that_fails(app, monkeypatch, caplog):
    def fail(_worker):
        raise RuntimeError("no threads left")

    monkeypatch.setattr(Worker, "run", fail)
    monkeypatch.setattr(app, "settings", attrs.evolve(app.settings, configure_logging=False))
    with Signals() as signals:
        assert work(WorkerPlan(reference="shop:app", log_level="info"), app, signals) == 1
    assert "no threads left" in caplog.text
    assert "--log-level and --log-format change nothing" in caplog.text


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt()], ids=repr)
def test_a_worker_that_ends_by_itself_has_failed_whatever_it_raises(app, monkeypatch, caplog, error):
    def fail(_worker):
        raise error

    monkeypatch.setattr(Worker, "run", fail)
    with Signals() as signals:
        assert work(WorkerPlan(reference="shop:app"), app, signals) == 1
    assert type(error).__name__ in caplog.text


def test_a_thread_of_a_worker_that_fails_ends_it_with_code_1(start_worker, project):
    (project / "broken.py").write_text(f"from drivetrain import App\napp = App('memory://')\n{BREAK_HEARTBEAT}\n")
    worker = start_worker("--no-supervisor", reference="broken", workers=0)
    assert worker.ended() == 1
    assert any("thread drivetrain-heartbeat has failed; stopping the worker" in line for line in worker.lines)
    assert any("ZeroDivisionError" in line for line in worker.lines)


def test_a_listener_to_signals_that_fails_stops_the_worker(app, monkeypatch, caplog):
    monkeypatch.setattr("drivetrain.cli.worker_process._vanish", lambda _code: None)
    with Signals() as signals:
        monkeypatch.setattr(signals, "arrived", lambda: 1 / 0)
        signals._writer.send(b"x")
        assert work(WorkerPlan(reference="shop:app"), app, signals) == 1
    assert "thread drivetrain-signals has failed" in caplog.text


def test_a_hangup_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not signals.arrived()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_of_the_application_stay_its_own():
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append("seen"))
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert not signals.arrived()
        assert seen == ["seen"]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_forked_child_takes_its_signals_itself():
    code = """
import os, signal
from drivetrain.cli.signals import Signals
with Signals() as signals:
    child = os.fork()
    if not child:
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WTERMSIG(status) == signal.SIGTERM
    assert not signals.arrived()
    os.kill(os.getpid(), signal.SIGTERM)
    assert signals.arrived()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
