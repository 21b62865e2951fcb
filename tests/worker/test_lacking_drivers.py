"""What core supplies where a driver lacks it, and what is kept, for how long, and what is left behind: nothing."""

import time
from collections import Counter

import pytest

from drivetrain import ResultLost, State, TaskFailed, TooLarge, UnknownResult, chain, chord, current_task, group, retry
from drivetrain.contract import Durability, evolve
from support.clocks import Ahead
from support.faults import Changed, rewire
from support.waiting import until


def idle(app):
    sizes = app.runtime.broker.sizes(["default"])["default"]
    return sizes.ready == sizes.in_flight == sizes.delayed == 0


def with_broker(app, **capabilities):
    rewire(app, broker=Changed(app.runtime.broker, **capabilities))
    return app


def with_backend(app, **capabilities):
    rewire(app, backend=Changed(app.runtime.backend, **capabilities))
    return app


BIG = "x" * 5000


def test_a_body_that_is_too_large_waits_in_the_backend_and_goes_with_its_message(app):
    with_broker(app, largest_message_bytes=1000)
    text = app.signature("value", BIG)
    handles = app.send_many([text, chain(text, app.signature("value")), group(text, text)])
    assert app.runtime.backend.counts()["bodies"] == 4
    with app.worker():
        assert handles[0].get(timeout=60) == BIG
        assert handles[1].get(timeout=60) == BIG
        assert handles[2].get(timeout=60) == [BIG, BIG]
        until(lambda: idle(app), "nothing is left to do")
        until(lambda: app.runtime.backend.counts()["bodies"] == 0, "no body is left behind")


def test_headers_count_in_bytes_of_utf8(app):
    with_broker(app, largest_message_bytes=1300)
    app.send(app.signature("value", "x" * 100).set(headers={"customer": "é" * 300}))
    assert app.runtime.backend.counts()["bodies"] == 1, "its 1,169 characters are 1,469 bytes"


def test_large_bodies_survive_retries_hops_and_workers_that_do_not_know_them(make_app, url):
    app = with_broker(
        make_app(url, version_mismatch_seconds=0.2), largest_message_bytes=1000, longest_delay_seconds=0.1
    )

    @app.task(name="large.flaky", retry=retry.fixed(0.25, max_retries=2))
    def flaky(text: str) -> int:
        if current_task().attempt < 2:
            raise OSError
        return len(text)

    late = app.send(app.signature("value", BIG).set(delay=0.35))
    handle = app.send(app.signature("large.flaky", BIG))
    unknown = app.send(app.signature("nobody", BIG))
    with app.worker():
        assert handle.get(timeout=60) == len(BIG)
        assert late.get(timeout=60) == BIG
        with pytest.raises(TaskFailed):
            unknown.get(timeout=60)
        until(lambda: app.operations.dead_letters("default"), "the unknown one is put aside")
        until(lambda: idle(app), "nothing is left to do")
        until(lambda: app.runtime.backend.counts()["bodies"] == 1, "the dead letter keeps its body, nobody else")
    assert app.operations.drop_dead_letters("default") == 1
    assert app.runtime.backend.counts()["bodies"] == 0


def test_a_second_message_without_its_body_changes_nothing(app, log):
    with_broker(app, largest_message_bytes=1000)

    @app.task(name="large.flaky", retry=retry.fixed(0.3))
    def flaky(text: str) -> int:
        if current_task().attempt == 0:
            raise OSError
        return len(text)

    handle = app.send(app.signature("large.flaky", BIG))
    broker = app.runtime.broker
    (delivery,) = broker.receive(["default"], limit=1, wait_seconds=5, hold_seconds=60)
    broker.publish([delivery.message])
    broker.acknowledge([delivery])
    with app.worker():
        until(lambda: handle.state() is State.RETRY, "the first attempt has failed, and its body has gone")
        until(lambda: app.runtime.backend.counts()["bodies"] == 1, "only the retry's body is there")
        broker.publish([delivery.message])
        assert handle.get(timeout=60) == len(BIG)
    assert app.operations.dead_letters("default") == []


def test_purging_takes_bodies_along(app):
    with_broker(app, largest_message_bytes=1000)
    app.send(app.signature("value", BIG))
    app.send(app.signature("value", BIG).set(delay=600))
    assert app.operations.purge("default") == 2
    assert app.runtime.backend.counts()["bodies"] == 0


def test_a_result_that_is_too_large_for_the_backend_fails_the_task(app):
    with_backend(app, largest_value_bytes=2000)

    @app.task(name="large")
    def large() -> str:
        return BIG

    @app.task(name="large.error")
    def large_error(text: str) -> None:
        raise ValueError(text)

    with app.worker():
        with pytest.raises(TaskFailed, match="TooLarge"):
            app.send(app.signature("large") | app.signature("value")).get(timeout=60)
        with pytest.raises(TaskFailed, match="ValueError: xxx") as raised:
            app.send(app.signature("large.error", BIG)).get(timeout=60)
    assert len(raised.value.failure.message) < 2000


def test_a_message_that_is_too_large_even_for_a_claim_check_is_refused(app):
    with_broker(app, largest_message_bytes=100)
    with pytest.raises(TooLarge):
        app.send(app.signature("value", 1).set(headers={"note": BIG}))


def test_a_follow_up_task_that_cannot_be_published_fails_and_its_callback_is_sent(app):
    """The broker refuses a follow-up task: that task fails, its waiters are notified, the message is dead-lettered."""
    handle = app.send(app.signature("value", 1).set(task_id="first") | app.signature("value").set(headers={"n": BIG}))
    with_broker(app, largest_message_bytes=1000)
    with app.worker():
        with pytest.raises(TaskFailed, match="TooLarge"):
            handle.get(timeout=60)
        (letter,) = until(lambda: app.operations.dead_letters("default"), "it is dead-lettered")
    assert letter.task_id == "first"


def test_delays_beyond_what_the_broker_keeps_hop_and_are_never_early(app, log):
    with_broker(app, longest_delay_seconds=0.2, store=None)
    published = Counter()
    broker = app.runtime.broker
    publish = broker.publish

    def count(messages):
        published.update(message.id for message in messages)
        publish(messages)

    broker.publish = count
    began = time.time()
    handles = [app.send(app.signature("value", n).set(delay=0.5 + n / 10)) for n in range(5)]
    with app.worker():
        for n, handle in enumerate(handles):
            handle.get(timeout=60)
            entry = handle.record().history[State.STARTED].at
            assert began + 0.5 + n / 10 <= entry < began + 3 + n / 10
    assert sorted(log.notes) == [("value", n) for n in range(5)]
    # On a busy machine one that is late hops less often, the longest more often than that all the same.
    assert all(count >= 2 for count in published.values()), published
    assert max(published.values()) >= 3, published


def test_a_broker_that_does_not_count_deliveries(app):
    uncounted = _Uncounted(app.runtime.broker)
    rewire(app, broker=uncounted)
    with app.worker():
        handle = app.send(chord([app.signature("flaky", 1), app.signature("value", 1)], app.signature("total")))
        assert handle.get(timeout=60) == 2


class _Uncounted(Changed):
    def __init__(self, broker):
        super().__init__(broker, counts_deliveries=False)

    def receive(self, *args, **options):
        return [evolve(one, delivery_count=None) for one in self._driver.receive(*args, **options)]


# Keeping

SIMPLE = {"tasks": 0, "groups": 0, "members": 0, "bodies": 0, "values": 0}


def workflows(app):
    s = app.signature
    return [
        s("value", 1),
        chain(s("value", 1), s("add", 1), s("add", 1)),
        chord([s("value", 1), s("add", 1, 1)], s("total")),
        chain(s("value", 1), group(s("add", 1), s("add", 2)), s("total")),
        chain(group(), s("total")),
        chord([s("broken"), s("value", 1)], s("total")),
        s("flaky", 1),
    ]


def test_keeping_no_results_changes_no_workflow_and_leaves_nothing_behind(make_app, url, log):
    app = make_app(url, result_retention_seconds=0, counts_retention_seconds=0)
    seen = []
    app.task(name="see")(lambda value: seen.append(value))  # noqa: PLW0108 - a task is a function
    with app.worker():
        app.send_many([workflow | app.signature("see") for workflow in workflows(app)])
        until(lambda: len(seen) == 6, "all workflows give their results")
        until(lambda: idle(app), "nothing is left to do")
    assert sorted(seen) == [0, 1, 1, 3, 3, 5]
    later = make_app(url, clock=Ahead(2 * 86400))
    until(lambda: later.runtime.backend.counts() == SIMPLE, "nothing is left behind")


def test_the_record_of_a_single_task_without_retention_is_dropped_at_once(make_app, url):
    app = make_app(url, result_retention_seconds=0, counts_retention_seconds=0)
    with app.worker():
        handles = app.send_many([app.signature("value", n) for n in range(10)])
        until(lambda: idle(app), "nothing is left to do")
        stored = {**SIMPLE, "values": 1}  # the status of the worker
        until(lambda: app.runtime.backend.counts() == stored, "nothing of the tasks is left behind")
        with pytest.raises(UnknownResult):
            handles[0].get(timeout=60)


def test_nothing_runs_twice_for_want_of_results(make_app, url, log):
    """A message is delivered again after its follow-up task has ended and its record has expired."""
    app = make_app(url, result_retention_seconds=0, lease_seconds=0.3)
    acknowledged = app.runtime.broker.acknowledge
    lost = []

    def lose_the_first(deliveries):
        if lost:
            return acknowledged(deliveries)
        lost.extend(deliveries)  # as if the worker had died just before
        return None

    rewire(app, broker=Changed(app.runtime.broker))
    app.runtime.broker.acknowledge = lose_the_first
    with app.worker():
        app.send(app.signature("value", 1).set(retention=600) | app.signature("add", 1) | app.signature("add", 2))
        until(lambda: lost, "the first acknowledgement is lost")
        log.wait_for(3)
        until(lambda: idle(app), "the first message was delivered again and settled")
    assert log.notes == [("value", 1), ("add", 1, 1), ("add", 2, 2)]


def test_retention_of_one_task_and_forgetting(app):
    with app.worker():
        short = app.send(app.signature("value", 1).set(retention=0.2))
        assert short.get(timeout=60) == 1
        until(lambda: _gone(short), "it is gone after its time")
        kept = app.send(chord([app.signature("value", 1)], app.signature("total")))
        assert kept.get(timeout=60) == 1
        kept.forget()
        with pytest.raises(UnknownResult):
            kept.state()


def test_forgetting_what_has_not_ended_does_not_stop_it(app, log):
    handle = app.send(chord([app.signature("value", 1), app.signature("value", 2)], app.signature("total")))
    handle.forget()
    with app.worker():
        until(lambda: ("total", [1, 2]) in log.notes or ("total", [2, 1]) in log.notes, "the callback runs")


def _gone(handle):
    try:
        handle.state()
    except UnknownResult:
        return True
    return False


class _Cache(Changed):
    """A backend that drops things when it runs short of room, without a word."""

    def __init__(self, backend, *, notifies=False):
        super().__init__(backend, durability=Durability.CACHE, notifies=notifies)

    def read_members(self, group_id):
        return [None, *self._driver.read_members(group_id)[1:]]


@pytest.fixture
def cached(app, monkeypatch):
    monkeypatch.setattr("drivetrain.app.lost_results._SENT_SECONDS", 0.0)
    rewire(app, backend=_Cache(app.runtime.backend))
    return app


@pytest.mark.parametrize("notifies", [False, True])
def test_a_waiter_gets_an_error_if_a_cache_has_dropped_the_result(app, monkeypatch, notifies):
    """Also by one that notifies of ends: it does not know of what it has dropped, so who waits looks for that."""
    monkeypatch.setattr("drivetrain.app.lost_results._SENT_SECONDS", 0.0)
    monkeypatch.setattr("drivetrain.app.waiting._LONGEST_WAIT_OF_A_CACHE_SECONDS", 0.05)
    rewire(app, backend=_Cache(app.runtime.backend, notifies=notifies))
    members = [app.signature("value", n) for n in range(3)]
    handle = app.send(chord(group(members).set(group_id="gone"), app.signature("total")))
    app.runtime.backend.forget(["gone"])
    with app.worker(), pytest.raises(ResultLost, match="the backend has dropped a record"):
        handle.get(timeout=60)


def test_a_group_with_dropped_results_fails_with_that_reason(cached):
    app = cached
    members = [app.signature("value", n) for n in range(3)]
    handle = app.send(chord(group(members).set(group_id="holed"), app.signature("total")))
    with app.worker():
        with pytest.raises(TaskFailed, match="has lost the results of 1 members"):
            handle.get(timeout=60)
        whole = app.send(group(members))
        with pytest.raises(ResultLost, match="lost results of members"):
            whole.get(timeout=60)


def test_a_callback_that_was_published_waits_for_nothing_that_could_be_lost(cached):
    app = cached
    handle = app.send(app.signature("value", 1) | app.signature("add", 1))
    app.worker().drain()
    app.runtime.backend.forget([part for part in handle._parts if part != handle.id])
    assert handle.get(timeout=60) == 2


def test_dead_letters_are_replayed_and_dropped_whatever_a_broker_counts(make_app, url, monkeypatch):
    """Numbers are are approximate only without `exact_sizes`; and of very many, a broker may show some only."""
    monkeypatch.setattr("drivetrain.app.operations._PAGE", 2)
    app = with_broker(make_app(url, version_mismatch_seconds=0), exact_sizes=False)
    handles = [app.send(app.signature("later.known", n)) for n in range(7)]
    with app.worker():
        until(lambda: len(app.operations.dead_letters("default")) == len(handles), "all are put aside")
    counting = app.runtime.broker.sizes
    monkeypatch.setattr(
        app.runtime.broker,
        "sizes",
        lambda queues: {name: evolve(sizes, dead=1) for name, sizes in counting(queues).items()},
        raising=False,
    )
    peeking = app.runtime.broker.peek
    monkeypatch.setattr(
        app.runtime.broker,
        "peek",
        lambda queue, section, *, limit: peeking(queue, section, limit=min(limit, 3)),
        raising=False,
    )
    app.task(name="later.known")(lambda x: x * 2)
    assert app.operations.replay("default") == len(handles)
    with app.worker():
        assert [handle.get(timeout=30) for handle in handles] == [0, 2, 4, 6, 8, 10, 12]
