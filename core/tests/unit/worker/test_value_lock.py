"""Locks on versioned values, when replies are lost. The contract suite checks all else, on every driver."""

import pytest

from drivetrain.contract import DriverContext, ServiceUnavailable, ValueWrite
from drivetrain.drivers.memory import make_backend
from drivetrain.testing import VirtualClock
from drivetrain.worker.value_lock import ValueLock

SECONDS = 10.0


class Unreliable:
    """A backend that makes the next write and loses its reply, or loses the next write itself."""

    def __init__(self, clock):
        self._backend = make_backend("memory://", DriverContext(clock=clock))
        self.read_values = self._backend.read_values
        self.loses_reply = self.loses_write = False
        self.writes = 0

    def write_values(self, writes):
        self.writes += 1
        if self.loses_write:
            self.loses_write = False
            raise ServiceUnavailable("the write was lost")
        outcomes = self._backend.write_values(writes)
        if self.loses_reply:
            self.loses_reply = False
            raise ServiceUnavailable("the reply was lost")
        return outcomes


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def backend(clock):
    return Unreliable(clock)


@pytest.fixture
def make(backend):
    return lambda: ValueLock(lambda: backend, "l", seconds=SECONDS)


def value(backend):
    (found,) = backend.read_values(["locks/l"])
    return found


def lose_reply_of(backend, call):
    backend.loses_reply = True
    with pytest.raises(ServiceUnavailable, match="the reply was lost"):
        call()


def test_a_lock_whose_reply_was_lost_is_held_by_the_next_try(backend, make, clock):
    lock, other = make(), make()
    lose_reply_of(backend, lock.acquire)
    assert lock.token is None
    token = value(backend).version
    assert not other.acquire()
    clock.turn(SECONDS - 1)
    assert lock.acquire()
    assert lock.token == token
    clock.turn(SECONDS - 1)  # it lasts for its full time from the second try
    assert not other.acquire()
    assert lock.renew()


def test_an_expired_lock_whose_reply_was_lost_is_acquired_again(backend, make, clock):
    lock = make()
    lose_reply_of(backend, lock.acquire)
    token = value(backend).version
    clock.turn(SECONDS)
    assert lock.acquire()
    assert lock.token > token


def test_a_lock_whose_reply_was_lost_is_not_taken_from_a_later_owner(backend, make, clock):
    lock, other = make(), make()
    lose_reply_of(backend, lock.acquire)
    clock.turn(SECONDS)
    assert other.acquire()
    assert not lock.acquire()
    assert lock.token is None


def test_a_renewal_whose_reply_was_lost_does_not_lose_the_lock(backend, make, clock):
    lock, other = make(), make()
    lock.acquire()
    token = lock.token
    for _ in range(3):
        clock.turn(SECONDS - 1)
        lose_reply_of(backend, lock.renew)
        assert lock.token == token
        assert lock.renew()
        assert lock.token == token
        assert not other.acquire()
    assert lock.release()
    assert other.acquire()
    assert other.token > token


def test_a_renewal_that_was_lost_on_its_way_is_repeated(backend, make, clock):
    lock = make()
    lock.acquire()
    clock.turn(SECONDS - 1)
    backend.loses_write = True
    with pytest.raises(ServiceUnavailable, match="the write was lost"):
        lock.renew()
    assert lock.renew()
    clock.turn(SECONDS - 1)
    assert lock.renew()


def test_a_lock_is_released_after_a_renewal_whose_reply_was_lost(backend, make):
    lock = make()
    lock.acquire()
    lose_reply_of(backend, lock.renew)
    assert lock.release()
    assert value(backend) is None


def test_a_lock_that_has_ended_is_not_held_any_more(backend, make, clock):
    lock = make()
    lock.acquire()
    token = lock.token
    clock.turn(SECONDS)
    assert not lock.renew()
    assert lock.token is None
    assert lock.acquire()
    assert lock.token > token


def test_a_holder_that_takes_its_lock_again_holds_it_for_its_full_time(make, clock):
    lock, other = make(), make()
    lock.acquire()
    token = lock.token
    clock.turn(SECONDS - 1)
    assert lock.acquire()
    assert lock.token == token
    clock.turn(SECONDS - 1)
    assert not other.acquire()


def test_a_former_holder_that_takes_its_lock_again_has_another_token(make, clock):
    lock = make()
    lock.acquire()
    token = lock.token
    clock.turn(SECONDS)
    assert lock.acquire()
    assert lock.token > token


def test_a_release_whose_reply_was_lost_leaves_no_lock(backend, make):
    lock, other = make(), make()
    lock.acquire()
    lose_reply_of(backend, lock.release)
    assert lock.token is None
    assert other.acquire()


def test_a_lock_that_could_not_be_released_is_held_again_by_its_owner(backend, make):
    lock = make()
    lock.acquire()
    token = lock.token
    lock.renew()
    backend.loses_write = True
    with pytest.raises(ServiceUnavailable, match="the write was lost"):
        lock.release()
    assert lock.acquire()
    assert lock.token >= token
    assert lock.release()


def test_a_forked_child_is_another_owner(backend, make):
    lock = make()
    lock.acquire()
    held = value(backend)
    lock.disown()
    assert not lock.renew()
    assert not lock.release()
    assert not lock.acquire()
    assert value(backend) == held


def test_a_value_of_another_owner_is_not_a_lock_of_this_owner(backend, make):
    lock = make()
    lock.acquire()
    backend.write_values([ValueWrite(key="locks/l", value=b"another owner")])
    assert not lock.renew()
    assert not lock.release()
    assert value(backend).value == b"another owner"


def test_each_call_is_one_write(backend, make):
    lock, other = make(), make()
    calls = [lock.acquire, other.acquire, lock.renew, lock.acquire, lock.release, lock.release, lock.renew]
    counts = []
    for call in calls:
        before = backend.writes
        call()
        counts.append(backend.writes - before)
    assert counts == [1, 1, 1, 1, 1, 0, 0]
