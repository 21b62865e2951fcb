"""The exporter reads queues and workers for each scrape, and says when it cannot."""

import logging
import signal
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from drivetrain import App, Concurrency, Rate, every
from drivetrain.contract import QueueSizes, ServiceUnavailable
from drivetrain_prometheus.exporter import Exporter


@pytest.fixture
def app(tmp_path):
    app = App(f"sqlite:///{tmp_path}/work.db", name="shop")

    @app.task(name="double")
    def double(x: int) -> int:
        return 2 * x

    with app:
        yield app


def exported(operations, app="shop", **options):
    registry = CollectorRegistry()
    registry.register(Exporter(app, operations, **options))
    return {
        (sample.name, *(text for label, text in sorted(sample.labels.items()) if label != "app")): sample.value
        for metric in registry.collect()
        for sample in metric.samples
    }


def test_queues_and_workers(app):
    send = app.signature
    for number in range(3):
        send("double", number).set(queue="default").send()
    send("double", 1).set(queue="default", delay=600).send()
    app.operations.pause("default")
    found = exported(app.operations)
    assert found["drivetrain_up",] == 1
    assert found["drivetrain_queue_messages", "default", "ready"] == 3
    assert found["drivetrain_queue_messages", "default", "delayed"] == 1
    assert found["drivetrain_queue_messages", "default", "dead"] == 0
    assert found["drivetrain_queue_oldest_seconds", "default"] >= 0
    assert found["drivetrain_queue_paused", "default"] == 1
    assert found["drivetrain_queue_workers", "default"] == 0
    assert found["drivetrain_workers", "working"] == 0
    app.operations.resume("default")
    with app.worker(queues=["default", "other"], concurrency=2) as worker:
        send("double", 5).set(queue="default").send().get(timeout=60)
        assert worker.options.concurrency == 2
        found = exported(app.operations)
    assert found["drivetrain_workers", "working"] == 1
    assert found["drivetrain_queue_workers", "other"] == 1
    assert found["drivetrain_workers_slots", "threads"] == 2
    assert found["drivetrain_queue_paused", "default"] == 0


def test_schedules_are_added_up(app):
    at = datetime(2026, 1, 1, tzinfo=UTC)
    made = [
        SimpleNamespace(state="active", next=(at,), sent=3, dropped=1, skipped=0),
        SimpleNamespace(state="active", next=(at + timedelta(hours=1),), sent=2, dropped=0, skipped=1),
        SimpleNamespace(state="paused", next=(), sent=0, dropped=0, skipped=0),
    ]
    found = exported(app.operations, schedules=lambda: made, now=lambda: at.timestamp() + 90)
    assert found["drivetrain_schedules", "active"] == 2
    assert found["drivetrain_schedules", "paused"] == 1
    assert found["drivetrain_schedules_late_seconds",] == 90
    assert [found["drivetrain_schedules_ticks", outcome] for outcome in ("sent", "dropped", "skipped")] == [5, 1, 1]


def test_a_schedule_that_is_not_due_is_not_late(app):
    app.schedules.put("nightly", app.signature("double", 1).set(queue="default"), every(hours=1))
    found = exported(app.operations, schedules=partial(app.schedules.list, next=1))
    assert (found["drivetrain_schedules", "active"], found["drivetrain_schedules_late_seconds",]) == (1, 0)


def test_limits_are_added_up_over_their_keys(app):
    app.task(name="call", limits=[Rate("api:{user}", 1, per=100)])(lambda user: None)
    app.task(name="job", limits=[Concurrency("tenant:{tenant}", 1)])(lambda tenant: None)
    for user in ("ada", "ada", "ada", "bob"):
        app.send(app.signature("call", user))
    for tenant in ("ada", "ada", "ada", "bob", "bob"):
        app.send(app.signature("job", tenant))
    worker = app.worker(concurrency=20)
    worker._receiver.start(worker._receive_now())
    found = exported(app.operations, limits=app.limits.list)
    assert found["drivetrain_limit_waiting", "tenant:{tenant}"] == 3
    assert found["drivetrain_limit_holding", "tenant:{tenant}"] == 2
    assert 290 < found["drivetrain_limit_reserved_seconds", "api:{user}"] <= 300
    assert not any(name.startswith("drivetrain_limit") for name, *_ in exported(app.operations))


class Away:
    def queues(self):
        raise ServiceUnavailable("redis://localhost: connection refused")


def test_a_service_that_is_away_is_shown_and_logged(caplog):
    with caplog.at_level(logging.WARNING, "drivetrain.prometheus"):
        assert exported(Away()) == {("drivetrain_up",): 0}
    assert "cannot read the queues and workers of shop: redis://localhost: connection refused" in caplog.text


class Vague:
    """A broker that cannot tell most sizes."""

    def queues(self):
        return ["default"]

    def workers(self):
        return []

    def paused(self, queues):
        return {}

    def sizes(self, queues):
        return {"default": QueueSizes(ready=1, delayed=None, in_flight=None, dead=None)}


def test_what_a_broker_cannot_tell_is_missing():
    found = exported(Vague())
    assert [key[1:] for key in found if key[0] == "drivetrain_queue_messages"] == [("default", "ready")]
    assert not any(key[0] == "drivetrain_queue_oldest_seconds" for key in found)


def test_the_command_serves_until_it_is_stopped(app, tmp_path):
    app.signature("double", 1).set(queue="default").send()
    command = [sys.executable, "-m", "drivetrain_prometheus.command", "exporter", "--port", "0"]
    with subprocess.Popen(
        [*command, "--broker", app.settings.broker, "--namespace", "shop"], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            line = next(line for line in process.stderr if "serving metrics on" in line)
            with urllib.request.urlopen(line.split()[-1], timeout=30) as response:
                text = response.read().decode()
            assert 'drivetrain_queue_messages{app="shop",queue="default",section="ready"} 1.0' in text
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0


def test_the_command_names_what_is_wrong(tmp_path):
    command = [sys.executable, "-m", "drivetrain_prometheus.command", "exporter", "--broker", "nothing://x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "no installed package serves nothing:// as a broker" in done.stderr
