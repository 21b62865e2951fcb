"""How the suite reaches a driver: all that its author has to say."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from attrs import field, frozen

from drivetrain.app.discovery import Drivers
from drivetrain.contract import DEFAULT_NAMESPACE, Backend, Broker, Clock, DriverContext, DriverUrl, SystemClock

__all__ = ["Service"]

_numbers = itertools.count()


def _fresh_namespace() -> str:
    return f"contract-{os.getpid()}-{next(_numbers)}"


@frozen
class Service:
    """A running service, and how to reach an empty corner of it.

    The suite asks for a new namespace for each example that it tries and never empties one, so that drivers may share
    a server.
    """

    #: The URL of a namespace: ``Service(lambda namespace: f"toy://localhost?namespace={namespace}")``.
    url: Callable[[str], str] = field(default=lambda namespace: f"memory://{namespace}")
    #: Stops the service as a crash would; None: it cannot be stopped, and clauses about restarts are not run.
    stop: Callable[[], None] | None = None
    #: Starts it again, on the same URL, with what it had kept; returns when it can be used.
    start: Callable[[], None] | None = None
    #: Python that another process runs first, for drivers whose URL tells it nothing otherwise; mostly not needed.
    prelude: str = ""
    #: Makes the broker in place of its URL's driver; for drivers that are not installed.
    broker_maker: Callable[[str, DriverContext], Broker] | None = None
    #: Makes the backend in place of its URL's driver; for drivers that are not installed.
    backend_maker: Callable[[str, DriverContext], Backend] | None = None

    def namespace(self) -> str:
        """A name that was never used before."""
        return _fresh_namespace()

    def broker(self, namespace: str, clock: Clock | None = None) -> Broker:
        """A new broker object on this namespace."""
        return self.broker_at(self.url(namespace), clock=clock)

    def backend(self, namespace: str, clock: Clock | None = None) -> Backend:
        """A new backend object on this namespace."""
        return self.backend_at(self.url(namespace), clock=clock)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the service, and start it again afterwards; it is started, too, when stopping has failed.

        Raises:
            Exception: what `stop` or `start` raises. Then `fault` says so, until the service can be used again.
        """
        assert self.stop is not None, "the service cannot be stopped"
        assert self.start is not None, "the service can be stopped, and not started: its author gives no `start`"
        try:
            self.stop()
            yield
        except BaseException as error:
            self._start(f"stopping the service, or what was done meanwhile, has failed: {error!r:.200}")
            raise
        self._start("")

    def _start(self, before: str) -> None:
        assert self.start is not None
        try:
            self.start()
        except BaseException as error:
            _faults[self.stop] = (
                f"the service was left stopped: starting it has failed: {error!r:.200} {before}".strip()
            )
            raise

    @property
    def fault(self) -> str | None:
        """Why the service cannot be used, where a check has left it stopped; also through another `Service` of it."""
        return _faults.get(self.stop) if self.stop is not None else None

    def mended(self) -> None:
        """Take note that it can be used again."""
        _faults.pop(self.stop, None)

    def expression(self, kind: str, namespace: str) -> str:
        """The Python that makes what `broker` or `backend` gives for this namespace, without a password."""
        return self.expression_at(kind, self.url(namespace))

    def expression_at(self, kind: str, url: str, namespace: str = DEFAULT_NAMESPACE) -> str:
        """The same for what `broker_at` or `backend_at` gives."""
        context = "DriverContext()" if namespace == DEFAULT_NAMESPACE else f"DriverContext(namespace={namespace!r})"
        shown = _without_password(url)
        maker = self.broker_maker if kind == "broker" else self.backend_maker
        return (
            f"Drivers({context}).{kind}({shown!r})" if maker is None else f"service.{kind}_maker({shown!r}, {context})"
        )

    def broker_at(self, url: str, *, clock: Clock | None = None, namespace: str = DEFAULT_NAMESPACE) -> Broker:
        """A new broker object of this URL; ``namespace`` is that of the `DriverContext`."""
        broker: Broker = _make("broker", self.broker_maker, url, clock, namespace)
        return broker

    def backend_at(self, url: str, *, clock: Clock | None = None, namespace: str = DEFAULT_NAMESPACE) -> Backend:
        """A new backend object of this URL; ``namespace`` is that of the `DriverContext`."""
        backend: Backend = _make("backend", self.backend_maker, url, clock, namespace)
        return backend


#: Why a service cannot be used, by the function that stops it: two `Service` objects may be of one server.
_faults: dict[Callable[[], None] | None, str] = {}


def _without_password(url: str) -> str:
    password = DriverUrl.parse(url).password
    return url.replace(f":{password}@", ":***@") if password else url


def _make(kind: str, maker: Callable[..., Any] | None, url: str, clock: Clock | None, namespace: str) -> Any:
    if maker is not None:
        return maker(url, DriverContext(clock=clock or SystemClock(), namespace=namespace))
    drivers = _drivers(namespace) if clock is None else Drivers(DriverContext(clock=clock, namespace=namespace))
    return getattr(drivers, kind)(url)


@lru_cache(64)
def _drivers(namespace: str) -> Drivers:
    # Finding what is installed takes longer than most checks, and a run makes thousands of objects.
    return Drivers(DriverContext(clock=SystemClock(), namespace=namespace))
