"""Drivers that fail on purpose: a proxy around a broker or a backend, and a plan that says which call fails, and how.

Nothing here knows of a driver: what is wrapped is known by the contract alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from attrs import define, field, frozen

from drivetrain.contract import Hold, ServiceUnavailable, evolve

__all__ = ["DiesBefore", "Fault", "Faults", "Moment", "Proxy"]

#: These move messages.
_MOVES = {"publish", "acknowledge", "release", "dead_letter"}

#: These answer from memory, or let go.
_NEVER_FAIL = {"close", "counts"}
#: How often these are called is chance, so they have no number; a service that is away is away for them too.
_NOT_NUMBERED = {"renew", "extend", "sweep", "wait", "ping", "sizes"}


class Moment(StrEnum):
    """When a call fails."""

    #: Nothing was done.
    BEFORE = "before"
    #: It was done, and the reply was lost.
    AFTER = "after"


@frozen
class Fault:
    """The call of this number fails, counted from 1 over all drivers of a plan."""

    number: int
    moment: Moment
    #: Whether every later call fails too, as when the process that calls has died.
    lasts: bool = False


@define(eq=False)
class Faults:
    """Which calls fail. Thread-safe.

    A call of `Broker.receive` is numbered once there is something to receive, and then fails with its reply lost: how
    often nothing is received is chance.
    """

    fault: Fault | None = None
    #: Whether every other call of each method, `Broker.receive` apart, fails with its reply lost.
    every_other: bool = False
    #: Whether each message is published twice.
    twice: bool = False
    #: The methods that were called, in the order of their numbers.
    calls: list[str] = field(factory=list)
    #: Set once the fault has struck.
    struck: threading.Event = field(factory=threading.Event)
    #: While set, every call fails.
    away: threading.Event = field(factory=threading.Event)
    #: When a message was last published, received or settled (monotonic).
    busy_at: float = 0.0
    _lock: threading.Lock = field(factory=threading.Lock)

    def call(self, method: str, function: Callable[[], Any]) -> Any:
        """Do the call, or fail it as planned."""
        self._check_away(method)
        if method in _NOT_NUMBERED:
            return function()
        if method in _MOVES:
            self.busy_at = time.monotonic()
        if method == "receive":
            return self._receive(function)
        fault = self._next(method)
        if fault is not None and fault.moment is Moment.BEFORE:
            self._strike(fault, method)
        result = function()
        if fault is not None:
            self._strike(fault, method)
        return result

    def _receive(self, function: Callable[[], Any]) -> Any:
        received = function()
        if received:
            self.busy_at = time.monotonic()
            self._check_away("receive")
            if (fault := self._next("receive")) is not None:
                self._strike(fault, "receive")
        return received

    def _check_away(self, method: str) -> None:
        if self.away.is_set():
            raise ServiceUnavailable(f"planned: {method} cannot reach the service")

    def _next(self, method: str) -> Fault | None:
        with self._lock:
            self.calls.append(method)
            number = len(self.calls)
            if self.every_other and method != "receive" and self.calls.count(method) % 2:
                return Fault(number, Moment.AFTER)
            return self.fault if self.fault is not None and self.fault.number == number else None

    def _strike(self, fault: Fault, method: str) -> None:
        if fault.lasts:
            self.away.set()
        self.struck.set()
        raise ServiceUnavailable(f"planned: {method}, call number {fault.number}, fails {fault.moment} it is done")


@define(eq=False)
class DiesBefore(Faults):
    """The worker dies right before its first call of a method: this call and every later one fails."""

    method: str = ""

    def call(self, method: str, function: Callable[[], Any]) -> Any:
        """Do the call, or die."""
        if method == self.method:
            self.away.set()
            self.struck.set()
        return super().call(method, function)


class Proxy:
    """A broker or a backend whose calls fail as planned. Given capabilities replace those of the driver."""

    def __init__(self, driver: Any, faults: Faults, **capabilities: Any) -> None:
        self._driver = driver
        self._faults = faults
        self.capabilities = evolve(driver.capabilities, **capabilities)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        if name in _NEVER_FAIL or name.startswith("_"):
            return found
        if name == "publish" and self._faults.twice:
            return lambda messages: self._faults.call(name, lambda: found([*messages, *messages]))
        if name == "record_and_publish" and self._faults.twice:
            return lambda sends: self._faults.call(name, lambda: self._send_twice(found, sends))
        if name == "receive" and self.capabilities.hold is Hold.CONNECTION:
            return lambda *args, **options: self._receive(lambda: found(*args, **options))
        return lambda *args, **options: self._faults.call(name, lambda: found(*args, **options))

    def _receive(self, receive: Callable[[], Any]) -> Any:
        try:
            return self._faults.call("receive", receive)
        except ServiceUnavailable:
            self._driver.close()  # a lost reply is a lost connection, and what that held goes back
            raise

    def _send_twice(self, send: Callable[..., Any], sends: Any) -> Any:
        granted = send(sends)
        self._driver.publish([message for (_, message), yes in zip(sends, granted, strict=True) if yes])
        return granted
