"""`changed_values` and `wait_for_values`: what has changed, and when a wait looks again."""

import math

import pytest

from drivetrain.contract import (
    DriverContext,
    ServiceUnavailable,
    ValuePage,
    ValueWrite,
    WaitLoop,
    changed_values,
    wait_for_values,
)
from drivetrain.drivers.memory import make_backend
from drivetrain.testing import VirtualClock


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def values(clock):
    return make_backend("memory://", DriverContext(clock=clock))


def put(values, key, seconds=None):
    (outcome,) = values.write_values([ValueWrite(key=key, value=b"v", expires_in_seconds=seconds)])
    return outcome.current.version


def changes(values, seen, prefix=None):
    return sorted(changed_values(values, seen, prefix).keys)


def test_a_key_has_changed_if_its_version_is_another_one(values):
    seen = {"same": put(values, "same"), "written": put(values, "written") - 1, "gone": 7, "never": 0}
    assert changes(values, {**seen, "new": 0}) == ["gone", "written"]
    put(values, "new")
    assert changes(values, {**seen, "new": 0}) == ["gone", "new", "written"]


def test_a_key_below_the_prefix_was_not_stored_unless_it_was_seen(values):
    seen = {"p/a": put(values, "p/a"), "p/gone": 9, "q": put(values, "q")}
    assert changes(values, seen, "p/") == ["p/gone"]
    put(values, "p/b")
    assert changes(values, seen, "p/") == ["p/b"]
    assert changes(values, {}, "") == ["p/a", "p/b", "q"]
    assert changes(values, {}) == []


def test_all_pages_of_a_prefix_are_read(values, monkeypatch):
    monkeypatch.setattr("drivetrain.contract.kit.versioned_values._PAGE", 2)
    seen = {f"p/{number}": put(values, f"p/{number}") for number in range(7)}
    assert changes(values, seen, "p/") == []
    put(values, "p/6")
    assert changes(values, seen, "p/") == ["p/6"]


def test_a_value_that_its_list_has_lost_is_read(values):
    """As a cache may lose it."""

    class Forgetful:
        read_values = values.read_values

        def list_values(self, prefix, *, limit, cursor=None):
            return ValuePage()

    assert changes(Forgetful(), {"p/a": put(values, "p/a")}, "p/") == []


def test_the_first_expiry_is_known(values, clock):
    seen = {"p/a": put(values, "p/a", 9.0), "p/b": put(values, "p/b", 5.0), "k": put(values, "k", 7.0)}
    assert changed_values(values, seen, "p/").ends_in_seconds == pytest.approx(5.0)
    assert changed_values(values, {"k": seen["k"]}, None).ends_in_seconds == pytest.approx(7.0)
    assert changed_values(values, {"other": 0}, None).ends_in_seconds == math.inf


class Driver:
    """A driver that is woken by `wake`, a list of functions: one for each pause."""

    def __init__(self, values, clock, *wake):
        self.values, self.clock, self.wake = values, clock, list(wake)
        self.loop = WaitLoop(clock)
        self.pauses = []
        self.looks = 0

    def listen(self):
        self.looks += 1

    def pause(self, seconds):
        self.pauses.append(seconds)
        if self.wake:
            self.wake.pop(0)()
        else:
            self.clock.turn(seconds)

    def wait(self, seen, prefix=None, *, seconds):
        return wait_for_values(
            self.loop, self.values, self.pause, seen, prefix, timeout_seconds=seconds, before_look=self.listen
        )


def test_a_wait_looks_after_each_pause(values, clock):
    driver = Driver(values, clock, lambda: put(values, "other"), lambda: put(values, "k"))
    assert driver.wait({"k": 0}, seconds=60.0) == ["k"]
    assert driver.looks == 3
    assert driver.pauses == [60.0, 60.0]


def test_a_wait_ends_a_pause_when_a_value_expires(values, clock):
    driver = Driver(values, clock)
    assert driver.wait({"k": put(values, "k", 5.0)}, seconds=60.0) == ["k"]
    assert driver.pauses == [pytest.approx(5.0)]


def test_a_wait_does_not_look_without_a_pause_while_an_expired_value_is_still_visible(values, clock):
    driver = Driver(values, clock)
    seen = {"k": put(values, "k", 0.001)}
    assert driver.wait(seen, seconds=60.0) == ["k"]
    assert driver.pauses == [0.01]


def test_a_wait_without_time_looks_once(values, clock):
    driver = Driver(values, clock)
    assert driver.wait({"k": 0}, seconds=0.0) == []
    assert (driver.looks, driver.pauses) == (1, [])


def test_a_wait_for_nothing_does_not_look(values, clock):
    driver = Driver(values, clock)
    assert driver.wait({}, seconds=60.0) == []
    assert driver.looks == 0


def test_an_error_of_a_look_is_raised(clock):
    class Away:
        def read_values(self, keys):
            raise ServiceUnavailable("away")

    with pytest.raises(ServiceUnavailable):
        Driver(Away(), clock).wait({"k": 0}, seconds=1.0)
