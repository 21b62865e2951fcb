"""Trying again while a service is away: with growing pauses, and for no longer than the limit."""

import pytest

from drivetrain.contract import ServiceUnavailable
from drivetrain.testing import VirtualClock
from drivetrain.worker.retrying import Retrier


class Away:
    """A service that answers nobody, and each call of which takes some time."""

    def __init__(self, clock: VirtualClock, *, call_seconds: float = 0.0) -> None:
        self._clock = clock
        self._call_seconds = call_seconds
        self.called_at: list[float] = []

    def __call__(self) -> None:
        self.called_at.append(self._clock.monotonic())
        self._clock.turn(self._call_seconds)
        raise ServiceUnavailable("away")


@pytest.mark.parametrize("limit_seconds", [0.0, 0.3, 10.0, 60.0])
def test_all_tries_together_take_as_long_as_the_limit(limit_seconds):
    """The last pause ends with the limit, and the service is tried once more then."""
    for _ in range(50):  # pauses are drawn at random
        clock = VirtualClock()
        service = Away(clock)
        with pytest.raises(ServiceUnavailable):
            Retrier(clock, limit_seconds=limit_seconds).call("send", service)
        assert clock.monotonic() == pytest.approx(limit_seconds, abs=0.001)
        assert service.called_at[-1] == pytest.approx(limit_seconds, abs=0.001)


def test_beyond_the_limit_there_is_only_the_time_of_a_call_itself():
    for _ in range(50):
        clock = VirtualClock()
        with pytest.raises(ServiceUnavailable):
            Retrier(clock, limit_seconds=10.0).call("send", Away(clock, call_seconds=1.0))
        assert clock.monotonic() <= 11.0
