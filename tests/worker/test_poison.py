"""Messages that cannot be run: each is put aside with a reason, harms nothing beside it, and can be replayed."""

import json

import pytest

from drivetrain import DeadLetterFilter, QueueSection, State, TaskFailed, group
from drivetrain.contract import Message
from support.waiting import until

CALL = {"id": "p", "task": "value", "queue": "default", "args": [1]}


def message(body, *, headers=None, task_id="p"):
    headers = {"content-type": "application/json"} if headers is None else headers
    return Message(id=task_id, queue="default", body=body, headers=headers)


def call(attempt=0, frames=(), **changes):
    return json.dumps({"call": {**CALL, **changes}, "attempt": attempt, "frames": frames}).encode()


JSON = {"content-type": "application/json"}
DEEP = b"[" * 100_000 + b"]" * 100_000

POISON = {
    "no JSON": message(b"\xff\xfe"),
    "empty": message(b""),
    "deeply nested": message(DEEP),
    "not an object": message(b"[1]"),
    "no call": message(b'{"attempt": 0}'),
    "no task": message(b'{"call": {"id": "p", "queue": "default"}}'),
    "no content type": message(call(), headers={}),
    "unknown content type": message(call(), headers={"content-type": "application/x-python-pickle"}),
    "frames of the wrong form": message(call(frames=[[1, 2, 3]])),
    "frames that are a number": message(call(frames=7)),
    "frames with nonsense": message(call(frames=[{"is": "fork", "group_id": "g", "branches": 5}])),
    "unknown field": message(call(colour="red")),
    "args that are a number": message(call(args=5)),
    "kwargs that are a list": message(call(kwargs=[1])),
    "args that are an object": message(call(args={"x": 1})),
    "timeout that is a text": message(call(timeout="soon")),
    "retention that is a text": message(call(retention="long")),
    "priority that is a text": message(call(priority="high")),
    "headers that are a list": message(call(headers=[1])),
    "attempt that is a text": message(call(attempt="first")),
    "attempt below zero": message(call(attempt=-1)),
    "retries of nonsense": message(call(retries={"policy": 5})),
    "retries below zero": message(call(retries={"policy": "fixed", "max_retries": -1})),
    "on_error of nonsense": message(call(on_error=[[{"is": "call", "task": 1}]])),
    "a place in a group below zero": message(call(frames=[{"is": "join", "group_id": "g", "index": -1}])),
    "eta that is not a time": message(call(), headers={**JSON, "drivetrain-eta": "tomorrow"}),
    "eta that is not a number": message(call(), headers={**JSON, "drivetrain-eta": "nan"}),
    "eta without end": message(call(), headers={**JSON, "drivetrain-eta": "inf"}),
    "expires that is not a time": message(call(), headers={**JSON, "drivetrain-expires": "nan"}),
    "a body that is not kept": message(b"", headers={**JSON, "drivetrain-body": "gone"}),
}


def test_what_these_are_made_of_can_be_run(app):
    app.runtime.broker.publish([message(call())])
    app.worker().drain()
    assert app.result("p").get(timeout=0) == 1


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
def test_an_unreadable_message_is_dead_lettered_and_blocks_nothing(app, log, poison):
    app.runtime.broker.publish([poison])
    handles = app.send_many([app.signature("value", n) for n in range(100)])
    with app.worker():
        assert [handle.get(timeout=60) for handle in handles] == list(range(100))
        until(lambda: app.operations.dead_letters("default"), "the message is put aside")
    (letter,) = app.operations.dead_letters("default")
    assert letter.task_id == "p"
    assert letter.reason
    assert len(log.notes) == 100
    with pytest.raises(TaskFailed):
        app.result("p").get(timeout=60)


def test_a_message_with_an_invalid_count_of_returns_is_dead_lettered(app):
    app.runtime.broker.publish([message(call(task="nobody.knows"), headers={**JSON, "drivetrain-offers": "many"})])
    with app.worker():
        until(lambda: app.operations.dead_letters("default"), "the message is put aside")


def test_waiters_for_an_unreadable_message_get_its_failure(app):
    handle = app.send(app.signature("value", 1).set(task_id="first") | app.signature("add", 2))
    (found,) = app.runtime.broker.receive(["default"], limit=1, wait_seconds=5, hold_seconds=60)
    app.runtime.broker.acknowledge([found])
    app.runtime.broker.publish([message(b"?", task_id="first")])
    with app.worker(), pytest.raises(TaskFailed, match="first"):
        handle.get(timeout=60)


def test_wrong_arguments_name_the_parameter_and_can_be_replayed_by_a_worker_that_takes_them(make_app, url, log):
    stranger = make_app(url, tasks=False)
    handle = stranger.send(stranger.signature("add", 1, "two") | stranger.signature("value"))
    app = make_app(url, version_mismatch_seconds=0)
    with app.worker():
        with pytest.raises(TaskFailed, match="'?y'?") as raised:
            handle.get(timeout=60)
        assert "InvalidArguments" in raised.value.failure.type
        (letter,) = until(lambda: app.operations.dead_letters("default"), "it is put aside")
    assert "wrong arguments" in letter.reason
    assert "y" in letter.reason
    assert letter.args == (1, "two")
    assert log.notes == []
    newer = make_app(url, tasks=False)
    newer.task(name="add")(lambda x, y: f"{x} and {y}")
    newer.task(name="value")(lambda x: x)
    assert newer.operations.replay("default") == 1
    assert handle.state() is State.PENDING
    with newer.worker():
        assert handle.get(timeout=60) == "1 and two"
    assert newer.operations.dead_letters("default") == []


def test_an_unknown_task_is_put_back_with_growing_pauses_then_aside_and_replayed(make_app, url):
    app = make_app(url, version_mismatch_seconds=0.3)
    handle = app.send(app.signature("later.known", 5))
    others = app.send_many([app.signature("value", n) for n in range(100)])
    with app.worker():
        assert [other.get(timeout=60) for other in others] == list(range(100))
        with pytest.raises(TaskFailed, match=r"no task named 'later\.known'"):
            handle.get(timeout=60)
        (letter,) = until(lambda: app.operations.dead_letters("default"), "it is put aside")
    assert "unknown task" in letter.reason
    newer = make_app(url)
    newer.task(name="later.known")(lambda x: x * 2)
    assert newer.operations.replay("default", DeadLetterFilter(task_ids=[handle.id])) == 1
    with newer.worker():
        assert newer.result(handle.id).get(timeout=60) == 10


def test_an_unknown_task_does_not_spin(make_app, url):
    app = make_app(url, version_mismatch_seconds=3600)
    app.send(app.signature("later.known", 5))
    published = []
    runtime = app.runtime
    publish = runtime.broker.publish
    runtime.broker.publish = lambda messages: (published.append(len(messages)), publish(messages))
    with app.worker():
        until(lambda: len(published) >= 3, "it was put back three times")
        delayed = until(lambda: app.operations.tasks("default", QueueSection.DELAYED), "it is put back")
    assert len(published) <= 4
    assert len(delayed) == 1


def test_workers_of_one_queue_run_what_each_of_them_knows(make_app, url):
    """Machinery's TestWorkerOnlyConsumesRegisteredTask."""
    one, other = make_app(url, tasks=False), make_app(url, tasks=False)
    one.task(name="plus")(lambda x, y: x + y)
    other.task(name="times")(lambda x, y: x * y)
    pairs = [one.signature(task, n, n + 1) for n in range(5) for task in ("plus", "times")]
    with one.worker(), other.worker():
        result = one.send(group(pairs)).get(timeout=60)
    assert result == [answer for n in range(5) for answer in (2 * n + 1, n * (n + 1))]


def test_dead_letters_of_a_chord_member_are_replayed_and_the_rest_goes_on(make_app, url):
    app = make_app(url, version_mismatch_seconds=0)
    handle = app.send(app.signature("later.known", 5) | app.signature("add", 1) | app.signature("value"))
    with app.worker():
        with pytest.raises(TaskFailed):
            handle.get(timeout=60)
        until(lambda: app.operations.dead_letters("default"), "it is put aside")
    app.task(name="later.known")(lambda x: x * 2)
    assert app.operations.replay("default") == 1
    with app.worker():
        assert handle.get(timeout=60) == 11


def test_replaying_lets_a_group_be_waited_for_that_comes_after_the_dead_letter(make_app, url):
    app = make_app(url, version_mismatch_seconds=0)

    handle = app.send(app.signature("later.known", 5) | group(app.signature("add", n) for n in range(3)))
    with app.worker():
        with pytest.raises(TaskFailed):
            handle.get(timeout=60)
        until(lambda: app.operations.dead_letters("default"), "it is put aside")
    app.task(name="later.known")(lambda x: x * 2)
    assert app.operations.replay("default") == 1
    assert handle.state() is State.PENDING
    with app.worker():
        assert handle.get(timeout=60) == [10, 11, 12]


def test_one_bad_result_does_not_keep_others_from_being_settled(app):
    app.task(name="unspeakable")(_deep)
    app.task(name="misspoken")(_raise_surrogate)
    bad = app.send_many([app.signature("unspeakable"), app.signature("misspoken")])
    good = app.send_many([app.signature("value", n) for n in range(20)])
    with app.worker():
        assert [handle.get(timeout=60) for handle in good] == list(range(20))
        for handle in bad:
            with pytest.raises(TaskFailed):
                handle.get(timeout=60)


def _deep():
    value = []
    for _ in range(10_000):
        value = [value]
    return value


def _raise_surrogate():
    raise ValueError("a file named \udc80")
