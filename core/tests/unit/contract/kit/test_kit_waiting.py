"""`drivetrain.contract.WaitLoop`: attempts, pauses, time-outs and closing."""

import pytest

from drivetrain.contract import WaitLoop
from drivetrain.testing import VirtualClock


@pytest.fixture
def clock():
    return VirtualClock()


def test_what_is_there_is_returned_without_a_pause(clock):
    assert WaitLoop(clock).run(lambda: ["found"], pytest.fail, timeout_seconds=1) == ["found"]


def test_one_attempt_is_made_without_time_to_wait(clock):
    attempts = []
    assert WaitLoop(clock).run(lambda: attempts.append(1), pytest.fail, timeout_seconds=0) is None
    assert WaitLoop(clock).run(lambda: attempts.append(1), pytest.fail, timeout_seconds=-1) is None
    assert attempts == [1, 1]


def test_attempts_are_made_until_the_time_is_over(clock):
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        clock.turn(0.4)

    assert WaitLoop(clock).run(lambda: (), pause, timeout_seconds=1) == ()
    assert pauses == pytest.approx([1.0, 0.6, 0.2])


def test_what_comes_during_a_pause_is_returned(clock):
    found = []
    assert WaitLoop(clock).run(lambda: found, lambda _: found.append("late"), timeout_seconds=1) == ["late"]


@pytest.mark.parametrize("moment", ["attempt", "pause"])
def test_closing_ends_the_calls_that_run_and_no_later_ones(clock, moment):
    loop, calls = WaitLoop(clock), []

    def attempt() -> None:
        calls.append("attempt")
        if moment == "attempt":
            loop.close()

    def pause(_: float) -> None:
        calls.append("pause")
        loop.close()

    assert loop.run(attempt, pause, timeout_seconds=1e9, when_closed=lambda: calls.append("closed")) is None
    assert calls == {"attempt": ["attempt", "closed"], "pause": ["attempt", "pause", "closed"]}[moment]
    assert loop.run(lambda: 1, pytest.fail, timeout_seconds=1, when_closed=pytest.fail) == 1
