"""The server's clock. Leases, locks and expiry count by it, because the clocks of machines differ."""

from __future__ import annotations

import threading
from typing import Any

from attrs import frozen
from pymongo import MongoClient

from drivetrain.contract import Clock

__all__ = ["ServerClock"]

#: How long a reading is used, in seconds: clocks drift, and another server may have become primary.
_GOOD_SECONDS = 30.0
#: A slow answer is an inexact one. A slower one than this is asked for again, `_TRIES` times at most.
_QUICK_SECONDS = 0.02
_TRIES = 3
#: A slower one than this may be wrong by more than `expiry_resolution_seconds`, and is used for a moment only.
_DOUBTFUL_SECONDS = 0.2
_MOMENT_SECONDS = 1.0


@frozen
class _Reading:
    """One answer of the server."""

    #: Unix seconds by the server's clock, minus the seconds of the local monotonic clock at that instant.
    offset: float
    #: By the local monotonic clock.
    asked_at: float
    #: How long the answer took, in seconds.
    took: float


class ServerClock:
    """Gives the server's time; it asks the server at intervals. Thread-safe.

    Args:
        client: the client that asks the server.
        clock: measures the age of an answer; its time is used if the server gives none.
    """

    def __init__(self, client: MongoClient[Any], clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._reading: _Reading | None = None

    def now(self) -> float:
        """Unix seconds by the server's clock.

        Raises:
            PyMongoError: the last answer is too old, and the server does not answer.
        """
        reading = self._reading
        if reading is None or not self._is_good(reading):
            reading = self._read_again()
        return reading.offset + self._clock.monotonic()

    def _is_good(self, reading: _Reading) -> bool:
        good = _GOOD_SECONDS if reading.took <= _DOUBTFUL_SECONDS else _MOMENT_SECONDS
        return self._clock.monotonic() - reading.asked_at <= good

    def _read_again(self) -> _Reading:
        with self._lock:
            if self._reading is None or not self._is_good(self._reading):  # else another thread was faster
                self._reading = self._best()
            return self._reading

    def _best(self) -> _Reading:
        best = self._ask()
        for _ in range(_TRIES - 1):
            if best.took <= _QUICK_SECONDS:
                break
            best = min(best, self._ask(), key=lambda reading: reading.took)
        return self._better(best)

    def _better(self, reading: _Reading) -> _Reading:
        """An earlier, quicker answer that this one does not contradict: so a busy server moves no time."""
        last = self._reading
        if last is None or last.took >= reading.took or abs(reading.offset - last.offset) > reading.took / 2:
            return reading
        return _Reading(last.offset, reading.asked_at, last.took)

    def _ask(self) -> _Reading:
        began = self._clock.monotonic()
        time = self._client.admin.command("hello").get("localTime")
        ended = self._clock.monotonic()
        if time is None:
            return _Reading(self._clock.now() - ended, ended, 0.0)
        return _Reading(time.timestamp() - (began + ended) / 2, ended, ended - began)
