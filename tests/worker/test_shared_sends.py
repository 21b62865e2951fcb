"""Concurrent sends of one process share calls of the drivers, and each gets its own outcome."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from drivetrain import InvalidArguments, PublishFailed, ServiceRefused, ServiceUnavailable, chain
from drivetrain.worker import shared_call
from support.faults import Changed, rewire
from support.waiting import DEADLINE_SECONDS, happened, until


class Gated(Changed):
    """A broker without a store of its own. It counts messages by call; its calls wait for a gate, and refuse some."""

    def __init__(self, broker):
        super().__init__(broker, store=None)
        self.gate = threading.Event()
        self.arrived = threading.Event()
        self.calls = []
        self.refused = set()
        #: How many calls fail, after they have published.
        self.failing = 0

    def publish(self, messages):
        self.calls.append([message.id for message in messages])
        self.arrived.set()
        happened(self.gate, "the gate opens")
        bad = {message.id: ServiceRefused("full") for message in messages if message.body in self.refused}
        self._driver.publish([message for message in messages if message.id not in bad])
        if self.failing:
            self.failing -= 1
            raise ServiceUnavailable("the reply was lost")
        if bad:
            raise PublishFailed(bad)


@pytest.fixture
def gated(memory_app, monkeypatch):
    monkeypatch.setattr(shared_call, "_PATIENCE_SECONDS", DEADLINE_SECONDS)
    broker = Gated(memory_app.runtime.broker)
    rewire(memory_app, broker=broker)
    yield memory_app
    broker.gate.set()


def send_at_once(app, values, *, between=lambda: None):
    """Send each value from a coroutine, all of them while the first call is under way; the handles or errors."""
    broker, publish = app.runtime.broker, app._services.sender.publisher._shared.publish

    async def main():
        first = asyncio.ensure_future(app.send_async(app.signature("value", "first")))
        await asyncio.to_thread(happened, broker.arrived, "the first is under way")
        others = [asyncio.ensure_future(app.send_async(app.signature("value", value))) for value in values]
        await asyncio.to_thread(until, lambda: len(publish._waiting) == len(values), "the others wait")
        between()
        broker.gate.set()
        await first
        return await asyncio.wait_for(asyncio.gather(*others, return_exceptions=True), DEADLINE_SECONDS)

    return asyncio.run(main())


def test_what_is_sent_at_once_is_published_at_once(gated):
    handles = send_at_once(gated, range(50))
    assert gated.runtime.broker.calls[1:] == [[handle.id for handle in handles]]
    with gated.worker():
        assert [handle.get(timeout=DEADLINE_SECONDS) for handle in handles] == list(range(50))


def test_a_refused_message_is_the_error_of_its_sender_only(gated):
    """Its record is removed, as after any send that failed, and all others are there."""
    broker = gated.runtime.broker

    def refuse():
        bad = [part.entries[0].body for part in gated._services.sender.publisher._shared.publish._waiting][2:4]
        broker.refused.update(bad)

    outcomes = send_at_once(gated, range(6), between=refuse)
    failed = [index for index, outcome in enumerate(outcomes) if isinstance(outcome, Exception)]
    assert failed == [2, 3]
    for index in failed:
        assert isinstance(outcomes[index], PublishFailed)
        assert len(outcomes[index].failures) == 1
    assert outcomes[2].failures.keys() != outcomes[3].failures.keys()
    with gated.worker():
        sent = [handle for index, handle in enumerate(outcomes) if index not in failed]
        assert [handle.get(timeout=DEADLINE_SECONDS) for handle in sent] == [0, 1, 4, 5]
    assert gated.runtime.backend.read(list(outcomes[2].failures)) == [None]


def test_after_a_lost_reply_each_sender_repeats_and_each_task_runs_once(gated, log):
    broker = gated.runtime.broker

    def fail():
        broker.failing = 2  # of the first, and of the shared one

    handles = send_at_once(gated, range(20), between=fail)
    with gated.worker():
        assert [handle.get(timeout=DEADLINE_SECONDS) for handle in handles] == list(range(20))
    assert sorted(note[1] for note in log.notes if note[1] != "first") == list(range(20))


def test_a_wrong_argument_and_a_cancelled_send_harm_nobody(gated):
    app, broker = gated, gated.runtime.broker
    publish = app._services.sender.publisher._shared.publish

    async def main():
        first = asyncio.ensure_future(app.send_async(app.signature("value", "first")))
        await asyncio.to_thread(happened, broker.arrived, "the first is under way")
        others = [asyncio.ensure_future(app.send_async(app.signature("add", n, n))) for n in range(4)]
        wrong = asyncio.ensure_future(app.send_async(app.signature("add", "one", 1)))
        await asyncio.to_thread(until, lambda: len(publish._waiting) == 4, "the others wait")
        others[1].cancel()
        broker.gate.set()
        return await asyncio.gather(first, wrong, *others, return_exceptions=True)

    _, wrong, *others = asyncio.run(main())
    assert isinstance(wrong, InvalidArguments)
    assert isinstance(others.pop(1), asyncio.CancelledError)
    with app.worker():
        assert [handle.get(timeout=DEADLINE_SECONDS) for handle in others] == [0, 4, 6]
    assert sum(map(len, broker.calls)) == 4, "what was cancelled before it went out is not published"


def test_threads_send_all_kinds_of_workflows_at_once(app):
    """Their records come before their messages, and the order of one thread's sends stays."""

    def send(number):
        handles = []
        for n in range(10):
            handles.append(app.send(app.signature("value", [number, n])))
            handles.append(app.send(chain(app.signature("add", number, n), app.signature("add", 1))))
            handles.append(app.send(app.signature("value", n).set(task_id=f"{number}-{n}")))
        return handles

    with ThreadPoolExecutor(8) as threads:
        sent = list(threads.map(send, range(8)))
    with app.worker():
        for number, handles in enumerate(sent):
            expected = [value for n in range(10) for value in ([number, n], number + n + 1, n)]
            assert [handle.get(timeout=DEADLINE_SECONDS) for handle in handles] == expected
