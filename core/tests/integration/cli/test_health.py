"""``drivetrain health``: whether the services answer and workers serve, as an exit code."""

import socket
import threading

import pytest

from drivetrain import App
from drivetrain.app.health import check_services, check_workers
from drivetrain.contract import ValueWrite
from drivetrain.worker.status import WorkerStatus, status_key
from drivetrain.worker.value_codec import encode


def report(app, name, **changes):
    """A worker that reports once."""
    fields = {"host": "elsewhere", "pid": 1, "version": "0", "queues": ["a"], "slots": {}, "started": 0.0}
    status = WorkerStatus(**{**fields, "name": name, "reported": 0.0, **changes})
    app.runtime.backend.write_values([ValueWrite(key=status_key(name), value=encode(status), expires_in_seconds=60)])


def test_services_that_answer(run, run_json, app):
    outcome = run("health", "shop:app")
    assert outcome.exit_code == 0
    assert outcome.stdout.split() == ["broker", "ok", "answers", "backend", "ok", "answers"]
    assert run_json("health", "shop:app") == (
        0,
        {"broker": {"healthy": True, "text": "answers"}, "backend": {"healthy": True, "text": "answers"}},
    )


def test_a_service_that_does_not_answer(run, project):
    outcome = run("health", "--broker", "sqlite:////dev/null/no/work.db", "--workers", "1")
    assert outcome.exit_code == 4
    assert "FAILED" in outcome.stdout
    assert "workers" not in outcome.stdout, "nothing can be known of them"


def test_workers(run, app):
    assert run("health", "shop:app", "--workers", "1").exit_code == 1
    report(app, "one")
    report(app, "other", stopping=True)
    outcome = run("health", "shop:app", "--workers", "1")
    assert (outcome.exit_code, "1 of 2 workers serve" in outcome.stdout) == (0, True)
    outcome = run("health", "shop:app", "--workers", "2")
    assert (outcome.exit_code, "1 of 2 workers serve, and 2 should" in outcome.stdout) == (1, True)


def test_the_worker_of_this_machine(run, app):
    report(app, "far")
    outcome = run("health", "shop:app", "--here")
    assert outcome.exit_code == 1
    assert "0 of 0 workers on this machine serve, and 1 should" in outcome.stdout
    report(app, "near", host=socket.gethostname())
    assert run("health", "shop:app", "--here").exit_code == 0
    report(app, "near", host=socket.gethostname(), blocked="all slots wait for queue 'b'")
    outcome = run("health", "shop:app", "--here")
    assert outcome.exit_code == 1
    assert "near is blocked: all slots wait for queue 'b'" in outcome.stdout


def test_a_service_that_never_answers_fails_in_time(monkeypatch):
    app, never = App("memory://"), threading.Event()
    monkeypatch.setattr(type(app.runtime.broker), "ping", lambda _self: never.wait(60))
    broker, backend = check_services(app, 0.01)
    assert (broker.healthy, broker.text) == (False, "has not answered within 0.01 seconds")
    assert backend.healthy
    never.set()


def test_without_a_backend_that_stores_no_worker_is_known():
    check = check_workers(App("memory://", "null://"), 1.0, least=1)
    assert (check.healthy, check.text) == (False, "the backend stores nothing, so no worker can report")


@pytest.mark.parametrize("timeout", ["0", "-1", "soon"])
def test_a_timeout_that_is_wrong(run, project, timeout):
    assert run("health", "shop:app", "--timeout", timeout).exit_code == 2
