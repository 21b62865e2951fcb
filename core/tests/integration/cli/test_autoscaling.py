"""``drivetrain worker --autoscale``: processes are added and retired, and no task is interrupted."""

import re
import signal

import pytest

from drivetrain import State
from support.waiting import until

#: A plugin whose part in the supervisor lets a file say how many processes there are to be.
STEERED = """
import logging
from pathlib import Path

from attrs import frozen

from drivetrain import hookimpl
from drivetrain.cli.scaling import Scaling
from shop import app

logger = logging.getLogger("drivetrain.supervisor")


def processes(_scaling, reports, _now):
    running = [None if one is None else one.running for one in reports]
    if running == [1, 1]:
        logger.info("both run a task, and %d are ready", reports[0].ready)
    wanted = Path("wanted")
    return int(wanted.read_text()) if wanted.exists() else 1


@frozen
class Part:
    def start(self, reports):
        Scaling.is_due = lambda _scaling, _now: True
        Scaling.processes = processes
        return lambda: None


class Steer:
    @hookimpl
    def supervisor_part(self):
        return Part()


app.add_plugins(Steer())
"""


@pytest.fixture
def steered(project):
    (project / "steered.py").write_text(STEERED)
    return "steered:app"


def want(project, number):
    (project / "new").write_text(str(number))
    (project / "new").rename(project / "wanted")


def test_a_process_is_added_and_retires_when_its_task_has_ended(start_worker, steered, project, shop, gate):
    worker = start_worker("--autoscale", "1,3", "--concurrency", "1", "--grace-seconds", "0", reference=steered)
    want(project, 2)
    worker.wait_for("worker process 2 runs with pid")
    gates = [gate(name) for name in ("one", "two")]
    handles = [shop.hold.send(str(one.path)) for one in gates]
    worker.wait_for("held at")
    worker.wait_for("held at")
    worker.wait_for("both run a task, and 0 are ready")
    until(
        lambda: (
            [one.scale and (one.scale.processes, one.scale.least, one.scale.most) for one in workers(shop)]
            == [(2, 1, 3), (2, 1, 3)]
        ),
        "both report how many there are",
    )
    want(project, 1)
    worker.wait_for("worker process 2 retires")
    until(lambda: sorted(one.stopping for one in workers(shop)) == [False, True], "it receives nothing more")
    for one in gates:
        one.open()
    assert all(handle.get(timeout=60) for handle in handles)
    assert [handle.record().starts for handle in handles] == [1, 1]
    worker.wait_for("worker process 2", "has stopped")
    assert shop.add.send(1, 2).get(timeout=60) == 3
    want(project, 2)
    worker.wait_for("worker process 2 runs with pid")
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0


def test_a_process_that_retires_stops_like_the_others(start_worker, steered, project, shop, gate):
    worker = start_worker("--autoscale", "1,3", "--concurrency", "1", reference=steered)
    want(project, 2)
    worker.wait_for("worker process 2 runs with pid")
    gates = [gate(name) for name in ("one", "two")]
    handles = [shop.hold.send(str(one.path)) for one in gates]
    worker.wait_for("held at")
    worker.wait_for("held at")
    want(project, 1)
    worker.wait_for("retiring; ends when its tasks have ended")
    worker.signal(signal.SIGTERM)
    worker.wait_for("stopping all")
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0
    assert [handle.state() for handle in handles] == [State.RECEIVED, State.RECEIVED]


def test_a_process_that_an_operator_stops_is_counted_no_more(start_worker, steered, project, shop, gate):
    worker = start_worker("--autoscale", "1,3", "--concurrency", "1", reference=steered)
    want(project, 2)
    second = int(re.search(r"pid (\d+)", worker.wait_for("worker process 2 runs with pid"))[1])
    until(lambda: len(workers(shop)) == 2, "both report")
    shop.app.operations.stop_workers(next(one.name for one in workers(shop) if one.pid != second))
    worker.wait_for("worker process 1", "has stopped")
    worker.wait_for("worker process 1 runs with pid")  # since two are wanted still
    gates = [gate(name) for name in ("one", "two")]
    handles = [shop.hold.send(str(one.path)) for one in gates]
    worker.wait_for("both run a task, and 0 are ready")  # as the oldest of those that are left has counted
    for one in gates:
        one.open()
    assert all(handle.get(timeout=60) for handle in handles)
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0


def workers(shop):
    return shop.app.operations.workers()


@pytest.mark.parametrize("bounds", ["3,1", "0,2", "1", "a,b", "1,2,3", "-1,2", ""])
def test_wrong_bounds_are_refused(run, bounds):
    outcome = run("worker", "shop:app", "--autoscale", bounds)
    assert outcome.exit_code == 2
    assert "give the smallest and the largest number of processes" in outcome.stderr


@pytest.mark.parametrize("other", [["--processes", "2"], ["--no-supervisor"]])
def test_it_does_not_go_with_a_fixed_number(run, other):
    outcome = run("worker", "shop:app", "--autoscale", "1,2", *other)
    assert outcome.exit_code == 2
    assert "takes the place of --processes" in outcome.stderr
