"""Paused queues: nothing starts from them, nothing is lost, and all else goes on."""

import threading

import pytest

from drivetrain import App
from drivetrain.contract import ConfigurationError, NotSupported, ServiceUnavailable, ValueWrite
from drivetrain.worker.pauses import PauseWatch, pause_key
from support.faults import Changed, hoard, rewire
from support.waiting import happened, until


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Ask often, so that tests wait little."""
    monkeypatch.setattr("drivetrain.worker.pauses._POLL_SECONDS", 0.02)


def seen(worker, *queues):
    """Wait until a worker receives from these queues only."""
    until(lambda: worker._receive_loop._open_queues == queues, f"the worker receives from {queues}")


def ready(app, queue="default"):
    return app.runtime.broker.sizes([queue])[queue].ready


def test_a_task_of_a_paused_queue_waits_until_it_is_resumed(app, log):
    app.operations.pause("default", why="provider down", by="ops")
    with app.worker(queues=["default", "other"]) as worker:
        seen(worker, "other")
        paused = app.send(app.signature("value", 1))
        app.send(app.signature("value", 2).set(queue="other")).get(timeout=60)
        assert log.notes == [("value", 2)]
        assert ready(app) == 1
        assert app.operations.resume("default") == ["default"]
        assert paused.get(timeout=60) == 1


def test_a_worker_whose_queues_are_all_paused_stops_at_once(app):
    app.operations.pause("default")
    with app.worker() as worker:
        seen(worker)


def test_a_worker_that_starts_receives_nothing_from_a_paused_queue(app, log):
    """Not even once: it asks before it receives."""
    sent = app.send(app.signature("value", 1))
    app.operations.pause("default")
    worker = app.worker()
    received = []
    inner = app.runtime.broker.receive
    app.runtime.broker.receive = lambda *args, **options: received.append(args) or inner(*args, **options)
    with worker:
        seen(worker)
    assert received == []
    assert ready(app) == 1
    app.operations.resume("default")
    with app.worker():
        assert sent.get(timeout=60) == 1


def test_a_task_that_runs_goes_on_and_those_behind_it_are_released(make_app, url):
    app = make_app(url, concurrency=1)
    gate, begun = threading.Event(), threading.Event()

    @app.task(name="held")
    def held() -> int:
        begun.set()
        happened(gate, "the gate opens")
        return 1

    worker = app.worker()
    hoard(worker, 10)
    handles = [held.send() for _ in range(4)]
    with worker:
        happened(begun, "one runs")
        until(lambda: len(worker._in_flight) == 4, "the worker has taken the others too")
        app.operations.pause("default")
        until(lambda: ready(app) == 3, "the others are released")
        gate.set()
        running = next(iter(until(lambda: [one for one in handles if one.state().terminal], "one has ended")))
        assert running.get(timeout=60) == 1
        assert ready(app) == 3
        app.operations.resume("default")
        assert [handle.get(timeout=60) for handle in handles] == [1, 1, 1, 1]


def test_waiting_tasks_of_other_queues_keep_their_place(make_app, url, log):
    app = make_app(url, concurrency=1)
    gate, begun = threading.Event(), threading.Event()

    @app.task(name="held")
    def held() -> None:
        begun.set()
        happened(gate, "the gate opens")

    worker = app.worker(queues=["default", "other"])
    hoard(worker, 10)
    held.send()
    with worker:
        happened(begun, "one runs")
        others = [app.send(app.signature("value", number).set(queue="other")) for number in range(3)]
        paused = app.send(app.signature("value", 9))
        until(lambda: len(worker._in_flight) == 5, "the worker has taken all of them")
        app.operations.pause("default")
        until(lambda: ready(app) == 1, "the one of the paused queue is released")
        gate.set()
        assert [handle.get(timeout=60) for handle in others] == [0, 1, 2]
        assert log.notes == [("value", 0), ("value", 1), ("value", 2)]
        app.operations.resume("default")
        assert paused.get(timeout=60) == 9


def test_drain_leaves_a_paused_queue_alone(app, log):
    sent = app.send(app.signature("value", 1))
    app.operations.pause("default")
    assert app.worker().drain() == 0
    app.operations.resume("default")
    assert app.worker().drain() == 1
    assert sent.get(timeout=60) == 1


def test_the_last_known_pauses_apply_while_the_backend_is_unavailable(memory_app, caplog):
    away = threading.Event()

    class Backend(Changed):
        def read_values(self, keys):
            if away.is_set():
                raise ServiceUnavailable("the backend is away")
            return self._driver.read_values(keys)

    rewire(memory_app, backend=Backend(memory_app.runtime.backend))
    memory_app.operations.pause("default")
    with memory_app.worker() as worker:
        seen(worker)
        away.set()
        memory_app.operations.pause("default", why="so that the worker reads")
        until(lambda: "cannot read which queues are paused" in caplog.text, "it is logged")
        memory_app.operations.pause("default")
        assert worker._receive_loop._open_queues == ()
        away.clear()
        memory_app.runtime.backend.write_values([ValueWrite(key=pause_key("default"), value=None)])
        seen(worker, "default")
    assert caplog.text.count("cannot read which queues are paused") == 1


def test_it_says_in_the_log_why(app, caplog):
    caplog.set_level("INFO")
    with app.worker() as worker:
        app.operations.pause("default", why="provider down")
        seen(worker)
        app.operations.resume("default")
        seen(worker, "default")
    assert "queue default is paused: provider down; this worker receives nothing from it" in caplog.text
    assert "queue default is resumed" in caplog.text


def test_every_process_of_the_app_sees_pauses(make_app, url):
    app, other = make_app(url), make_app(url)
    app.operations.pause("default", "mails", why="first")
    app.operations.pause("mails", why="second", by="ops")
    paused = other.operations.paused(["default", "mails", "high"])
    assert {queue: pause.why for queue, pause in paused.items()} == {"default": "first", "mails": "second"}
    assert paused["mails"].by == "ops"
    assert other.operations.resume("mails", "high") == ["mails"]
    assert set(app.operations.paused()) == {"default"}


def test_a_pause_that_cannot_be_read_is_a_pause(app):
    """A newer version wrote it; to receive from the queue would be wrong."""
    app.runtime.backend.write_values([ValueWrite(key=pause_key("default"), value=b"?")])
    assert "another version" in app.operations.paused()["default"].why
    with app.worker() as worker:
        seen(worker)


def test_the_reason_may_be_any_text(app):
    app.operations.pause("\ud800", why="\udfff\0é")
    assert app.operations.paused(["\ud800"])["\ud800"].why == "\udfff\0é"


def test_without_a_backend_that_stores_it_is_refused():
    with App("memory://", "null://") as app:
        with pytest.raises(NotSupported, match="null://"):
            app.operations.pause("default")
        assert app.operations.paused() == {}


def test_a_queue_without_a_name_is_refused(app):
    with pytest.raises(ConfigurationError, match="name a queue"):
        app.operations.pause("")


def test_a_worker_learns_of_a_pause_without_asking(app, monkeypatch):
    """The backend notifies. The worker does not ask again in the time of this test."""
    monkeypatch.setattr("drivetrain.worker.pauses._POLL_SECONDS", 3600.0)
    monkeypatch.setattr("drivetrain.worker.pauses._REREAD_SECONDS", 3600.0)
    with app.worker(queues=["default", "other"]) as worker:
        for _ in range(2):
            app.operations.pause("default")
            seen(worker, "other")
            app.operations.resume("default")
            seen(worker, "default", "other")


def test_what_was_received_while_its_queue_was_paused_is_released(memory_app, log):
    worker = memory_app.worker()
    inner = memory_app.runtime.broker.receive
    paused = threading.Event()

    def receive(*args, **options):
        deliveries = inner(*args, **options)
        if deliveries and not paused.is_set():
            memory_app.operations.pause("default")
            until(lambda: worker.open_queues == (), "the worker knows of the pause")
            paused.set()
        return deliveries

    memory_app.runtime.broker.receive = receive
    with worker:
        sent = memory_app.send(memory_app.signature("value", 1))
        happened(paused, "the queue is paused")
        seen(worker)
        assert log.notes == []
        until(lambda: ready(memory_app) == 1, "the message is ready")
        memory_app.operations.resume("default")
        assert sent.get(timeout=60) == 1


def test_closing_an_app_waits_for_the_watch_of_a_stopped_worker(tmp_path, monkeypatch):
    """The watch was about to wait. It connects again, and that connection is closed too."""
    app = App(f"sqlite:///{tmp_path}/tasks.db")
    waiting, closing, reads = threading.Event(), threading.Event(), []

    def wait(watch):
        waiting.set()
        closing.wait(60)
        reads.append(watch._runtime.backend.read_values(["any"]))

    monkeypatch.setattr(PauseWatch, "_wait", wait)
    close, closed = app.runtime.backend.close, []

    def note_close():
        close()
        closed.append(len(reads))
        closing.set()

    app.runtime.backend.close = note_close
    with app.worker():
        happened(waiting, "the watch is about to wait")
    app.close()
    assert closed == [0, 1]
