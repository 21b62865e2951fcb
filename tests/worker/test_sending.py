"""Sending to a broker that takes only a part, or nothing: the error lists the unsent tasks, and no caller hangs."""

import pytest

from drivetrain import (
    InvalidSignature,
    PublishFailed,
    ServiceRefused,
    ServiceUnavailable,
    TaskFailed,
    chain,
    chord,
    group,
)
from support.faults import Changed, rewire


class Choosy(Changed):
    """A broker that refuses some messages, by their ids."""

    def __init__(self, broker, refused):
        super().__init__(broker, store=None)
        self.refused = refused

    def publish(self, messages):
        self._driver.publish([message for message in messages if message.id not in self.refused])
        failures = {message.id: ServiceRefused("full") for message in messages if message.id in self.refused}
        if failures:
            raise PublishFailed(failures)


@pytest.fixture
def choosy(app):
    rewire(app, broker=Choosy(app.runtime.broker, {"bad"}))
    return app


def test_a_chain_that_was_not_sent_leaves_nothing_behind_and_can_be_sent_again(choosy):
    app = choosy
    workflow = chain(app.signature("value", 1).set(task_id="bad"), app.signature("add", 1).set(task_id="next"))
    good = app.signature("value", 5).set(task_id="good")
    with pytest.raises(PublishFailed) as raised:
        app.send_many([workflow, good])
    assert set(raised.value.failures) == {"bad"}
    assert app.runtime.backend.counts()["tasks"] == 1
    app.runtime.broker.refused.clear()
    handle = app.send(workflow)
    with app.worker():
        assert handle.get(timeout=60) == 2
        assert app.result("good").get(timeout=60) == 5


def test_a_partly_sent_group_fails(choosy):
    app = choosy
    members = [app.signature("value", n).set(task_id=task_id) for n, task_id in enumerate(["fine", "bad", "too"])]
    with pytest.raises(PublishFailed):
        app.send(chord(group(members).set(group_id="group"), app.signature("total").set(task_id="total")))
    for task_id in ("group", "total"):
        with pytest.raises(TaskFailed, match="full"):
            app.result(task_id).get(timeout=60)
    with app.worker():
        assert app.result("fine").get(timeout=60) == 0
        assert app.result("too").get(timeout=60) == 2


def test_a_refused_follow_up_task_fails_and_its_callback_is_sent(choosy):
    app = choosy
    handle = app.send(app.signature("value", 1) | app.signature("add", 1).set(task_id="bad") | app.signature("value"))
    with app.worker(), pytest.raises(TaskFailed, match="full"):
        handle.get(timeout=60)


def test_another_task_under_an_id_that_is_known_is_refused_and_changes_nothing(app):
    first = app.send(app.signature("value", 1).set(task_id="taken"))
    for name in ("pending", "ended"):
        before = app.runtime.backend.read(["taken"])
        with pytest.raises(
            InvalidSignature, match="'taken' belongs to task value, so task add cannot be sent under it"
        ):
            app.send_many(
                [app.signature("value", 2).set(task_id=name), app.signature("add", 1, 2).set(task_id="taken")]
            )
        assert app.runtime.backend.read(["taken", name]) == [*before, None]
        with app.worker():
            assert first.get(timeout=60) == 1
    app.result("taken").forget()
    with app.worker():
        assert app.send(app.signature("add", 1, 2).set(task_id="taken")).get(timeout=60) == 3


def test_a_task_that_was_renamed_is_the_same_task(app):
    """The record has the name under which it was sent first, and that is an alias now."""

    @app.task(name="new", aliases=["old"])
    def renamed() -> int:
        return 1

    app.send(app.signature("old").set(task_id="own"))
    handles = app.send_many([app.signature("new").set(task_id="own"), app.signature("old").set(task_id="own")])
    with app.worker():
        assert [handle.get(timeout=60) for handle in handles] == [1, 1]


def test_the_same_task_under_the_same_id_is_one_task(app):
    one = app.signature("value", 1).set(task_id="same")
    with app.worker():
        handles = app.send_many([one, one])
        assert [handle.get(timeout=60) for handle in [*handles, app.send(one)]] == [1, 1, 1]


def test_two_tasks_under_one_id_are_refused_wherever_they_are(app):
    value, other = (app.signature(name, 1).set(task_id="both") for name in ("value", "broken"))
    empty = app.signature("broken")
    for workflows in (
        [value, other],
        [value, empty | other],
        [value, group(empty, empty).set(group_id="both")],
        [value, group(empty, other)],
        [value.set(on_success=[other])],
        [(value | empty).set(on_error=[other])],
    ):
        with pytest.raises(InvalidSignature, match="'both' belongs to task"):
            app.send_many(workflows)
    assert app.runtime.backend.counts()["tasks"] == 0


@pytest.mark.parametrize("following", ["chain", "callback", "group"])
def test_an_id_of_another_task_is_refused_for_what_would_only_follow_too(app, following):
    app.send(app.signature("value", 1).set(task_id="taken"))
    add = app.signature("add", 1).set(task_id="taken")
    workflow = {
        "chain": app.signature("value", 1) | add,
        "callback": app.signature("value", 1).set(on_success=[add]),
        "group": group(app.signature("value", 1)).set(group_id="taken"),
    }[following]
    with pytest.raises(InvalidSignature, match="'taken' belongs to task value"):
        app.send(workflow)


class _Counting(Changed):
    """A backend that counts how often it is read."""

    reads = 0

    def read(self, task_ids):
        self.reads += 1
        return self._driver.read(task_ids)


def test_only_ids_that_the_user_gave_are_read(app):
    rewire(app, backend=(backend := _Counting(app.runtime.backend)))
    app.send_many([app.signature("value", 1), app.signature("value", 1) | app.signature("value")])
    assert backend.reads == 0
    app.send_many(app.signature("value", 1).set(task_id=f"own {n}") for n in range(3))
    assert backend.reads == 1


class Shaky(Changed):
    """A broker that for some time cannot take the last message of a batch."""

    def __init__(self, broker, times):
        super().__init__(broker, store=None)
        self.left = times
        self.asked = []

    def publish(self, messages):
        self.asked.append([message.id for message in messages])
        self.left -= 1
        if self.left < 0:
            self._driver.publish(messages)
            return
        self._driver.publish(messages[:-1])
        raise PublishFailed({messages[-1].id: ServiceUnavailable("busy")})


def test_messages_that_a_service_cannot_take_for_a_moment_are_tried_again_alone(app):
    broker = Shaky(app.runtime.broker, 3)
    rewire(app, broker=broker)
    handles = app.send_many([app.signature("value", n).set(task_id=f"m{n}") for n in range(3)])
    assert broker.asked == [["m0", "m1", "m2"], ["m2"], ["m2"], ["m2"]]
    with app.worker():
        assert [handle.get(timeout=60) for handle in handles] == [0, 1, 2]
