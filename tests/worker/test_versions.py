"""Two versions of the code side by side, as in a rolling deploy."""

import pytest

from drivetrain import ConfigurationError, InvalidSignature, State, TaskFailed
from drivetrain.contract import QueueSection
from support.waiting import until


def old_version(app):
    app.task(name="shop.price")(lambda net: net * 2)
    return app


def new_version(app):
    def price(net: int, discount: int = 0) -> int:
        return net * 2 - discount

    app.task(name="shop.price")(price)
    return app


@pytest.fixture
def old(make_app, url):
    return old_version(make_app(url, tasks=False))


@pytest.fixture
def new(make_app, url):
    return new_version(make_app(url, tasks=False))


def test_an_old_worker_leaves_arguments_that_do_not_fit_to_a_new_one(old, new):
    handle = new.send(new.signature("shop.price", 10, discount=1))
    with old.worker():
        until(lambda: old.operations.tasks("default", QueueSection.DELAYED), "the old worker offers it to others")
        assert handle.state() is State.RECEIVED
        with new.worker():
            assert handle.get(timeout=60) == 19
    record = handle.record()
    assert record.starts == 1, "an offer to other workers does not count as a failed start"
    assert new.operations.dead_letters("default") == []


def test_what_waits_for_a_task_that_was_offered_to_others_goes_on(old, new):
    handle = new.send(new.signature("shop.price", 10, discount=1) | new.signature("shop.price"))
    with old.worker():
        until(lambda: old.operations.tasks("default", QueueSection.DELAYED), "the old worker offers it to others")
    with new.worker():
        assert handle.get(timeout=60) == 38


def test_arguments_that_fit_no_worker_are_dead_lettered_when_the_time_is_over(make_app, url):
    app = old_version(make_app(url, tasks=False, version_mismatch_seconds=0.3))
    stranger = make_app(url, tasks=False)
    handle = stranger.send(stranger.signature("shop.price", 10, discount=1))
    with app.worker():
        with pytest.raises(TaskFailed, match="discount") as raised:
            handle.get(timeout=60)
        (letter,) = until(lambda: app.operations.dead_letters("default"), "it is put aside")
    assert raised.value.failure.type == "drivetrain.contract.errors.InvalidArguments"
    assert letter.reason.startswith("wrong arguments: ")


def test_one_call_that_does_not_fit_keeps_no_other_from_running(old, new):
    unfit = new.send(new.signature("shop.price", 10, discount=1))
    others = old.send_many(old.signature("shop.price", n) for n in range(50))
    with old.worker():
        assert [other.get(timeout=60) for other in others] == [2 * n for n in range(50)]
        assert not unfit.wait(0)


def test_a_message_that_carries_an_alias_runs_the_renamed_task(old, make_app, url):
    renamed = make_app(url, tasks=False)
    renamed.task(name="shop.gross_price", aliases=["shop.price"])(lambda net: net * 3)
    handle = old.send(old.signature("shop.price", 10))
    with renamed.worker():
        assert handle.get(timeout=60) == 30
    assert list(renamed.tasks) == ["shop.gross_price"]


@pytest.mark.parametrize("aliases", ["shop.old", [1], [""], None], ids=repr)
def test_aliases_that_are_not_a_list_of_names_are_refused(app, aliases):
    with pytest.raises(InvalidSignature, match=r"aliases of task 'shop.new' are .*; give a list of names"):
        app.task(name="shop.new", aliases=aliases)(lambda: None)


def test_an_alias_that_is_the_name_of_another_task_is_refused(app):
    with pytest.raises(ConfigurationError, match="cannot be known as 'value'.* task 'value'"):
        app.task(name="shop.new", aliases=["value"])(lambda: None)
    assert "shop.new" not in app.tasks


def test_a_task_whose_name_is_the_alias_of_another_is_refused(app):
    app.task(name="shop.new", aliases=["shop.old"])(lambda: 1)
    with pytest.raises(ConfigurationError, match="'shop.old'.* task 'shop.new'"):
        app.task(name="shop.old")(lambda: 2)
