"""Workers on RabbitMQ: a task longer than the consumer timeout, and a queue that is deleted."""

import time
import uuid

import pytest

from drivetrain import App, State, TaskFailed, chain


def test_a_task_of_ten_seconds_outlives_a_consumer_timeout_of_two(rabbit, tmp_path, caplog):
    """It runs once, its worker works on, others get their messages back, and the message does not stay behind."""
    rabbit.control("eval", "application:set_env(rabbit, consumer_timeout, 2000).")
    name = f"n{uuid.uuid4().hex[:10]}"
    app = App(rabbit.url(options=f"namespace={name}&consumer_timeout_seconds=2"), backend=f"sqlite:///{tmp_path}/r.db")
    runs = []

    @app.task
    def long(seconds: float) -> str:
        runs.append(seconds)
        time.sleep(seconds)
        return "done"

    try:
        with app.worker(lease_seconds=3.0), app.worker(lease_seconds=3.0):
            slow = long.send(10.0)
            quick = []
            while not slow.wait(0.3):
                quick.append(long.send(0.0))
                assert quick[-1].get(timeout=30) == "done"
            assert slow.get(timeout=30) == "done"
            deadline = time.monotonic() + 30
            while any(_messages(rabbit, name).values()):
                assert time.monotonic() < deadline, f"these stay behind: {_messages(rabbit, name)}"
                time.sleep(0.1)
        assert runs.count(10.0) == 1
        assert runs.count(0.0) == len(quick)
        assert "timed out" in caplog.text
        assert app.runtime.broker.sizes(["default"])["default"].dead == 0
    finally:
        rabbit.control("eval", "application:set_env(rabbit, consumer_timeout, 1800000).")
        app.close()


def test_the_tasks_of_a_deleted_queue_end_and_those_of_another_one_go_on(rabbit, tmp_path):
    """Nobody looks into RabbitMQ's queues: that one is empty, look after look, is the evidence."""
    name = f"n{uuid.uuid4().hex[:10]}"
    broker = rabbit.url(options=f"namespace={name}&consumer_timeout_seconds=1")
    quick = {"lease_seconds": 0.5, "version_mismatch_seconds": 0.0, "rescue_after_seconds": 0.5}
    app = App(broker, backend=f"sqlite:///{tmp_path}/r.db", **quick)

    @app.task
    def double(number: int) -> int:
        return 2 * number

    with app:
        lost = app.send(chain(double.s(1), double.s()))
        slow = app.send(chain(double.s(1).set(queue="slow"), double.s().set(queue="slow")))
        later = app.send(double.s(3).set(queue="slow", delay=3600))
        rabbit.drop_queues(lambda queue: queue.startswith(name) and "default" in queue)
        with app.worker(queues="idle"), pytest.raises(TaskFailed, match="its message is gone"):
            lost.get(timeout=60)
        assert (slow.state(), later.state()) == (State.PENDING, State.PENDING)
        with app.worker(queues="slow"):
            assert slow.get(timeout=60) == 4


def _messages(rabbit, namespace):
    listed = rabbit.control("list_queues", "--no-table-headers", "name", "messages").splitlines()
    return {name: int(count) for name, count in (line.split("\t") for line in listed) if name.startswith(namespace)}
