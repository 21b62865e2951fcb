"""Machinery's integration suite (section 4.1 of its reference), as tests of ours: the same bodies on every pair.

Each function below is one of its tests. On memory, SQLite and Redis each is a test of its own; on the other pairs they
run one after the other, so that their servers are started once; most of them with ``make test CONTRACT=default`` only.
"""

import time
from collections import Counter
from threading import Event

import pytest

from drivetrain import QueueSection, TaskFailed, chain, chord, group, hookimpl
from matrix.pairs import pairs
from support.waiting import happened, until

WAIT = 30.0
QUICK = ("memory", "sqlite", "redis")
COSTLY = ("amqp+sqlite", "sqs+redis", "redis+mongo", "redis+memcache")
#: All other pairs of the matrix: each driver of theirs is in one of those above.
RARE = sorted({str(pair).replace("mongodb", "mongo") for pair in pairs() if pair.broker != pair.backend} - {*COSTLY})


# Machinery's tests


def send_task(make, pair):
    """`testSendTask`."""
    app = make(pair)
    with app.worker():
        assert app.add.send(1, 1).get(timeout=WAIT) == 2
        assert app.total.send([1, 2]).get(timeout=WAIT) == 3


def send_group(make, pair):
    """`testSendGroup`: in order. There is no limit of senders at a time to be set: a group is sent as one batch."""
    app = make(pair)
    with app.worker():
        members = app.send(group(app.add.s(1, 1), app.add.s(2, 2), app.add.s(5, 6)))
        assert members.get(timeout=WAIT) == [2, 4, 11]
        assert [member.get(timeout=WAIT) for member in members.members] == [2, 4, 11]


def send_chord(make, pair):
    """`testSendChord`."""
    app = make(pair)
    with app.worker():
        header = [app.add.s(1, 1), app.add.s(2, 2), app.add.s(5, 6)]
        assert app.send(chord(header, app.multiply.s())).get(timeout=WAIT) == 88


def send_chain(make, pair):
    """`testSendChain`."""
    app = make(pair)
    with app.worker():
        handle = app.send(chain(app.add.s(2, 2), app.add.s(5, 6), app.multiply.s(4)))
        assert handle.get(timeout=WAIT) == 60


def return_just_error(make, pair):
    """`testReturnJustError`."""
    app = make(pair)
    with app.worker():
        with pytest.raises(TaskFailed) as error:
            app.just_error.send("Test error", fail=True).get(timeout=WAIT)
        assert error.value.failure.message == "Test error"
        assert app.just_error.send("Test error", fail=False).get(timeout=WAIT) is None


def return_multiple_values(make, pair):
    """`testReturnMultipleValues`."""
    app = make(pair)
    with app.worker():
        assert app.two_values.send("foo", "bar", fail=False).get(timeout=WAIT) == ("foo", "bar")
        with pytest.raises(TaskFailed, match="some error"):
            app.two_values.send("foo", "bar", fail=True).get(timeout=WAIT)


def panic(make, pair):
    """`testPanic`: its worker works on."""
    app = make(pair)
    with app.worker():
        with pytest.raises(TaskFailed, match="oops"):
            app.oops.send().get(timeout=WAIT)
        assert app.add.send(1, 1).get(timeout=WAIT) == 2


def delay(make, pair):
    """`testDelay`: never before its ETA."""
    app = make(pair)
    with app.worker():
        due = time.time() + 0.1
        assert app.when.si().set(delay=0.1).send().get(timeout=WAIT) >= due


def pending_tasks(make, pair):
    """`TestAmqpGetPendingTasks`, `TestRedisGetPendingTasks`: in order, with ids, names and arguments; then none.

    RabbitMQ and SQS cannot show what waits without touching it: there it is refused, and counted instead.
    """
    app = make(pair)
    assert app.operations.sizes(["default"])["default"].ready in {0, None}
    sent = app.send_many([app.add.s(n, n) for n in range(3)])
    if app.runtime.broker.capabilities.peeks:
        waiting = app.operations.tasks("default", QueueSection.READY)
        assert [(one.task_id, one.task, list(one.args)) for one in waiting] == [
            (handle.id, "add", [n, n]) for n, handle in enumerate(sent)
        ]
    with app.worker():
        assert [handle.get(timeout=WAIT) for handle in sent] == [0, 2, 4]
        until(lambda: app.operations.sizes(["default"])["default"].ready in {0, None}, "nothing is left")


def only_registered_tasks(make, pair):
    """`TestWorkerOnlyConsumesRegisteredTask`: two workers of one queue, each with its own task."""
    adder, multiplier = make(pair, only={"add"}), make(pair, only={"multiply"})
    sender = make(pair)
    with adder.worker(), multiplier.worker():
        both = sender.send(group(sender.multiply.s(4, 5), sender.add.s(2, 3)))
        assert both.get(timeout=WAIT) == [20, 5]


def quit_at_once(make, pair):
    """`...WorkerQuitRaceCondition` three times, `...WorkerQuickQuit`: it ends, and may be asked to twice."""
    app = make(pair)
    for _ in range(3):
        worker = app.worker()
        worker.start()
        worker.stop()
        worker.stop()
        assert worker.ended


def hooks(make, pair):
    """`...WorkerPreConsumeHandler`, and every other hook, on every broker and for groups too (W27)."""
    seen = Watching()
    app = make(pair, plugins=[seen])
    with app.worker():
        assert app.send(group(app.add.s(1, 1), app.add.s(2, 2))).get(timeout=WAIT) == [2, 4]
        with pytest.raises(TaskFailed):
            app.oops.send().get(timeout=WAIT)
        happened(seen.failed, "the failure is reported")
    assert seen.calls["worker_started"] == seen.calls["worker_stopping"] == 1
    assert seen.calls["before_publish"] == seen.calls["after_publish"] == 3
    assert seen.calls["task_received"] == seen.calls["task_started"] == 3
    assert (seen.calls["task_succeeded"], seen.calls["task_failed"]) == (2, 1)


class Watching:
    """Counts the messages and tasks of its notifications."""

    def __init__(self):
        self.calls = Counter()
        self.failed = Event()

    @hookimpl
    def before_publish(self, messages):
        self.calls["before_publish"] += len(messages)

    @hookimpl
    def after_publish(self, messages):
        self.calls["after_publish"] += len(messages)

    @hookimpl
    def worker_started(self):
        self.calls["worker_started"] += 1

    @hookimpl
    def worker_stopping(self):
        self.calls["worker_stopping"] += 1

    @hookimpl
    def task_received(self, event):
        self.calls["task_received"] += 1

    @hookimpl
    def task_started(self, event):
        self.calls["task_started"] += 1

    @hookimpl
    def task_succeeded(self, event):
        self.calls["task_succeeded"] += 1

    @hookimpl
    def task_failed(self, event, failure):
        self.calls["task_failed"] += 1
        self.failed.set()


# What Machinery's weaknesses ask for, on every pair


def values(make, pair):
    """W38: extremes, bytes, and texts that look like JSON come back as they were, alone and in a chord."""
    app = make(pair)
    with app.worker():
        handles = app.send_many([app.same.s(value) for value in VALUES])
        assert [handle.get(timeout=WAIT) for handle in handles] == VALUES
        assert [type(handle.get()) for handle in handles] == [type(value) for value in VALUES]
        assert app.send(chord([app.same.s(value) for value in VALUES], app.same.s())).get(timeout=WAIT) == VALUES


VALUES = [
    *(-(2**63), 2**63 - 1, 2**64 - 1, 185135722552891243, 10**30, 0, -0.5, 2.0, 1e300, 5e-324, True, False, None),
    *(
        "{}",
        "null",
        '{"a": 1}',
        "1",
        "",
        "\0",
        "naïve ☃ \U0001f6b2",
        b"",
        b"\xff\0",
        [],
        [[1], {"a": [None]}],
        (1, "2"),
    ),
]


def retries(make, pair):
    """The same id, a new attempt, as often as allowed (W42)."""
    app = make(pair)
    with app.worker():
        handle = app.attempts.send(2)
        assert handle.get(timeout=WAIT) == 2
        assert handle.record().attempt == 2
        with pytest.raises(TaskFailed) as error:
            app.attempts.send(9).get(timeout=WAIT)
        assert error.value.failure.attempt == 3


def many_readers(make, pair):
    """W39, W48: from its id anybody gets the result, as often as they like: of a task, a chord, and a whole group."""
    app, elsewhere = make(pair), make(pair, only={"add"})
    with app.worker():
        alone = app.add.send(1, 2)
        whole = app.send(group(app.add.s(1, 1), app.same.s("x")))
        last = app.send(chord([app.add.s(1, 1)], app.total.s()))
        for _ in range(2):
            for reader in (app, elsewhere):
                assert reader.result(alone.id).get(timeout=WAIT) == 3
                assert reader.result(whole.id).get(timeout=WAIT) == [2, "x"]
                assert reader.result(last.id).get(timeout=WAIT) == 2


def failed_chord(make, pair):
    """W31, W32: the callback of a chord with a failed member ends at once, and its waiters get the real error."""
    app = make(pair)
    with app.worker():
        handle = app.send(chord([app.add.s(1, 1), app.oops.s()], app.multiply.s()))
        with pytest.raises(TaskFailed) as error:
            handle.get(timeout=WAIT)
        assert (error.value.failure.task, error.value.failure.message) == ("oops", "oops")
        assert handle.state() == "FAILURE"


BEHAVIOURS = [
    *(send_task, send_group, send_chord, send_chain, return_just_error, return_multiple_values, panic, delay),
    *(pending_tasks, only_registered_tasks, quit_at_once, hooks, values, retries, many_readers, failed_chord),
]


@pytest.mark.parametrize("pair", QUICK)
@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda behaviour: behaviour.__name__)
def test_a_behaviour_of_machinery(make, pair, behaviour):
    behaviour(make, pair)


@pytest.mark.timeout(600)  # moto's virtual environment may have to be made
@pytest.mark.parametrize("pair", [*COSTLY, *RARE])
def test_all_behaviours_of_machinery(make, pair, request):
    if pair in RARE and request.config.getoption("--contract-profile") == "quick":
        pytest.skip("takes long: run by make test CONTRACT=default")
    for number, behaviour in enumerate(BEHAVIOURS):
        # A queue of its own for each: on a real server what one has left would be the next one's.
        behaviour(lambda pair, number=number, **options: make(pair, place=number, **options), pair)
