"""A worker that an operator stops by its name: as by a signal, and no other one in its place."""

import logging
import threading

import pytest

from drivetrain import App, NotSupported, UnknownWorker
from drivetrain.contract import ValueWrite
from drivetrain.worker.stop_requests import StopRequest, stop_key
from drivetrain.worker.value_codec import encode
from support.faults import hoard
from support.waiting import happened, until


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Ask often, so that tests wait little."""
    monkeypatch.setattr("drivetrain.worker.pauses._POLL_SECONDS", 0.02)


def reported(app, name):
    until(lambda: any(one.name == name for one in app.operations.workers()), f"{name} reports")


def test_what_runs_ends_and_what_waits_is_released(app, caplog):
    caplog.set_level(logging.WARNING, "drivetrain.worker")
    started, go = threading.Event(), threading.Event()

    @app.task(name="long")
    def long() -> str:
        started.set()
        happened(go, "it may end")
        return "ended"

    worker = app.worker(name="w", concurrency=1)
    hoard(worker, 10)
    worker.start()
    handles = app.send_many([long.s(), app.signature("value", 1), app.signature("value", 2)])
    happened(started, "the long task runs")
    reported(app, "w")
    assert [one.name for one in app.operations.stop_workers("w", why="a new kernel", by="ada")] == ["w"]
    until(lambda: worker.stop_request is not None, "it obeys")
    status = worker.status()
    assert status.stopping
    assert (status.stop_request.by, status.stop_request.why) == ("ada", "a new kernel")
    until(lambda: app.runtime.broker.sizes(["default"])["default"].ready == 2, "what waits is released")
    assert not worker.ended
    go.set()
    until(lambda: worker.ended, "it has stopped")
    worker.stop()
    assert handles[0].get(timeout=60) == "ended"
    assert "worker w stops: ada has asked for it: a new kernel" in caplog.text
    assert app.runtime.backend.read_values([stop_key("w")]) == [None]
    with app.worker():
        assert [handle.get(timeout=60) for handle in handles[1:]] == [1, 2]


def test_other_workers_go_on(app):
    with app.worker(name="first") as first, app.worker(name="second") as second:
        reported(app, "first")
        app.operations.stop_workers("first")
        until(lambda: first.ended, "the first one has stopped")
        assert not second.status().stopping
        assert app.send(app.signature("value", 3)).get(timeout=60) == 3


def test_a_request_does_not_stop_a_later_worker_of_the_same_name(app):
    request = StopRequest(started=1.0, since=2.0, by="ada")
    app.runtime.backend.write_values([ValueWrite(key=stop_key("w"), value=encode(request))])
    with app.worker(name="w") as worker:
        assert app.send(app.signature("value", 4)).get(timeout=60) == 4
        assert worker.stop_request is None


def test_a_request_of_another_version_stops_nobody(app):
    app.runtime.backend.write_values([ValueWrite(key=stop_key("w"), value=b"unreadable")])
    with app.worker(name="w") as worker:
        assert app.send(app.signature("value", 5)).get(timeout=60) == 5
        assert not worker.status().stopping


def test_an_unknown_worker_is_refused_with_the_names_that_there_are(app):
    with pytest.raises(UnknownWorker, match=r"no worker named 'w' reports; no worker does"):
        app.operations.stop_workers("w")
    with app.worker(name="other"):
        reported(app, "other")
        with pytest.raises(UnknownWorker, match=r"no worker named 'w', 'v' reports; these do: other"):
            app.operations.stop_workers("w", "other", "v")
        assert app.runtime.backend.read_values([stop_key("other")]) == [None], "none is asked"


def test_it_is_refused_where_nothing_is_stored():
    with App("memory://", "null://") as app, pytest.raises(NotSupported, match="stopping workers needs a backend"):
        app.operations.stop_workers("w")
