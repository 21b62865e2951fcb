"""The server's clock, by which leases, locks and expiry are counted: machines' own clocks differ."""

from __future__ import annotations

import threading
from typing import Any

from attrs import frozen
from pymongo import MongoClient

from drivetrain.contract import Clock

__all__ = ["ServerTime"]

#: How long an answer of the server is gone by, in seconds: clocks drift, and another server may have become primary.
_GOOD_SECONDS = 30.0
#: An answer is as inexact as it was slow: a slow one is asked for again, but not often.
_QUICK_SECONDS = 0.02
_TRIES = 3
#: An answer that took longer may be wrong by more than `expiry_resolution_seconds`; it is gone by for a moment only.
_DOUBTFUL_SECONDS = 0.2
_MOMENT_SECONDS = 1.0


@frozen
class _Reading:
    """What the server's clock said."""

    #: Unix seconds by the server's clock, less the seconds of our monotonic clock at that instant.
    offset: float
    #: By our monotonic clock.
    asked_at: float
    #: How long it took to answer, in seconds.
    took: float


class ServerTime:
    """Tells the server's time, by asking it now and then. Thread-safe.

    Args:
        client: asks the server.
        clock: measures how long ago that was; stands in where a server does not tell its time.
    """

    def __init__(self, client: MongoClient[Any], clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._reading: _Reading | None = None

    def now(self) -> float:
        """Unix seconds by the server's clock.

        Raises:
            PyMongoError: the server is away, and was not asked for a while.
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
        """An earlier answer that was quicker, if this one does not contradict it: so a busy server moves no time."""
        last = self._reading
        if last is None or last.took >= reading.took or abs(reading.offset - last.offset) > reading.took / 2:
            return reading
        return _Reading(last.offset, reading.asked_at, last.took)

    def _ask(self) -> _Reading:
        began = self._clock.monotonic()
        told = self._client.admin.command("hello").get("localTime")
        ended = self._clock.monotonic()
        if told is None:
            return _Reading(self._clock.now() - ended, ended, 0.0)
        return _Reading(told.timestamp() - (began + ended) / 2, ended, ended - began)
