"""Drivers that fail on purpose: a proxy around a broker or a backend, and a plan that says which call fails, and how.

    faults = Faults(Fault("publish", 2, Moment.AFTER))
    broker, backend = Proxy(broker, faults), Proxy(backend, faults)

Nothing here knows of a driver: what is wrapped is known by the contract alone.
"""

import threading
from collections import Counter
from enum import StrEnum
from random import Random

from attrs import define, field, frozen

from drivetrain.contract import Backend, Broker, ServiceUnavailable, evolve

_NEVER_FAIL = {"capabilities", "close", "counts"}


class Moment(StrEnum):
    """When a call fails."""

    #: Nothing was done.
    BEFORE = "before"
    #: It was done, and the reply was lost.
    AFTER = "after"


@frozen
class Fault:
    """The ``nth`` call of ``method`` fails (counted from 1, all objects of a plan together)."""

    method: str
    nth: int
    moment: Moment

    def __str__(self):
        return f"{self.method} number {self.nth} fails {self.moment} it is done"


@define
class Faults:
    """Which calls fail. Thread-safe.

    A call of `Broker.receive` counts once there is something to receive: how often nothing is received is chance.
    """

    fault: Fault | None = None
    #: The share of calls that fail, whatever their method, `Broker.receive` apart; which ones, ``random`` says.
    share: float = 0.0
    moment: Moment = Moment.BEFORE
    random: Random = field(factory=lambda: Random(0))
    calls: Counter = field(factory=Counter)
    #: How many calls were made to fail.
    struck: int = 0
    _lock: threading.Lock = field(factory=threading.Lock)

    def call(self, method, function):
        """Do the call, or fail it as planned."""
        if method == "receive":
            return self._receive(function)
        moment = self._next(method)
        if moment is Moment.BEFORE:
            raise ServiceUnavailable(f"planned: {method} was not done")
        result = function()
        if moment is Moment.AFTER:
            raise ServiceUnavailable(f"planned: {method} was done, and its reply was lost")
        return result

    def _receive(self, function):
        received = function()
        if received and self._next("receive") is not None:
            raise ServiceUnavailable("planned: receive was done, and what was received was lost")
        return received

    def _next(self, method):
        with self._lock:
            self.calls[method] += 1
            moment = self._moment(method)
            self.struck += moment is not None
            return moment

    def _moment(self, method):
        if self.fault is not None and (self.fault.method, self.fault.nth) == (method, self.calls[method]):
            return self.fault.moment
        struck = self.share and method != "receive" and self.random.random() < self.share
        return self.moment if struck else None


class Proxy:
    """A broker or a backend whose calls fail as planned; all else is the driver's."""

    def __init__(self, driver, faults):
        self._driver = driver
        self._faults = faults

    def __getattr__(self, name):
        found = getattr(self._driver, name)
        if name in _NEVER_FAIL or name.startswith("_"):
            return found
        return lambda *args, **options: self._faults.call(name, lambda: found(*args, **options))


def methods(kind):
    """The methods of a contract that a plan can let fail."""
    return {name for name in dir(kind) if not name.startswith("_")} - _NEVER_FAIL


#: The methods of brokers and of backends.
BROKER, BACKEND = methods(Broker), methods(Backend)


def rewire(app, **changes):
    """Let ``app`` use a runtime with other parts until it is closed: ``rewire(app, broker=Proxy(…))``."""
    services = app._services
    services._made._made = (services._assemble(evolve(app.runtime, **changes)),)


def let_fail(app, faults):
    """Put a proxy around the broker and the backend of ``app``."""
    rewire(app, broker=Proxy(app.runtime.broker, faults), backend=Proxy(app.runtime.backend, faults))


class Changed:
    """A broker or a backend that declares other capabilities."""

    def __init__(self, driver, **capabilities):
        self._driver = driver
        self.capabilities = evolve(driver.capabilities, **capabilities)

    def __getattr__(self, name):
        return getattr(self._driver, name)


def hurry(app):
    """Let the workers of ``app`` stop quickly: each receive waits a moment only."""
    rewire(app, broker=Changed(app.runtime.broker, receive_wait_seconds=0.02))


def hoard(worker, number):
    """Let ``worker`` take up to ``number`` messages at once, however few it can run, and keep them."""
    for prefetch in worker._flow_control.prefetch.values():
        prefetch.window = lambda _stalled: number
    worker._flow_control.stuck = lambda _pool: False
