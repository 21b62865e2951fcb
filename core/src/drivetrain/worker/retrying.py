"""Trying again when a service is away: back-off with jitter, for ever or for a while."""

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
#: When less than this is left of the limit, the limit is reached.
_SHORTEST_PAUSE_SECONDS = 0.001


class GaveUp(Exception):
    """The worker was told to stop while a service was away. What was not done, the next worker does."""


class Retrier:
    """Calls a service until it answers. Every call of the contract may be made again."""

    def __init__(
        self, clock: Clock, *, give_up: threading.Event | None = None, limit_seconds: float | None = None
    ) -> None:
        """Make it.

        Args:
            clock: whose time it waits by.
            give_up: when set, waiting ends with GaveUp.
            limit_seconds: how long to try; then the service's error is raised. The last pause ends with the limit, so
                that all takes no longer than this and one call of the service. None: for ever.
        """
        self._clock = clock
        self._give_up = give_up or threading.Event()
        self._limit_seconds = limit_seconds
        self._random = Random()

    def call(self, what: str, function: Callable[[], T]) -> T:
        """The result of ``function``, called until it does not raise a ServiceError that may pass.

        Raises:
            ServiceError: it did not pass within the limit, or never will.
            GaveUp: told to stop meanwhile.
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
