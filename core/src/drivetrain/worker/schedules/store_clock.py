"""The backend's clock, as a scheduler reads it: schedulers with wrong clocks agree on what is due."""

from __future__ import annotations

from uuid import uuid4

from drivetrain.contract import Backend, Clock, State, Transition
from drivetrain.worker.logs import get_logger

__all__ = ["StoreClock"]

logger = get_logger("drivetrain.schedules")

#: How often the clocks are compared, in seconds.
_COMPARE_SECONDS = 300.0
#: A difference that is no more than the resolution of backends and the time of a call, in seconds.
_NEGLIGIBLE_SECONDS = 0.05
#: How often a comparison that took longer is repeated.
_MOST_REPETITIONS = 4
#: A difference that an operator should know of, in seconds.
_REMARKABLE_SECONDS = 1.0
#: How long the record is kept by which the clocks are compared, if this process dies before it forgets it, in seconds.
_KEPT_SECONDS = 60.0


class StoreClock:
    """Tells the time of the backend. It compares the clocks every five minutes. For one thread.

    A backend tells its time only in the end of a record. So this records a task that has ended, reads when the record
    expires, and forgets it.

    Args:
        backend: the backend.
        clock: the clock of this process.
    """

    def __init__(self, backend: Backend, clock: Clock) -> None:
        self._backend = backend
        self._clock = clock
        self._compared: float | None = None
        #: The clock minus the monotonic clock, at the comparison.
        self._drift = 0.0
        self._ahead = 0.0

    def now(self) -> float:
        """The time of the backend, in Unix seconds.

        Raises:
            ServiceError: the backend could not be reached.
        """
        passed = self._clock.monotonic()
        wall = self._clock.now()
        # A clock that was set since then, or a machine that slept, needs another comparison.
        if (
            self._compared is None
            or passed - self._compared > _COMPARE_SECONDS
            or abs(wall - passed - self._drift) > 0.5
        ):
            self._compare()
            wall = self._clock.now()
        return wall + self._ahead

    def _compare(self) -> None:
        seconds, ahead = self._measure()
        for _ in range(_MOST_REPETITIONS):
            if seconds <= _NEGLIGIBLE_SECONDS:
                break
            # A slow call tells little: the quickest of some counts.
            seconds, ahead = min((seconds, ahead), self._measure())
        if abs(ahead) <= max(_NEGLIGIBLE_SECONDS, seconds):
            ahead = 0.0
        if abs(ahead - self._ahead) > _REMARKABLE_SECONDS:
            logger.warning(
                "the clock of this machine is %.1f s %s the backend's; schedules follow the backend's",
                abs(ahead),
                "behind" if ahead > 0 else "ahead of",
            )
        self._ahead = ahead
        self._compared = self._clock.monotonic()
        self._drift = self._clock.now() - self._compared

    def _measure(self) -> tuple[float, float]:
        """How long a record took, and how far the backend's clock is ahead of this one, in seconds."""
        task_id = f"drivetrain.clock.{uuid4().hex}"
        before = self._clock.now()
        ended = Transition(
            task_id=task_id, state=State.SUCCESS, at=before, task="drivetrain.clock", retention=_KEPT_SECONDS
        )
        self._backend.record([ended])
        after = self._clock.now()
        (record,) = self._backend.read([task_id])
        self._backend.forget([task_id])
        if record is None or record.expires_at is None:
            return after - before, 0.0
        return after - before, record.expires_at - _KEPT_SECONDS - (before + after) / 2
