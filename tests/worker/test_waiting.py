"""Waiting for results: by thousands at once, and while the backend is away."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from drivetrain import ResultTimeout, ServiceUnavailable, UnknownResult, group
from drivetrain.app import result as results
from support.faults import Changed, rewire
from support.waiting import DEADLINE_SECONDS, happened, until


def waiting_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("drivetrain-wait")]


def forgotten(app):
    """Whether the waiter waits for nothing."""
    waiter = app._services.waiter
    return not any(not one.ended.done() for one in [*waiter._recent, *waiter._older])


def test_a_quick_result_is_seen_while_ten_thousand_others_are_awaited(app):
    before = waiting_threads()

    async def main():
        slow = await app.send_many_async(app.signature("value", n).set(delay=3600) for n in range(10_000))
        pending = [asyncio.ensure_future(one.get_async()) for one in slow]
        for n in range(3):
            quick = await app.send_async(app.signature("value", n))
            assert await asyncio.wait_for(quick.get_async(), DEADLINE_SECONDS) == n
        assert len(set(waiting_threads()) - set(before)) <= 2
        assert not any(one.done() for one in pending)
        for one in pending:
            one.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    with app.worker():
        asyncio.run(main())
    until(lambda: forgotten(app), "what is awaited no more is not waited for")


def test_all_of_many_awaited_results_come(app):
    async def main():
        handles = await app.send_many_async(app.signature("value", n) for n in range(2_000))
        return await asyncio.wait_for(asyncio.gather(*handles), DEADLINE_SECONDS)

    with app.worker():
        assert asyncio.run(main()) == list(range(2_000))


def test_a_long_awaited_task_is_noticed_when_it_ends(app):
    """Also when it is awaited several times, and when others are not awaited any more."""

    async def main():
        handle = await app.send_async(app.signature("value", 1).set(task_id="slow"))
        waits = [asyncio.ensure_future(handle.get_async()) for _ in range(4)]
        await asyncio.to_thread(until, lambda: len(app._services.waiter._older) == 4, "they wait in long turns")
        waits.pop().cancel()
        app.worker().drain()
        return await asyncio.wait_for(asyncio.gather(*waits), DEADLINE_SECONDS)

    assert asyncio.run(main()) == [1, 1, 1]


def test_more_threads_than_wait_by_themselves(app):
    """What is waited for by many threads is waited for together."""
    slow = app.send_many(app.signature("value", n).set(delay=3600) for n in range(40))
    with ThreadPoolExecutor(50) as threads:
        pending = [threads.submit(one.get) for one in slow]
        until(lambda: len(app._services.waiter._older) >= 30, "they wait")
        with app.worker():
            assert app.send(app.signature("value", 1)).get(timeout=DEADLINE_SECONDS) == 1
        assert not any(one.done() for one in pending)
        app.cancel(*(one.id for one in slow))
        assert all(one.exception(DEADLINE_SECONDS) is not None for one in pending)


@pytest.mark.parametrize("seconds", [0, 0.01, 0.5])
def test_an_await_ends_when_its_time_is_out(app, seconds):
    handle = app.send(app.signature("value", 1))

    async def main():
        await handle.get_async(timeout=seconds)

    with pytest.raises(ResultTimeout):
        asyncio.run(main())


def test_awaiting_an_unknown_task(app):
    async def main():
        await app.result("nobody")

    with pytest.raises(UnknownResult):
        asyncio.run(main())


def test_an_unexpected_error_is_raised_where_the_result_is_awaited(app):
    class Broken(Changed):
        def wait(self, task_ids, *, timeout_seconds):
            raise LookupError("odd")

    async def main():
        await app.result("some")

    rewire(app, backend=Broken(app.runtime.backend))
    for _ in range(2):
        with pytest.raises(LookupError, match="odd"):
            asyncio.run(main())


def test_threads_that_wait_end_when_there_is_nothing_to_wait_for(app, monkeypatch):
    monkeypatch.setattr("drivetrain.app.waiter._LINGER_SECONDS", 0.01)
    handle = app.send(app.signature("value", 1))

    async def main():
        return await handle

    for _ in range(2):
        app.worker().drain()
        assert asyncio.run(main()) == 1
        until(lambda: not waiting_threads(), "they end")


# While the backend is away


class Leaving(Changed):
    """A backend that goes away and comes back. Writing is left out: the tests here are about who waits."""

    def __init__(self, backend):
        super().__init__(backend)
        self.away = threading.Event()
        #: Released for every call that was made in vain.
        self.in_vain = threading.Semaphore(0)

    def __getattr__(self, name):
        found = getattr(self._driver, name)
        if name not in {"wait", "read", "read_groups", "read_members"}:
            return found

        def call(*args, **options):
            if self.away.is_set():
                self.in_vain.release()
                raise ServiceUnavailable("it is away")
            return found(*args, **options)

        return call


def _await(handle):
    async def main():
        return await handle

    return asyncio.run(main())


def _as_completed(handle):
    return [one.get() for one in handle.as_completed()]


def _wait(handle):
    return handle.wait() and handle.get()


def _progress(handle):
    seen = []
    value = handle.get(progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (1, 1)
    return value


WAYS = {"get": lambda handle: handle.get(), "wait": _wait, "await": _await}
GROUP_WAYS = {**WAYS, "as_completed": _as_completed, "progress": _progress}


@pytest.fixture
def leaving(make_app, url):
    """An app whose backend goes away, and which does not try again when it sends."""
    app = make_app(url, send_seconds=0.0, poll_seconds=0.02)
    rewire(app, backend=Leaving(app.runtime.backend))
    return app


@pytest.mark.parametrize("way", GROUP_WAYS)
def test_a_waiter_keeps_waiting_while_the_backend_is_unavailable(leaving, way):
    app, backend = leaving, leaving.runtime.backend
    handle = app.send(group(app.signature("value", 1)))
    backend.away.set()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(GROUP_WAYS[way], handle)
        for _ in range(20):
            assert backend.in_vain.acquire(timeout=DEADLINE_SECONDS), "it does not ask again"
        assert not waiting.done()
        backend.away.clear()
        app.worker().drain()
        assert waiting.result(DEADLINE_SECONDS) == [1]


@pytest.mark.parametrize("way", WAYS)
def test_a_reader_retries_while_the_backend_is_unavailable(leaving, way):
    """The backend goes away between the end of the task and the reading of its result."""
    app, backend = leaving, leaving.runtime.backend
    handle = app.send(group(app.signature("value", 1)))
    app.worker().drain()
    wait = backend._driver.wait

    def wait_and_leave(*args, **options):
        ended = wait(*args, **options)
        backend.away.set()
        return ended

    backend.wait = wait_and_leave
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(WAYS[way], handle)
        for _ in range(3):
            assert backend.in_vain.acquire(timeout=DEADLINE_SECONDS), "it does not ask again"
        del backend.wait
        backend.away.clear()
        assert waiting.result(DEADLINE_SECONDS) == [1]


@pytest.mark.parametrize("way", ["get", "await", "progress"])
def test_a_time_limit_holds_while_the_backend_is_unavailable(leaving, way):
    app = leaving
    handle = app.send(group(app.signature("value", 1)))
    app.runtime.backend.away.set()

    async def main():
        await handle.get_async(timeout=0.3)

    ways = {
        "get": lambda: handle.get(timeout=0.3),
        "await": lambda: asyncio.run(main()),
        "progress": lambda: handle.get(timeout=0.3, progress=lambda *_: None),
    }
    with pytest.raises(ServiceUnavailable):
        ways[way]()


def test_a_task_that_waits_without_a_limit_keeps_waiting_while_the_backend_is_unavailable(leaving, monkeypatch):
    monkeypatch.setattr(results, "_QUIET_SECONDS", 0.05)
    app, backend = leaving, leaving.runtime.backend
    waits = threading.Event()
    other = app.send(app.signature("value", 1).set(queue="other"))

    @app.task(name="waits")
    def wait() -> int:
        backend.away.set()
        waits.set()
        return other.get()

    with app.worker():
        handle = app.send(app.signature("waits"))
        happened(waits, "it waits")
        for _ in range(20):
            assert backend.in_vain.acquire(timeout=DEADLINE_SECONDS), "it does not ask again"
        backend.away.clear()
        app.worker(queues=["other"]).drain()
        assert handle.get(timeout=DEADLINE_SECONDS) == 1


@pytest.mark.parametrize("ask", ["state", "record", "done", "send_async"])
def test_a_single_read_is_retried_for_the_time_limit_of_sending(make_app, url, ask):
    app = make_app(url, send_seconds=DEADLINE_SECONDS)
    handle = app.send(group(app.signature("value", 1)))
    backend = Leaving(app.runtime.backend)
    rewire(app, backend=backend)
    again = app.signature("value", 1).set(task_id="own")  # which is looked up before it is sent
    ways = {"send_async": lambda: asyncio.run(app.send_async(again))}
    backend.away.set()
    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(ways.get(ask) or getattr(handle, ask))
        for _ in range(3):
            assert backend.in_vain.acquire(timeout=DEADLINE_SECONDS), "it does not ask again"
        backend.away.clear()
        assert asking.exception(DEADLINE_SECONDS) is None


def test_progress_and_result_take_no_longer_than_the_limit_together(memory_app, monkeypatch):
    """The time that was spent on showing progress counts."""
    app = memory_app
    handle = app.send(group(app.signature("value", 1)))
    limits = []
    waiter = app._services.waiter
    wait = waiter.wait
    monkeypatch.setattr(waiter, "wait", lambda task_id, limit: limits.append(limit) or wait(task_id, limit))
    with pytest.raises(ResultTimeout):
        handle.get(timeout=0.3, progress=lambda *_: None)
    assert limits[-1] == pytest.approx(0.0)


def test_a_task_that_a_cancelled_await_waited_for_is_still_run(app):
    handle = app.send(app.signature("value", 1))

    async def main():
        waiting = asyncio.ensure_future(handle.get_async())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        app.worker().drain()
        return await handle

    assert asyncio.run(main()) == 1
