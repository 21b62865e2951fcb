"""What is particular to ``memory://``: names, URLs, waiting by a clock that stands still, and cost."""

import gc
import time
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.contract import (
    ConfigurationError,
    DriverContext,
    Durability,
    QueueSection,
    QueueSizes,
    State,
    SystemClock,
    Transition,
)
from drivetrain.drivers import memory
from drivetrain.drivers.memory.indexed_heap import IndexedHeap


@pytest.fixture
def make_broker(clock):
    return lambda url="memory://", clock=clock: memory.make_broker(url, DriverContext(clock=clock))


@pytest.fixture
def make_backend(clock):
    return lambda url="memory://", clock=clock: memory.make_backend(url, DriverContext(clock=clock))


def ended(task_id="t"):
    return Transition(task_id=task_id, state=State.SUCCESS, at=1.0)


class TestNames:
    def test_no_name_is_private(self, make_broker, make_backend, message):
        make_broker().publish([message()])
        make_backend().record([ended()])
        assert make_broker().queues() == []
        assert make_backend().read(["t"]) == [None]

    def test_a_name_is_shared_and_others_apart(self, make_broker, make_backend, message):
        broker, backend = make_broker("memory://one"), make_backend("memory://one")
        broker.publish([message()])
        backend.record([ended()])
        assert make_broker("memory://one").queues() == ["q"]
        assert make_backend("memory://one").read(["t"])[0].state is State.SUCCESS
        assert make_broker("memory://two").queues() == []
        assert make_backend("memory://two").read(["t"]) == [None]

    def test_a_store_without_references_is_dropped(self, make_broker, message):
        broker = make_broker("memory://fleeting")
        broker.publish([message()])
        store = weakref.ref(broker._store)
        del broker
        gc.collect()
        assert store() is None
        assert make_broker("memory://fleeting").queues() == []

    def test_it_declares_that_nothing_survives(self, make_broker, make_backend):
        for made in (make_broker(), make_backend()):
            assert made.capabilities.durability is Durability.NONE
            assert not made.capabilities.shared


@pytest.mark.parametrize("make", [memory.make_broker, memory.make_backend])
class TestUrls:
    def test_every_fault_is_named(self, make):
        with pytest.raises(ConfigurationError) as caught:
            make("memory://user:secret@name/path?depth=1&token=hidden", DriverContext())
        assert len(caught.value.faults) == 4
        text = str(caught.value)
        assert "'depth'" in text
        assert "'token'" in text
        assert "path" in text
        assert "user" in text
        assert "secret" not in text
        assert "hidden" not in text

    @pytest.mark.parametrize("url", ["memory://", "memory:///", "memory://a.b-c"])
    def test_good_ones(self, make, url):
        assert make(url, DriverContext()).ping() is None


class TestWaitingByTheClock:
    """A receive or a wait sleeps until the clock is turned to the next change, and not longer."""

    def test_until_a_message_is_due(self, make_broker, message, take, clock, background):
        broker = make_broker()
        broker.publish([message("later", eta=clock.now() + 1e6), message(eta=clock.now() + 86_400)])
        receiving = background(take, broker, wait=1e9)
        clock.await_waiters()
        clock.advance(86_399)
        clock.await_waiters()
        assert not receiving.ended()
        clock.advance(1)
        assert [delivery.message.id for delivery in receiving.result()] == ["m"]

    def test_until_a_hold_ends(self, make_broker, message, take, clock, background):
        broker = make_broker()
        broker.publish([message()])
        take(broker, hold=3600)
        receiving = background(take, broker, wait=1e9)
        clock.await_waiters()
        clock.advance(3600)
        assert receiving.result()[0].redelivered

    def test_until_the_time_has_run_out(self, make_broker, take, clock, background):
        receiving = background(take, make_broker(), wait=60)
        clock.await_waiters()
        clock.advance(60)
        assert receiving.result() == []

    def test_a_hold_cut_short_wakes_it(self, make_broker, message, take, clock, background):
        broker = make_broker()
        broker.publish([message()])
        held = take(broker, hold=3600)
        receiving = background(take, broker, wait=1e9)
        clock.await_waiters()
        broker.extend(held, hold_seconds=0)
        assert len(receiving.result()) == 1

    @pytest.mark.parametrize("other_queue", [True, False])
    def test_it_asks_the_clock_and_does_not_poll(self, make_broker, message, take, clock, background, other_queue):
        class Counting(SystemClock):
            waits = 0

            def wait(self, condition, timeout):
                self.waits += 1
                return super().wait(condition, timeout)

        counting = Counting()
        broker = make_broker(clock=counting)
        before = time.monotonic()
        broker.publish([message(eta=counting.now() + 0.03, queue="other" if other_queue else "q")])
        assert len(take(broker, wait=0.06)) == (0 if other_queue else 1)
        assert counting.waits <= 3
        assert time.monotonic() - before < 2

    def test_the_end_of_a_backend_wait(self, make_backend, clock, background):
        backend = make_backend()
        backend.record([Transition(task_id="t", state=State.PENDING, at=1.0)])
        waiting = background(backend.wait, ["t"], timeout_seconds=1e6)
        clock.await_waiters()
        backend.record([ended("other")])
        clock.await_waiters()
        clock.advance(1e6)
        assert waiting.result() == {}

    def test_close_wakes_only_its_own(self, make_broker, make_backend, take, clock, background):
        one, other = make_broker("memory://shared"), make_broker("memory://shared")
        ones, others = background(take, one, wait=60), background(take, other, wait=60)
        clock.await_waiters(2)
        one.close()
        assert ones.result() == []
        clock.await_waiters(1)
        assert not others.ended()
        clock.advance(60)
        assert others.result() == []


class TestPlaces:
    """What comes back keeps its place: `drivetrain.drivers.memory.MemoryBroker` says so."""

    @pytest.mark.parametrize("how", ["release", "end of hold", "close"])
    def test_before_messages_that_were_published_later(self, make_broker, message, take, clock, how):
        broker = make_broker()
        broker.publish([message("a"), message("b")])
        held = take(broker, limit=1, hold=5)
        broker.publish([message("c")])
        if how == "release":
            broker.release(held)
        elif how == "close":
            broker.close()
        clock.advance(5)
        assert [found.id for found in broker.peek("q", QueueSection.READY, limit=9)] == ["a", "b", "c"]

    def test_a_delayed_release_stands_behind(self, make_broker, message, take, clock):
        broker = make_broker()
        broker.publish([message("a"), message("b")])
        broker.release(take(broker, limit=1), delay_seconds=1)
        broker.publish([message("c")])
        clock.advance(1)
        assert [delivery.message.id for delivery in take(broker)] == ["b", "c", "a"]

    def test_a_clock_set_back_does_not_mix_up_the_order(self, make_broker, message, take, clock):
        broker = make_broker()
        broker.publish([message("a")])
        clock.advance(-100)
        broker.publish([message("b")])
        assert [delivery.message.id for delivery in take(broker)] == ["a", "b"]


class TestCost:
    """Orders of magnitude, with a wide margin: what must not grow with what lies about does not."""

    def test_delayed_messages_do_not_slow_receive_down(self, make_broker, message, take, clock):
        broker = make_broker()
        eta = clock.now() + 1000
        broker.publish([message(eta=eta + number) for number in range(100_000)])
        broker.publish([message(f"{number}") for number in range(1000)])
        before = time.monotonic()
        for _ in range(1000):
            broker.acknowledge(take(broker, limit=1))
        assert time.monotonic() - before < 2
        assert broker.sizes(["q"])["q"] == QueueSizes(ready=0, delayed=100_000, in_flight=0, dead=0, oldest_seconds=0.0)

    def test_settled_messages_leave_nothing_behind(self, make_broker, message, take):
        broker = make_broker()
        for _ in range(100):
            broker.publish([message() for _ in range(50)])
            broker.acknowledge(take(broker))
        queue = broker._store.queues["q"]
        assert not queue.open
        assert sum(len(heap._heap) for heap in (queue.ready, queue.delayed, queue.in_flight)) < 500

    def test_heartbeats_leave_nothing_behind(self, make_broker, message, take):
        broker = make_broker()
        broker.publish([message()])
        held = take(broker)
        for _ in range(5000):
            broker.extend(held, hold_seconds=30)
        assert len(broker._store.queues["q"].in_flight._heap) < 500


keys = st.tuples(st.sampled_from([0.0, 1.0, 2.5]), st.integers(0, 5))
steps = st.lists(
    st.tuples(st.just("put"), keys)
    | st.tuples(st.just("take"), keys)
    | st.tuples(st.sampled_from(["pop", "until"]), keys),
    max_size=60,
)


@given(steps)
def test_a_heap_is_a_sorted_dict(story):
    heap, model = IndexedHeap(), {}
    for step, key in story:
        if step == "put" and key not in model:
            heap.put(key, str(key))
            model[key] = str(key)
        elif step == "take":
            assert heap.take(key) == model.pop(key, None)
        elif step == "pop" and model:
            assert heap.pop() == model.pop(min(model))
        elif step == "until":
            expected = [model.pop(each) for each in sorted(model) if each[0] <= key[0]]
            assert list(heap.pop_until(key[0])) == expected
        assert len(heap) == len(model)
        assert heap.first_key() == min(model, default=None)
        assert heap.smallest(2) == [model[each] for each in sorted(model)[:2]]
    assert sorted(heap.clear()) == sorted(model.values())
    assert heap.first_key() is None


def test_a_heap_forgets_keys_and_keeps_its_order():
    heap = IndexedHeap()
    for number in range(1000):
        heap.put((float(number), number), str(number))
    for number in range(0, 1000, 2):
        heap.take((float(number), number))
    for number in range(101, 1000, 2):
        heap.take((float(number), number))
    assert len(heap._heap) < 250
    assert [heap.pop() for _ in range(len(heap))] == [str(number) for number in range(1, 100, 2)]


def test_a_page_of_a_list_passes_a_limited_number_of_tasks(make_backend, monkeypatch):
    monkeypatch.setattr("drivetrain.drivers.memory.backend._LONGEST_WALK", 5)
    backend = make_backend()
    backend.record([Transition(task_id="first", state=State.FAILURE, at=1.0)])
    backend.record([Transition(task_id=f"t{number}", state=State.PENDING, at=1.0) for number in range(12)])
    backend.forget(["t3", "t11"])
    page, pages = backend.list_tasks({State.FAILURE}, limit=1), 1
    assert (list(page.records), page.cursor is None) == ([], False)
    while not page.records:
        page, pages = backend.list_tasks({State.FAILURE}, limit=1, cursor=page.cursor), pages + 1
    assert [found.task_id for found in page.records] == ["first"]
    assert (pages, page.cursor) == (3, None)
