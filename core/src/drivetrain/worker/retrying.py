"""Retrying calls while a service is unavailable: back-off with jitter, without limit or for a limited time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random
from typing import TypeVar

from drivetrain.contract import Clock, PublishFailed, ServiceError, ServiceUnavailable, TooLarge
from drivetrain.worker.logs import get_logger

__all__ = ["GaveUp", "Retrier"]

T = TypeVar("T")
logger = get_logger("drivetrain.worker")

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 10.0
#: The limit is reached when less than this remains, in seconds.
_SHORTEST_PAUSE_SECONDS = 0.001


class GaveUp(Exception):
    """The worker stops while a service is unavailable. The next worker does what was not done."""


class Retrier:
    """Calls a service until it succeeds. Every call of the contract may be repeated. Thread-safe."""

    def __init__(
        self, clock: Clock, *, give_up: threading.Event | None = None, limit_seconds: float | None = None
    ) -> None:
        """Make it.

        Args:
            clock: the clock for its pauses.
            give_up: when set, waiting ends with GaveUp.
            limit_seconds: how long to retry, in seconds; then the service's error is raised. The last pause ends at the
                limit, so that a call takes no longer than the limit and one call of the service. None: no limit.
        """
        self._clock = clock
        self._give_up = give_up or threading.Event()
        self._limit_seconds = limit_seconds
        self._random = Random()

    def call(self, what: str, function: Callable[[], T]) -> T:
        """Call ``function`` until it raises no temporary ServiceError; its result.

        Raises:
            ServiceError: the error lasts beyond the limit, or is permanent.
            GaveUp: ``give_up`` was set.
        """
        started, tries = self._clock.monotonic(), 0
        while True:
            try:
                result = function()
            except ServiceError as error:
                tries += 1
                self._pause_or_raise(what, error, tries, self._clock.monotonic() - started)
            else:
                if tries:
                    logger.info("%s: succeeded after %d failed tries", what, tries)
                return result

    def _pause_or_raise(self, what: str, error: ServiceError, tries: int, tried_seconds: float) -> None:
        if isinstance(error, TooLarge | PublishFailed):
            raise error
        pause = self._pause(tries)
        if self._limit_seconds is not None:
            if not isinstance(error, ServiceUnavailable):
                raise error
            remaining = self._limit_seconds - tried_seconds
            if remaining < _SHORTEST_PAUSE_SECONDS:
                error.add_note(
                    f"{what}: failed {tries} times in {tried_seconds:.1f} s; "
                    "check that the service runs and that the URL is right"
                )
                raise error
            pause = min(pause, remaining)
        logger.warning("%s: %s; retrying in %.2f s", what, error, pause)
        if self._clock.wait_event(self._give_up, pause):
            raise GaveUp from error

    def _pause(self, tries: int) -> float:
        ceiling = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(tries - 1, 20))
        return self._random.uniform(ceiling / 2, ceiling)
