"""Core waits for a change of values: by the backend where it notifies, by polling elsewhere; and locks that wait."""

import threading
from itertools import pairwise

import pytest

from drivetrain.app.locks import Lock, LockHeld
from drivetrain.contract import DriverContext, SystemClock, ValueWrite, evolve
from drivetrain.drivers.memory.backend import MemoryBackend
from drivetrain.drivers.null import make_backend as make_null
from drivetrain.testing import VirtualClock
from drivetrain.worker.value_waiting import wait_for_values


class Backend(MemoryBackend):
    """Records how long it waits, and how often it is read."""

    def __init__(self, clock):
        super().__init__("", clock)
        self.waits = []
        self.reads = []

    def wait_values(self, seen, *, prefix=None, timeout_seconds):
        self.waits.append(timeout_seconds)
        return super().wait_values(seen, prefix=prefix, timeout_seconds=timeout_seconds)

    def read_values(self, keys):
        self.reads.append(self._clock.monotonic())
        return super().read_values(keys)


class Polled(Backend):
    """Does not notify."""

    capabilities = evolve(MemoryBackend.capabilities, notifies=False)

    def wait_values(self, seen, *, prefix=None, timeout_seconds):
        pytest.fail("core waits with a backend that does not notify")


@pytest.fixture
def clock():
    return VirtualClock()


def put(backend, key="k", seconds=None):
    (outcome,) = backend.write_values([ValueWrite(key=key, value=b"v", expires_in_seconds=seconds)])
    return outcome.current.version


@pytest.mark.parametrize("kind", [Backend, Polled])
def test_what_has_changed_is_returned_at_once(kind, clock):
    backend = kind(clock)
    put(backend)
    assert wait_for_values(backend, clock, {"k": 0}, timeout_seconds=60.0) == ["k"]
    assert wait_for_values(backend, clock, {}, prefix="k", timeout_seconds=60.0) == ["k"]
    assert wait_for_values(backend, clock, {"k": 0}, timeout_seconds=0.0) == ["k"]
    assert clock.monotonic() == 0.0


@pytest.mark.parametrize("kind", [Backend, Polled])
def test_an_expiry_ends_a_wait(kind, clock):
    backend = kind(clock)
    assert wait_for_values(backend, clock, {"k": put(backend, seconds=5.0)}, timeout_seconds=60.0) == ["k"]
    assert 5.0 <= clock.monotonic() <= 5.5


@pytest.mark.parametrize("kind", [Backend, Polled])
def test_a_wait_ends_when_its_time_is_over(kind, clock):
    assert not wait_for_values(kind(clock), clock, {"k": 0}, timeout_seconds=5.0)
    assert clock.monotonic() == pytest.approx(5.0)
    assert not wait_for_values(kind(clock), clock, {}, timeout_seconds=5.0)
    assert clock.monotonic() == pytest.approx(5.0), "it waits for nothing"


def test_a_backend_that_notifies_waits_itself_and_not_too_long_at_once(clock):
    """So that the wait may be ended by its event."""
    backend = Backend(clock)
    wait_for_values(backend, clock, {"k": 0}, timeout_seconds=5.0)
    assert backend.waits == pytest.approx([2.0, 2.0, 1.0])


def test_polls_become_rarer(clock):
    backend = Polled(clock)
    wait_for_values(backend, clock, {"k": 0}, timeout_seconds=60.0, poll_seconds=2.0)
    pauses = [later - earlier for earlier, later in pairwise(backend.reads)]
    assert pauses[0] == pytest.approx(0.01)
    assert all(earlier <= later + 1e-6 for earlier, later in pairwise(pauses[:-1]))
    assert max(pauses) == pytest.approx(2.0)


def test_the_event_ends_a_wait():
    clock, end = SystemClock(), threading.Event()
    for backend in (Backend(clock), Polled(clock)):
        waiting = threading.Thread(
            target=wait_for_values, args=(backend, clock, {"k": 0}), kwargs={"timeout_seconds": 600.0, "end": end}
        )
        waiting.start()
        end.set()
        waiting.join(60.0)
        assert not waiting.is_alive()
        end.clear()


def test_a_backend_that_stores_nothing_never_changes(clock):
    backend = make_null("null://", DriverContext())
    assert not wait_for_values(backend, clock, {"k": 0}, prefix="p", timeout_seconds=5.0)
    assert clock.monotonic() == pytest.approx(5.0)


# Locks


def lock(backend, clock, wait_seconds=0.0, seconds=10.0):
    return Lock(lambda: backend, clock, "l", seconds=seconds, wait_seconds=wait_seconds)


@pytest.mark.parametrize("kind", [Backend, Polled])
def test_a_waiting_caller_gets_the_lock_when_it_expires(kind, clock):
    backend = kind(clock)
    holder, waiter = lock(backend, clock), lock(backend, clock)
    assert holder.acquire()
    assert not waiter.acquire()
    assert not waiter.acquire(wait_seconds=4.0)
    assert clock.monotonic() == pytest.approx(4.0)
    assert waiter.acquire(wait_seconds=60.0)
    assert 10.0 <= clock.monotonic() <= 11.0
    assert waiter.token > 0
    assert not holder.renew()


@pytest.mark.parametrize("kind", [Backend, Polled])
def test_a_waiting_caller_gets_the_lock_when_it_is_released(kind):
    backend = kind(SystemClock())
    holder = lock(backend, SystemClock(), seconds=3600.0)
    assert holder.acquire()
    taken = []
    waiting = threading.Thread(target=lambda: taken.append(lock(backend, SystemClock()).acquire(wait_seconds=None)))
    waiting.start()
    assert holder.renew(), "a renewal wakes the caller, which waits on"
    assert holder.release()
    waiting.join(60.0)
    assert taken == [True]


def test_with_waits_for_the_lock(clock):
    backend = Backend(clock)
    with lock(backend, clock), pytest.raises(LockHeld, match=r"held by another owner; try again later"):
        lock(backend, clock).__enter__()
    with lock(backend, clock), pytest.raises(LockHeld, match=r"another owner, after 2 s of waiting"):
        lock(backend, clock, wait_seconds=2.0).__enter__()
    holder = lock(backend, clock)
    assert holder.acquire()
    with lock(backend, clock, wait_seconds=60.0) as waiter:
        assert waiter.token is not None
