"""The public API: registering, sending, results, locks and queues; each on both embedded drivers."""

from __future__ import annotations

import asyncio
import enum
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import attrs
import pytest
from attrs import fields_dict

import drivetrain
from drivetrain import (
    App,
    ConfigurationError,
    DeadLetterFilter,
    Failure,
    GroupResult,
    InvalidArguments,
    InvalidSignature,
    LockHeld,
    NotSupported,
    QueueSection,
    ResultTimeout,
    State,
    TaskFailed,
    UnknownResult,
    chain,
    chord,
    group,
    retry,
)
from drivetrain.contract import MESSAGE_GROUP_HEADER
from drivetrain.workflow.options import Options, SignatureOptions

WAIT = 20


@pytest.fixture(params=["memory", "sqlite"])
def app(request, tmp_path) -> Iterator[App]:
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/work.db"}
    with App(urls[request.param]) as made:
        yield made


class Colour(enum.Enum):
    RED = 1


@attrs.frozen
class Order:
    number: uuid.UUID
    price: Decimal
    placed: datetime
    colours: frozenset[Colour]


class TestTasks:
    def test_a_task_is_still_the_function(self, app):
        @app.task
        def add(x: int, y: int = 2) -> int:
            """Add."""
            return x + y

        assert add(1) == 3
        assert add.__doc__ == "Add."
        assert add.name.endswith("test_a_task_is_still_the_function.<locals>.add")

    def test_an_async_task_can_be_awaited(self, app):
        @app.task(name="double")
        async def double(x: int) -> int:
            return 2 * x

        assert asyncio.run(double(4)) == 8
        with app.worker():
            assert double.send(4).get(WAIT) == 8

    def test_two_functions_cannot_have_one_name(self, app):
        app.task(name="same")(len)
        with pytest.raises(ConfigurationError, match=r"two tasks are named 'same'.*give one of them another name"):
            app.task(name="same")(sum)

    def test_a_wrong_option_is_reported_when_the_task_is_defined(self, app):
        with pytest.raises(InvalidSignature, match="priority is -1"):
            app.task(name="a", priority=-1)(len)
        with pytest.raises(InvalidSignature, match="jitter"):
            app.task(name="b", retry=retry.exponential(jitter=5))(len)
        with pytest.raises(ConfigurationError, match="plain function, which cannot run in the pool 'loop'"):
            app.task(name="c", pool="loop")(len)

    def test_rich_arguments_arrive_as_sent(self, app):
        seen = []

        @app.task(name="place")
        def place(order: Order, *, when: timedelta) -> Order:
            seen.append((order, when))
            return order

        order = Order(uuid.uuid4(), Decimal("1.10"), datetime.now(UTC), frozenset({Colour.RED}))
        with app.worker():
            assert place.send(order, when=timedelta(microseconds=1)).get(WAIT) == order
        assert seen == [(order, timedelta(microseconds=1))]


class TestNamesOfParameters:
    """Our own parameters are positional-only, so that a task's may have any name."""

    def test_a_task_may_have_parameters_of_any_name(self, app):
        @app.task(name="named")
        def named(
            *, self: int, task: int, function: int, app: int, args: int, kwargs: int, name: int, timeout: int
        ) -> list[int]:
            return [self, task, function, app, args, kwargs, name, timeout]

        @app.task(name="later")
        async def later(self: int, /, task: int, **kwargs: int) -> list[int]:
            return [self, task, *kwargs.values()]

        given = dict(
            zip(("self", "task", "function", "app", "args", "kwargs", "name", "timeout"), range(8), strict=True)
        )
        with app.worker():
            assert named.send(**given).get(WAIT) == list(range(8))
            assert asyncio.run(named.send_async(**given)).get(WAIT) == list(range(8))
            assert named.s(**given).send().get(WAIT) == list(range(8))
            assert named.si(**given).send().get(WAIT) == list(range(8))
            assert app.signature("named", **given).send().get(WAIT) == list(range(8))
            assert later.send(1, self=2, task=3, function=4).get(WAIT) == [1, 3, 2, 4]
        assert named(**given) == list(range(8))
        assert asyncio.run(later(1, self=2, task=3)) == [1, 3, 2]


class TestSending:
    def test_wrong_arguments_are_refused_at_once_and_nothing_is_sent(self, app):
        @app.task(name="add")
        def add(x: int, y: int) -> int:
            return x + y

        with pytest.raises(InvalidArguments, match=r"add\(\).*'y'.*int.*'x'"):
            add.send(1, "x")
        with pytest.raises(InvalidArguments, match="'y'"):
            add.send(1)
        with pytest.raises(InvalidArguments):
            chain(add.s(1, 2), add.s(1, 2)).send()
        assert app.operations.sizes(["default"])["default"].ready == 0

    def test_a_naive_eta_is_refused(self, app):
        add = app.task(name="add")(lambda: None)
        with pytest.raises(InvalidSignature, match="no time zone"):
            add.s().set(eta=datetime(2026, 1, 1))  # noqa: DTZ001

    def test_an_unknown_option_is_refused(self, app):
        add = app.task(name="add")(lambda: None)
        with pytest.raises(InvalidSignature, match="unknown option.*countdown"):
            add.s().set(countdown=3)

    def test_type_checkers_know_every_option(self):
        assert set(SignatureOptions.__annotations__) == set(fields_dict(Options))

    def test_a_task_in_place_of_a_signature_is_reported(self, app):
        add = app.task(name="add")(lambda: None)
        with pytest.raises(InvalidSignature, match=r"write task\.s"):
            group(add)

    def test_a_priority_that_the_broker_has_not_is_refused(self, app):
        add = app.task(name="add")(lambda: None)
        with pytest.raises(NotSupported, match="priority 10.*0 to 9"):
            add.s().set(priority=10).send()

    def test_the_urgent_come_first(self, app):
        order = []
        note = app.task(name="note")(order.append)
        app.send_many([note.s(number).set(priority=number) for number in (1, 9, 5)])
        app.worker(concurrency=1).drain()
        assert order == [9, 5, 1]

    def test_many_are_sent_in_one_batch(self, app):
        @app.task(name="square")
        def square(x: int) -> int:
            return x * x

        results = app.send_many([square.s(x) for x in range(100)])
        with app.worker():
            assert [result.get(WAIT) for result in results] == [x * x for x in range(100)]

    def test_an_id_is_used_once_in_a_workflow(self, app):
        add = app.task(name="add")(lambda: None)
        with pytest.raises(InvalidSignature, match="'mine' is used more than once"):
            group(add.s().set(task_id="mine"), add.s().set(task_id="mine")).send()

    def test_a_signature_is_a_value(self, app):
        add = app.task(name="add")(len)
        assert add.s(1, 2) == add.s(1, 2)
        assert add.s(1).set(queue="a") != add.s(1)
        assert (add.s(1) | add.s(2)) == chain(add.s(1), add.s(2))

    def test_without_memory_there_are_no_groups_and_no_waiting(self):
        app = App("memory://", "null://")
        add = app.task(name="add")(lambda: None)
        with pytest.raises(NotSupported, match="backend that stores results"):
            group(add.s()).send()
        ran = add.send()
        with pytest.raises(NotSupported, match="configure a backend"):
            ran.get(1)
        assert app.worker().drain() == 1


class TestResults:
    def test_a_failure_carries_type_message_and_remote_traceback(self, app):
        @app.task(name="broken")
        def broken() -> None:
            raise ZeroDivisionError("by zero")

        with app.worker(), pytest.raises(TaskFailed, match="builtins.ZeroDivisionError: by zero") as caught:
            broken.send().get(WAIT)
        assert caught.value.failure.type == "builtins.ZeroDivisionError"
        assert "in broken" in caught.value.failure.traceback
        assert caught.value.failure.task == "broken"

    def test_waiting_has_an_end(self, app):
        add = app.task(name="add")(lambda: None)
        with pytest.raises(ResultTimeout, match="0.01 seconds"):
            add.send().get(timeout=0.01)

    def test_an_unknown_id_is_reported_at_once(self, app):
        with pytest.raises(UnknownResult, match="nothing is known of task nobody"):
            app.result("nobody").get()

    def test_none_is_a_result(self, app):
        nothing = app.task(name="nothing")(lambda: None)
        with app.worker():
            result = nothing.send()
            assert result.get(WAIT) is None
        assert result.state() is State.SUCCESS

    def test_the_record_tells_the_time_and_the_worker_of_each_state(self, app):
        nothing = app.task(name="nothing")(lambda: None)
        with app.worker(name="me"):
            result = nothing.send()
            result.wait(WAIT)
        entries = result.record().history
        assert list(entries) == [State.PENDING, State.RECEIVED, State.STARTED, State.SUCCESS]
        assert [entry.worker for entry in entries.values()] == ["", "me", "me", "me"]
        times = [entry.at for entry in entries.values()]
        assert times == sorted(times)

    def test_one_id_restores_the_handle(self, app):
        square = app.task(name="square")(lambda x: x * x)
        with app.worker():
            sent = group(square.s(2), square.s(3)).send()
            assert app.result(sent.id).get(WAIT) == [4, 9]
            assert app.result(sent.members[1].id).get(WAIT) == 9

    def test_forgetting(self, app):
        nothing = app.task(name="nothing")(lambda: None)
        with app.worker():
            result = chord([nothing.s()], nothing.si()).send()
            result.wait(WAIT)
        result.forget()
        with pytest.raises(UnknownResult):
            result.state()
        counts = dict(app.runtime.backend.counts())
        del counts["values"]  # what the worker has counted
        assert not any(counts.values())

    def test_awaiting(self, app):
        square = app.task(name="square")(lambda x: x * x)

        async def main() -> list[int]:
            results = await app.send_many_async([square.s(x) for x in range(100)])
            one = await square.send_async(100)
            return list(await asyncio.gather(*results, one))

        with app.worker():
            assert asyncio.run(main()) == [x * x for x in range(101)]

    def test_awaiting_has_an_end_too(self, app):
        square = app.task(name="square")(lambda x: x * x)
        with pytest.raises(ResultTimeout):
            asyncio.run(square.send(1).get_async(timeout=0.01))


class TestGroups:
    def test_members_come_as_they_complete(self, app):
        square = app.task(name="square")(lambda x: x * x)
        with app.worker():
            sent = group(square.s(x) for x in range(5)).send()
            assert isinstance(sent, GroupResult)
            assert sorted(member.get() for member in sent) == [0, 1, 4, 9, 16]
            assert sent.get(WAIT) == [0, 1, 4, 9, 16]
        assert len(sent) == sent.done() == 5

    def test_progress_is_reported(self, app):
        square = app.task(name="square")(lambda x: x * x)
        seen = []
        with app.worker():
            sent = group(square.s(x) for x in range(3)).send()
            sent.get(WAIT, progress=lambda done, total: seen.append((done, total)))
        assert seen == sorted(set(seen))
        assert seen[-1] == (3, 3)

    def test_a_progress_bar(self, app, capsys):
        square = app.task(name="square")(lambda x: x * x)
        with app.worker():
            group(square.s(x) for x in range(3)).send().get(WAIT, progress=True)
        assert "3/3" in capsys.readouterr().err

    def test_results_have_the_types_that_their_tasks_declare(self, app):
        @app.task(name="colour")
        def colour() -> Colour:
            return Colour.RED

        with app.worker():
            assert group(colour.s(), group(colour.s())).send().get(WAIT) == [Colour.RED, [Colour.RED]]

    def test_collected_failures_stand_in_their_place(self, app):
        @app.task(name="half")
        def half(x: int) -> int:
            if x % 2:
                raise ValueError(x)
            return x // 2

        with app.worker():
            header = group(half.s(x) for x in (2, 3)).set(on_member_failure="collect")
            first, second = header.send().get(WAIT)
        assert first == 1
        assert isinstance(second, Failure)
        assert second.type == "builtins.ValueError"


class TestUnusualOptions:
    def test_the_message_of_a_failed_task_can_be_kept(self, app):
        @app.task(name="broken")
        def broken() -> None:
            raise ValueError("for good")

        kept, dropped = app.send_many([broken.s().set(dead_letter=True), broken.s()])
        app.worker().drain()
        (letter,) = app.operations.dead_letters("default")
        assert letter.task_id == kept.id
        assert "finally failed" in letter.reason
        assert kept.state() is dropped.state() is State.FAILURE

    def test_a_task_may_say_that_its_message_is_kept(self, app):
        @app.task(name="kept", dead_letter=True)
        def kept() -> None:
            raise ValueError("for good")

        @app.task(name="dropped")
        def dropped() -> None:
            raise ValueError("for good")

        handles = app.send_many([kept.s(), kept.s().set(dead_letter=False), kept.s().set(priority=1), dropped.s()])
        app.worker().drain()
        letters = {letter.task_id for letter in app.operations.dead_letters("default")}
        assert letters == {handles[0].id, handles[2].id}

    def test_a_setting_applies_to_all_tasks(self):
        with App("memory://", dead_letter=True) as app:
            app.task(name="broken")(lambda: 1 / 0)
            app.task(name="dropped", dead_letter=False)(lambda: 1 / 0)
            broken, _, unknown = app.send_many(
                [app.signature("broken"), app.signature("dropped"), app.signature("elsewhere")]
            )
            app.task(name="elsewhere")(lambda: 1 / 0)
            app.worker().drain()
            letters = app.operations.dead_letters("default")
            assert sorted(letter.task_id for letter in letters) == sorted([broken.id, unknown.id])
            assert "builtins.ZeroDivisionError: division by zero" in letters[0].reason

    def test_a_dead_letter_option_that_is_not_true_or_false_is_refused(self, app):
        with pytest.raises(InvalidSignature, match="dead_letter is 'yes'"):
            app.task(name="broken", dead_letter="yes")(lambda: None)

    def test_an_unknown_task_can_be_dropped_at_once(self, app):
        result = app.signature("nobody.knows").set(ignore_unknown=True).send()
        app.worker().drain()
        with pytest.raises(drivetrain.TaskCancelled, match="ignore_unknown"):
            result.get(WAIT)
        sizes = app.operations.sizes(["default"])["default"]
        assert (sizes.ready, sizes.delayed, sizes.in_flight, sizes.dead) == (0, 0, 0, 0)

    def test_the_group_of_a_message_reaches_the_broker(self, app):
        app.signature("any").set(message_group="customer 42").send()
        (message,) = app.runtime.broker.peek("default", QueueSection.READY, limit=1)
        assert message.headers[MESSAGE_GROUP_HEADER] == "customer 42"


class TestLocks:
    def test_one_holder_at_a_time_and_tokens_that_grow(self, app):
        with app.lock("nightly", seconds=30) as held:
            first = held.token
            assert not app.lock("nightly").acquire()
            with pytest.raises(LockHeld, match="nightly"), app.lock("nightly"):
                pass
            assert held.renew()
        assert held.token is None
        with app.lock("nightly") as again:
            assert again.token > first


class TestOperations:
    def test_listing_queues(self, app):
        note = app.task(name="note", queue="mails")(lambda _: None)
        sent = note.send("hello")
        later = note.s("later").set(delay=60).send()
        sizes = app.operations.sizes(["mails"])["mails"]
        assert (sizes.ready, sizes.delayed) == (1, 1)
        (ready,) = app.operations.tasks("mails", QueueSection.READY)
        assert (ready.task_id, ready.task, ready.args) == (sent.id, "note", ("hello",))
        assert "hello" not in repr(ready)
        (delayed,) = app.operations.tasks("mails", QueueSection.DELAYED)
        assert delayed.task_id == later.id
        assert delayed.eta - datetime.now(UTC) > timedelta(seconds=50)
        assert "mails" in app.operations.queues()
        assert {record.task_id for record in app.operations.unfinished()} == {sent.id, later.id}

    def test_dead_letters_are_chosen_by_a_filter(self, app):
        @app.task(name="broken", dead_letter=True)
        def broken(why: str) -> None:
            raise ValueError(why)

        @app.task(name="worse", dead_letter=True)
        def worse(why: str) -> None:
            raise TypeError(why)

        signatures = [broken.s("rain"), broken.s("snow"), worse.s("rain"), worse.s("x" * 100)]
        ids = [handle.id for handle in app.send_many(signatures)]
        app.worker().drain()
        look = app.operations.dead_letters
        assert {one.task_id for one in look("default", DeadLetterFilter(tasks=["broken"]))} == set(ids[:2])
        assert {one.task_id for one in look("default", DeadLetterFilter(reason="valueerror: r"))} == {ids[0]}
        assert len(look("default", DeadLetterFilter(tasks=["worse"]), limit=1)) == 1
        assert app.operations.drop_dead_letters("default", DeadLetterFilter(tasks=["worse"], reason="rain")) == 1
        assert app.operations.replay("default", DeadLetterFilter(task_ids=[ids[1]])) == 1
        assert {one.task_id for one in look("default")} == {ids[0], ids[3]}
        assert app.operations.drop_dead_letters("default", DeadLetterFilter(reason="thunder")) == 0
        assert app.operations.drop_dead_letters("default") == 2

    def test_purging_notifies_waiters(self, app):
        note = app.task(name="note")(lambda *_: None)
        chained = chain(note.s(1), note.s()).send()
        later = note.s(2).set(delay=3600).send()
        assert app.operations.purge("default") == 2
        with pytest.raises(drivetrain.TaskCancelled):
            chained.get(WAIT)
        with pytest.raises(drivetrain.TaskCancelled):
            later.get(WAIT)


def test_nothing_public_is_left_out():
    """``__all__`` is sorted and tells all that a user may import."""
    assert drivetrain.__all__ == sorted(drivetrain.__all__)
    public = {name for name, value in vars(drivetrain).items() if not name.startswith("_") and not _is_room(value)}
    assert public == set(drivetrain.__all__)


def _is_room(value: object) -> bool:
    return getattr(value, "__name__", "") in {f"drivetrain.{room}" for room in _ROOMS}


_ROOMS = ("app", "asgi", "cli", "contract", "drivers", "pytest", "testing", "worker", "workflow")


def test_two_apps_do_not_meet():
    one, other = App("memory://"), App("memory://")
    one.task(name="note")(lambda: None).send()
    assert other.operations.sizes(["default"])["default"].ready == 0
    assert "note" not in other.tasks


class TestNames:
    @pytest.fixture
    def named(self, tmp_path):
        """Apps of these names on one file, each with a task that tells whose it is."""
        apps = []

        def named(name, more=""):
            app = App(f"sqlite:///{tmp_path}/work.db{more}", name=name)
            app.task(name="whose")(lambda: name)
            apps.append(app)
            return app

        yield named
        for app in apps:
            app.close()

    def test_apps_of_different_names_do_not_run_each_others_tasks(self, named):
        one, other = named("one"), named("Other App")
        handle = one.send(one.signature("whose"))
        with other.worker():
            assert other.send(other.signature("whose")).get(timeout=60) == "Other App"
            assert handle.state() is State.PENDING
            assert other.operations.sizes(["default"])["default"].ready == 0
        with one.worker():
            assert handle.get(timeout=60) == "one"

    def test_their_locks_are_not_the_same(self, named):
        one, other = named("one"), named("other")
        with one.lock("nightly"), other.lock("nightly"):
            assert not one.lock("nightly").acquire()

    def test_the_namespace_of_a_url_is_stronger(self, named):
        one, other = named("one", "?namespace=shared"), named("other", "?namespace=shared")
        handle = one.send(one.signature("whose"))
        with other.worker():
            assert handle.get(timeout=60) == "other"

    def test_a_worker_with_a_broker_of_its_own_has_the_name_too(self, named):
        app = named("one")
        with app.worker(), app.worker() as second:
            assert second._runtime.broker is not app.runtime.broker
            assert second._runtime.broker.capabilities.store == app.runtime.broker.capabilities.store

    def test_a_store_is_one_only_within_a_namespace(self, named):
        stores = {named(name).runtime.broker.capabilities.store for name in ("one", "other", "ONE", "one_")}
        assert len(stores) == 4
        app = named("one")
        assert app.runtime.broker.capabilities.store == app.runtime.backend.capabilities.store

    def test_the_usual_name_has_the_usual_tables(self, named, tmp_path):
        named("drivetrain").runtime.broker.ping()
        with closing(sqlite3.connect(tmp_path / "work.db")) as connection:
            names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        assert {"drivetrain_messages", "drivetrain_tasks"} <= set(names)


def test_an_app_connects_to_nothing_before_it_is_used(tmp_path):
    App(f"sqlite:///{tmp_path}/work.db").task(name="note")(lambda: None)
    assert list(tmp_path.iterdir()) == []
