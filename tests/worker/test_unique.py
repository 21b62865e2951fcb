"""Unique tasks: who holds a key, until when, and what sending another one does; debounced and throttled tasks."""

import threading
from datetime import timedelta

import pytest

from drivetrain import (
    AlreadySent,
    App,
    Debounce,
    InvalidSignature,
    NotSupported,
    PublishFailed,
    ServiceUnavailable,
    State,
    TaskCancelled,
    TaskFailed,
    Throttle,
    Unique,
    chain,
    group,
    retry,
)
from drivetrain.testing import VirtualTime
from drivetrain.worker.limits.claims import CLAIM_PREFIX
from drivetrain.worker.limits.uniqueness import ClaimReleaser, Rescheduler
from drivetrain.worker.publisher import Publisher
from support.waiting import until


def claims(app):
    return [key for key, _ in app.runtime.backend.list_values(CLAIM_PREFIX, limit=100).values]


def define(app, log, **options):
    @app.task(name="sync", **options)
    def sync(user: str, size: int = 0) -> int:
        log.note("sync", user, size)
        return size

    return lambda *args, **kwargs: app.send(app.signature("sync", *args, **kwargs))


def test_sending_it_again_returns_the_handle_of_the_one_that_is_there(app, log):
    send = define(app, log, unique=Unique(key="{user}"))
    with VirtualTime(app) as clock:
        first, again, other = send("ada", 1), send(user="ada", size=2), send("bob", 3)
        assert again.id == first.id != other.id
        assert len(claims(app)) == 2
        clock.run_ready()
        assert again.get(timeout=0) == 1
        assert claims(app) == [], "what has ended leaves nothing"
        assert send("ada", 4).id != first.id
        clock.run_ready()
    assert log.notes == [("sync", "ada", 1), ("sync", "bob", 3), ("sync", "ada", 4)]


def test_a_batch_may_hold_a_key_several_times(app, log):
    define(app, log, unique=Unique(key="{user}"))
    with VirtualTime(app) as clock:
        handles = app.send_many([app.signature("sync", user, n) for n, user in enumerate("aababc")])
        assert len({handle.id for handle in handles}) == 3
        assert handles[0].id == handles[1].id == handles[3].id
        clock.run_ready()
        assert [handle.get(timeout=0) for handle in handles] == [0, 0, 2, 0, 2, 5]


def test_without_a_key_all_arguments_are_the_key(app, log):
    send = define(app, log, unique=Unique())
    with VirtualTime(app):
        assert send("ada", 1).id == send("ada", size=1).id == send(size=1, user="ada").id
        assert send("ada", 2).id != send("ada", 1).id


@pytest.mark.parametrize("end", ["success", "failure", "cancel", "expire", "upstream", "forget"])
def test_a_key_is_free_in_the_same_step_as_the_end_whatever_it_is(app, log, monkeypatch, end):
    monkeypatch.setattr(ClaimReleaser, "release", lambda *_: None)  # the claim itself stays

    @app.task(name="sync", unique=Unique(key="{user}"), retry=retry.never())
    def sync(user: str) -> None:
        if end == "failure":
            raise OSError

    with VirtualTime(app) as clock:
        first = app.send(app.signature("sync", "ada").set(expires=1 if end == "expire" else None))
        if end == "cancel":
            app.cancel(first.id)
        elif end == "forget":
            app.runtime.backend.forget([first.id])
            clock._clock.turn(60)
        elif end == "expire":
            clock._clock.turn(2)
            clock.run_ready()
        else:
            clock.run_ready()
        assert len(claims(app)) == 1
        assert app.send(app.signature("sync", "ada")).id != first.id


def test_a_task_keeps_its_key_over_all_its_retries(app, log):
    @app.task(name="sync", unique=Unique(), retry=retry.fixed(10, max_retries=2))
    def sync() -> None:
        log.note("ran")
        raise OSError

    with VirtualTime(app) as clock:
        first = app.send(app.signature("sync"))
        for _ in range(2):
            clock.run_for(seconds=5)
            assert first.state() is State.RETRY
            assert app.send(app.signature("sync")).id == first.id
            clock.run_for(seconds=5)
        with pytest.raises(TaskFailed):
            first.get(timeout=0)
        assert app.send(app.signature("sync")).id != first.id
    assert len(log.notes) == 3


def test_a_key_until_the_start_lets_one_more_wait(app, log):
    @app.task(name="sync", unique=Unique(until="started"))
    def sync() -> None:
        log.note(app.send(app.signature("sync").set(delay=60)).id)

    with VirtualTime(app) as clock:
        first = app.send(app.signature("sync"))
        clock.run_ready()
    (second,) = log.notes
    assert second != first.id


def test_throttled_calls_run_once_in_each_period(app, log):
    send = define(app, log, throttle=Throttle(60, key="{user}"))
    with VirtualTime(app) as clock:
        first = send("ada", 1)
        clock.run_for(seconds=59)
        assert send("ada", 2).id == first.id
        assert send("bob", 3).id != first.id
        clock.run_for(seconds=2)
        assert send("ada", 4).id != first.id
        clock.run_ready()
    assert log.notes == [("sync", "ada", 1), ("sync", "bob", 3), ("sync", "ada", 4)]


def test_a_conflict_may_raise_and_sends_nothing(app, log):
    send = define(app, log, unique=Unique(key="{user}", on_conflict="raise"))
    with VirtualTime(app) as clock:
        first = send("ada")
        with pytest.raises(AlreadySent, match=r"holds its unique key 'ada'") as caught:
            app.send_many([app.signature("sync", user) for user in ("bob", "ada")])
        assert caught.value.task_id == first.id
        assert len(claims(app)) == 1, "the batch has given up what it claimed"
        send("bob")
        clock.run_ready()
    assert [user for _, user, _ in log.notes] == ["ada", "bob"]


def test_a_conflict_may_replace_the_task_that_is_there(app, log):
    send = define(app, log, unique=Unique(key="{user}", on_conflict="replace"))
    with VirtualTime(app) as clock:
        first, second = send("ada", 1), send("ada", 2)
        clock.run_ready()
        assert second.get(timeout=0) == 2
        with pytest.raises(TaskCancelled):
            first.get(timeout=0)
    assert log.notes == [("sync", "ada", 2)]


def test_a_conflict_may_reschedule_the_task_that_is_there(app, log):
    define(app, log, unique=Unique(key="{user}", until="started", on_conflict="reschedule"))
    with VirtualTime(app) as clock:
        first = app.send(app.signature("sync", "ada", 1).set(delay=10))
        assert app.send(app.signature("sync", "ada", 2).set(delay=60)).id == first.id
        clock.run_for(seconds=30)
        assert app.send(app.signature("sync", "ada", 3).set(delay=90)).id == first.id
        clock.run_for(seconds=85)
        assert log.notes == []
        clock.run_for(seconds=6)
        assert first.get(timeout=0) == 3
        assert app.send(app.signature("sync", "ada", 4)).id != first.id
        clock.run_ready()
    assert log.notes == [("sync", "ada", 3), ("sync", "ada", 4)]


def test_a_debounced_task_runs_once_its_calls_are_quiet(app, log):
    send = define(app, log, debounce=Debounce(2, key="{user}"))
    with VirtualTime(app) as clock:
        handles = []
        for size in range(5):
            handles.append(send("ada", size))
            clock.run_for(seconds=1.5)
        assert log.notes == []
        clock.run_for(seconds=1)
        assert log.notes == [("sync", "ada", 4)]
        assert {handle.get(timeout=0) for handle in handles} == {4}
        send("ada", 9)
        clock.run_for(seconds=3)
    assert log.notes == [("sync", "ada", 4), ("sync", "ada", 9)]


def test_a_debounced_task_waits_no_longer_than_max_wait(app, log):
    send = define(app, log, debounce=Debounce(2, max_wait=timedelta(seconds=5), key="{user}"))
    with VirtualTime(app) as clock:
        for size in range(10):
            send("ada", size)
            clock.run_for(seconds=1)
        clock.run_for(seconds=5)
    assert log.notes == [("sync", "ada", 4), ("sync", "ada", 9)] or log.notes[0] == ("sync", "ada", 5)
    assert log.notes[-1] == ("sync", "ada", 9)
    assert len(log.notes) == 2


@pytest.mark.parametrize(
    "step",
    [(Publisher, "publish_messages"), (Rescheduler, "_close"), (Rescheduler, "_settle"), (ClaimReleaser, "release")],
)
def test_a_worker_that_dies_at_any_step_loses_neither_the_task_nor_its_arguments(app, log, monkeypatch, step):
    send = define(app, log, debounce=Debounce(2, key="{user}"))
    with VirtualTime(app) as clock:
        first = send("ada", 1)
        assert send("ada", 2).id == first.id
        clock._clock.turn(3)
        with monkeypatch.context() as patch:
            patch.setattr(*step, _die)
            with pytest.raises(SystemExit):
                app.worker().drain()
        for _ in range(3):
            clock.run_for(minutes=1)
        assert first.get(timeout=0) == 2
        assert claims(app) == []
    assert log.notes == [("sync", "ada", 2)]


def _die(*_args, **_kwargs):
    raise SystemExit


def test_a_sender_that_died_after_its_claim_blocks_the_key_for_a_moment_only(app, log, monkeypatch):
    send = define(app, log, unique=Unique(key="{user}"))
    with VirtualTime(app) as clock:
        with monkeypatch.context() as patch:
            patch.setattr(Publisher, "record_and_publish", _die)
            with pytest.raises(SystemExit):
                send("ada", 1)
        began = clock.now()
        second = send("ada", 2)
        assert (clock.now() - began).total_seconds() < 20
        clock.run_ready()
        assert second.get(timeout=0) == 2


def _publish_only(publisher, invocations, _pending):
    publisher.publish_messages([publisher.message(one, 0.0) for one in invocations])


def test_what_was_not_published_holds_no_key(app, log, monkeypatch):
    send = define(app, log, unique=Unique(key="{user}"))
    with VirtualTime(app) as clock:
        broker = app.runtime.broker
        real = type(broker).publish

        def refuse(self, messages):
            raise PublishFailed({message.id: OSError("full") for message in messages})

        with monkeypatch.context() as patch:
            patch.setattr(type(broker), "publish", refuse)
            patch.setattr(Publisher, "record_and_publish", _publish_only)
            with pytest.raises(PublishFailed):
                send("ada", 1)
        assert type(broker).publish is real
        assert claims(app) == []
        began = clock.now()
        send("ada", 2)
        assert clock.now() == began


def test_a_claim_whose_reply_was_lost_is_recognised(app, log, monkeypatch):
    send = define(app, log, unique=Unique(key="{user}"))
    with VirtualTime(app) as clock:
        backend, lost = app.runtime.backend, iter([True])
        real = type(backend).write_values

        def write(self, writes):
            outcomes = real(self, writes)
            if next(lost, False):
                raise ServiceUnavailable("the reply is lost")
            return outcomes

        monkeypatch.setattr(type(backend), "write_values", write)
        first = send("ada", 1)
        assert send("ada", 2).id == first.id
        clock.run_ready()
        assert first.get(timeout=0) == 1


def test_of_many_senders_at_once_one_sends(app, log):
    send = define(app, log, unique=Unique(key="{user}"))
    ready, ids = threading.Barrier(8), []

    def race():
        ready.wait()
        ids.append(send("ada").id)

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1
    with app.worker():
        app.result(ids[0]).get(timeout=60)
        until(lambda: claims(app) == [], "the claim is gone")
    assert len(log.notes) == 1


def test_a_unique_task_has_no_place_in_a_workflow(app, log):
    define(app, log, unique=Unique(key="{user}"))
    one, other = app.signature("sync"), app.signature("value", 1)
    for workflow in (chain(other, one), group([chain(other, one)]), other.set(on_success=[one])):
        with pytest.raises(InvalidSignature, match="cannot be a part of a workflow"):
            app.send(workflow)
    assert claims(app) == []


def test_operators_see_who_holds_a_key(app, log):
    send = define(app, log, unique=Unique(key="{user}"))
    with VirtualTime(app):
        first = send("ada")
        (holder,) = app.limits.unique_holders()
        assert (holder.task, holder.key, holder.task_id) == ("sync", "ada", first.id)
        assert holder.state is State.PENDING


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"unique": Unique(), "throttle": Throttle(1)}, "use one of them"),
        ({"unique": Throttle(1)}, "as unique="),
        ({"unique": Unique(key="{nobody}")}, "names nobody"),
    ],
)
def test_mistakes_are_found_when_the_task_is_defined(options, text):
    with pytest.raises(InvalidSignature, match=text):
        App("memory://").task(name="one", **options)(lambda user: user)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"until": "later"}, "until= of Unique is 'later'"),
        ({"until": -1}, "until= of Unique"),
        ({"on_conflict": "shout"}, "on_conflict of Unique"),
        ({"on_conflict": "reschedule"}, "needs until='started'"),
    ],
)
def test_wrong_options_are_refused(options, text):
    with pytest.raises(InvalidSignature, match=text):
        Unique(**options)


def test_a_backend_that_stores_nothing_is_refused(log):
    app = App("memory://", "null://")
    with pytest.raises(NotSupported, match="unique"):
        define(app, log, unique=Unique())("ada")
