"""Shared calls: one call for many callers, of whom none harms another. Broken ones show that the checks can fail."""

import asyncio
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from drivetrain.worker import shared_call
from drivetrain.worker.shared_call import SharedCall

DEADLINE_SECONDS = 60.0


class Service:
    """Answers each entry with its double. A call whose first entry is in ``gates`` waits for that gate."""

    def __init__(self):
        self.calls = []
        self.threads = []
        self.gates = {}
        #: Set when the call of a gate waits for it.
        self.arrived = threading.Event()
        #: Entries that no call takes.
        self.poison = set()

    def __call__(self, entries):
        self.calls.append(list(entries))
        self.threads.append(threading.current_thread())
        gate = self.gates.get(entries[0])
        if gate is not None:
            self.arrived.set()
            assert gate.wait(DEADLINE_SECONDS)
        bad = [entry for entry in entries if entry in self.poison]
        if bad:
            raise ValueError(f"poison: {bad}")
        return [2 * entry for entry in entries]


@pytest.fixture
def threads():
    with ThreadPoolExecutor(20) as pool:
        yield pool


@pytest.fixture
def service(threads):
    made = Service()
    yield made
    for gate in made.gates.values():  # before the threads are waited for
        gate.set()


@pytest.fixture
def loop():
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture
def patient(monkeypatch):
    """Callers wait for the call that is under way, however long it takes."""
    monkeypatch.setattr(shared_call, "_PATIENCE_SECONDS", DEADLINE_SECONDS)


def waiting(shared, number, seconds=DEADLINE_SECONDS):
    """Wait until so many callers wait for the next call."""
    pause, rest = threading.Event(), seconds
    while len(shared._waiting) < number:
        pause.wait(0.002)
        rest -= 0.002
        assert rest > 0, "callers do not wait"


async def awaited(shared, entries):
    """As a caller does that is a coroutine."""
    return await shared.submit(entries, asyncio.get_running_loop())


def occupied(kind, service, threads):
    """A shared call that is under way, and waits at the gate of entry 0."""
    shared = kind(service, lambda _: 1)
    service.gates[0] = threading.Event()
    first = threads.submit(lambda: asyncio.run(awaited(shared, [0])))
    assert service.arrived.wait(DEADLINE_SECONDS)
    return shared, first


def directly_occupied(kind, service, threads):
    """As many threads call by themselves as may, and wait at the gates of entries 0 and 100."""
    shared, both = kind(service, lambda _: 1), []
    for entry in (0, 100):
        service.gates[entry] = threading.Event()
        service.arrived.clear()
        both.append(threads.submit(shared, [entry]))
        assert service.arrived.wait(DEADLINE_SECONDS)
    return shared, both


def of(future, seconds):
    return future.result(seconds)


# What must hold. Each check takes the class, so that broken classes can be shown to fail it.


def check_that_waiting_entries_go_out_together(kind, service, threads, seconds):
    shared, first = occupied(kind, service, threads)
    others = []
    for number in range(1, 6):
        others.append(threads.submit(shared, [number, 10 * number]))
        waiting(shared, number, seconds)
    service.gates[0].set()
    assert [of(one, seconds) for one in (first, *others)] == [[0], *([2 * n, 20 * n] for n in range(1, 6))]
    assert service.calls == [[0], [1, 10, 2, 20, 3, 30, 4, 40, 5, 50]]


def check_that_an_error_reaches_only_its_caller(kind, service, threads, seconds):
    shared, first = occupied(kind, service, threads)
    service.poison = {2}
    others = [threads.submit(shared, [number]) for number in range(1, 4)]
    waiting(shared, 3)
    service.gates[0].set()
    assert of(first, seconds) == [0]
    assert of(others[0], seconds) == [2]
    assert of(others[2], seconds) == [6]
    with pytest.raises(ValueError, match=r"poison: \[2\]"):
        of(others[1], seconds)


def check_that_those_who_call_by_themselves_hold_nobody_up(kind, service, threads, seconds):
    shared, both = directly_occupied(kind, service, threads)
    assert of(threads.submit(shared, [1]), seconds) == [2]
    assert not any(one.done() for one in both)
    service.poison = {0, 100}
    for entry, caller in zip((0, 100), both, strict=True):
        service.gates[entry].set()
        with pytest.raises(ValueError, match="poison"):
            of(caller, seconds)
    assert shared([3]) == [6]


def check_that_a_cancelled_coroutine_takes_nobody_with_it(kind, service, threads, seconds):
    shared, first = occupied(kind, service, threads)

    async def main():
        callers = [asyncio.ensure_future(awaited(shared, [number])) for number in range(1, 6)]
        await asyncio.to_thread(waiting, shared, 5)
        callers[2].cancel()
        await asyncio.wait([callers[2]])
        service.gates[0].set()
        return await asyncio.wait_for(asyncio.gather(*callers, return_exceptions=True), seconds)

    answers = asyncio.run(main())
    assert isinstance(answers[2], asyncio.CancelledError)
    assert answers[:2] + answers[3:] == [[2], [4], [8], [10]]
    assert of(first, seconds) == [0]
    assert service.calls == [[0], [1, 2, 4, 5]]


def check_that_a_slow_service_does_not_hold_threads_up(kind, service, threads, seconds):
    shared, first = occupied(kind, service, threads)
    assert of(threads.submit(shared, [1]), seconds) == [2]
    assert not first.done()


def check_that_a_slow_service_does_not_hold_coroutines_up(kind, service, threads, seconds):
    shared, first = occupied(kind, service, threads)

    async def main():
        return await asyncio.wait_for(asyncio.gather(*(awaited(shared, [number]) for number in (1, 2))), seconds)

    assert asyncio.run(main()) == [[2], [4]]
    assert not first.done()


def check_that_a_closed_event_loop_harms_nobody(kind, service, threads, seconds):
    shared, first = occupied(kind, service, threads)
    closed = asyncio.new_event_loop()
    shared.submit([1], closed)
    closed.close()
    other = threads.submit(shared, [2])
    waiting(shared, 2)
    service.gates[0].set()
    assert of(other, seconds) == [4]
    assert of(first, seconds) == [0]


CHECKS = {name.removeprefix("check_that_"): check for name, check in globals().items() if name.startswith("check_")}
_HURRIED = {"a_slow_service_does_not_hold_threads_up", "a_slow_service_does_not_hold_coroutines_up"}


@pytest.mark.parametrize("name", CHECKS)
def test_callers_share_calls_and_harm_nobody(name, service, threads, request):
    if name not in _HURRIED:
        request.getfixturevalue("patient")
    CHECKS[name](SharedCall, service, threads, DEADLINE_SECONDS)


# Broken ones, each with the check that it fails


class _Broken(SharedCall):
    made = []

    def __init__(self, call, size):
        super().__init__(call, size)
        self.made.append(self)

    def finish(self):
        """Let all callers return."""
        SharedCall._hurry(self)


class Alone(_Broken):
    """Every caller calls by itself, whatever is under way."""

    def _enter(self, part):
        part.end()


class Mixed(_Broken):
    """Callers get answers of each other."""

    def __init__(self, call, size):
        super().__init__(lambda entries: list(reversed(call(entries))), size)


class Common(_Broken):
    """An error reaches all callers."""

    def __init__(self, call, size):
        errors = []

        def fail_once_failed(entries):
            try:
                answers = call(entries)
            except ValueError as error:
                errors.append(error)
            if errors:
                raise errors[0]
            return answers

        super().__init__(fail_once_failed, size)


class Clearing(_Broken):
    """A cancelled caller takes all others with it."""

    def _take(self):
        if not all(part.is_wanted for part in self._waiting):
            self._waiting.clear()
        return super()._take()


class Endless(_Broken):
    """Callers wait for the call that is under way, however long it takes."""

    def _withdraw(self, part):
        return False

    def _hurry(self):
        pass


BROKEN = [
    (Alone, "waiting_entries_go_out_together"),
    (Mixed, "waiting_entries_go_out_together"),
    (Common, "an_error_reaches_only_its_caller"),
    (Clearing, "a_cancelled_coroutine_takes_nobody_with_it"),
    (Endless, "a_slow_service_does_not_hold_threads_up"),
    (Endless, "a_slow_service_does_not_hold_coroutines_up"),
]


@pytest.mark.parametrize(("kind", "name"), BROKEN)
def test_a_broken_shared_call_fails_a_check(kind, name, service, threads, request, monkeypatch):
    if name not in _HURRIED:
        monkeypatch.setattr(shared_call, "_PATIENCE_SECONDS", 5.0)  # longer than the check, which has to fail, waits
        monkeypatch.setattr(sys.modules[__name__], "DEADLINE_SECONDS", 2.0)
    try:
        with pytest.raises((AssertionError, TimeoutError, ValueError, RuntimeError)):
            CHECKS[name](kind, service, threads, 0.5)
    finally:
        for gate in service.gates.values():
            gate.set()
        while kind.made:
            kind.made.pop().finish()


# More of what must hold


def test_a_lone_call_is_made_by_its_caller_and_starts_no_thread(service):
    shared = SharedCall(service, lambda _: 1)
    assert [shared([n]) for n in range(3)] == [[0], [2], [4]]
    assert set(service.threads) == {threading.current_thread()}


@pytest.mark.usefixtures("patient")
def test_what_is_large_or_much_is_not_shared(service, threads, loop):
    shared, first = occupied(lambda call, _: SharedCall(call, lambda entry: 40_000 * entry), service, threads)
    assert shared([1, 1]) == [2, 2]
    assert shared([1] * 101) == [2] * 101
    assert shared.submit([2], loop) is None
    assert not first.done()


@pytest.mark.usefixtures("patient")
def test_a_batch_has_a_largest_size(service, threads, monkeypatch):
    monkeypatch.setattr(shared_call, "_LARGEST_BATCH", 5)
    shared, first = occupied(SharedCall, service, threads)
    others = []
    for number in range(1, 5):
        others.append(threads.submit(shared, [number] * 2))
        waiting(shared, number)
    service.gates[0].set()
    assert [one.result(DEADLINE_SECONDS) for one in others] == [[2 * n] * 2 for n in range(1, 5)]
    assert service.calls == [[0], [1, 1, 2, 2], [3, 3, 4, 4]]
    assert first.result(DEADLINE_SECONDS) == [0]


@pytest.mark.usefixtures("patient")
def test_an_interrupted_caller_ends_only_its_own_call(service, threads):
    """As by Ctrl-C, in the main thread, while it waits for the call of another thread."""
    shared, first = occupied(SharedCall, service, threads)
    main, before = threading.get_ident(), signal.signal(signal.SIGUSR1, _interrupt)

    def interrupt_when_it_waits():
        waiting(shared, 2)
        signal.pthread_kill(main, signal.SIGUSR1)

    try:
        other = threads.submit(shared, [1])
        waiting(shared, 1)
        threads.submit(interrupt_when_it_waits)
        with pytest.raises(KeyboardInterrupt):
            shared([2])
    finally:
        signal.signal(signal.SIGUSR1, before)
    service.gates[0].set()
    assert other.result(DEADLINE_SECONDS) == [2]
    assert first.result(DEADLINE_SECONDS) == [0]
    assert service.calls == [[0], [1]]


def _interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.usefixtures("patient")
def test_where_no_thread_can_be_started_each_caller_calls_by_itself(service, threads, monkeypatch):
    shared, _ = directly_occupied(SharedCall, service, threads)

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert shared([1]) == [2]
    assert asyncio.run(awaited(shared, [3])) is None


def test_threads_end_when_there_is_nothing_to_share(service, monkeypatch):
    monkeypatch.setattr(shared_call, "_LINGER_SECONDS", 0.01)
    shared = SharedCall(service, lambda _: 1)
    for number in range(2):
        assert asyncio.run(awaited(shared, [number])) == [2 * number]
        (thread,) = set(service.threads[number:])
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()


def test_many_threads_and_coroutines_get_their_own_answers(service, threads):
    shared = SharedCall(service, lambda _: 1)

    def send(first):
        return all(shared([n, n + 1]) == [2 * n, 2 * n + 2] for n in range(first, first + 300))

    async def main():
        answers = await asyncio.gather(*(awaited(shared, [n]) for n in range(1_000)))
        assert answers == [[2 * n] for n in range(1_000)]

    running = [threads.submit(send, 10_000 * n) for n in range(8)]
    for _ in range(3):
        asyncio.run(main())
    assert all(one.result(DEADLINE_SECONDS) for one in running)
    assert sum(map(len, service.calls)) == 8 * 600 + 3_000
