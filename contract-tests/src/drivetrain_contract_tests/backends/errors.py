"""What a driver does beside what it is asked, and how its errors look (R38, R41)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from drivetrain.contract import Backend, BackendCapabilities, Group, ServiceError
from drivetrain_contract_tests.backends.base import BackendBase
from drivetrain_contract_tests.backends.calls import read, record, renewed, start, transition
from drivetrain_contract_tests.backends.value_calls import write
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.io_audit import io_of_this_thread
from drivetrain_contract_tests.refusing import assert_impossible_urls_are_refused

__all__ = ["ErrorChecks"]

#: A text that UTF-8 does not know.
_LONE = "lone \ud800"


class ErrorChecks(BackendBase):
    """No error, object or URL of a client library shows through."""

    @holds("R38")
    def test_making_a_backend_does_no_io(self) -> None:
        """The first call connects, not the making: no connection or file is opened, and none needed.

        It is watched by Python's audit events; code in C that connects by itself is not seen.
        """
        namespace = self.service.namespace()
        self.on(namespace)  # modules are imported, and what they read once is read
        with io_of_this_thread() as done:
            backend = self.on(namespace)
            assert isinstance(backend.capabilities, BackendCapabilities)
        assert not done, f"making a backend did {done}"
        assert isinstance(backend, Backend)
        assert backend.capabilities == backend.capabilities
        backend.ping()

    @holds("R38")
    def test_no_secret_is_shown(self) -> None:
        """The password of the URL is in no text of an object that a log may hold."""
        namespace = self.service.namespace()
        secret = urlsplit(self.service.url(namespace)).password
        backend = self.on(namespace)
        backend.ping()
        for shown in (repr(backend), str(backend), repr(backend.capabilities)):
            assert not secret or secret not in shown

    @holds("R41")
    def test_a_url_that_can_never_work_is_refused(self) -> None:
        """At once, as a ConfigurationError that names every fault and no secret."""
        assert_impossible_urls_are_refused(self.service.backend_at, self.service.url(self.service.namespace()))

    @holds("R38")
    def test_what_a_client_cannot_take_is_a_service_error(self) -> None:
        """Odd names, times and numbers are taken, or refused with a ServiceError; the object works on afterwards."""
        backend = self.fresh()
        record(backend, transition("kept"))
        for what, call in _odd_calls(backend):
            try:
                call()
            except ServiceError:
                continue
            except Exception as error:
                raise AssertionError(f"{what} raised {type(error).__name__}, and not a ServiceError") from error
        assert read(backend, "kept") is not None
        assert record(backend, transition("after"))[0].applied


def _odd_calls(backend: Backend) -> Iterator[tuple[str, Callable[[], object]]]:
    """Calls that no task makes, and that the values of a program may lead to."""
    yield "an id that cannot be encoded", lambda: record(backend, transition(_LONE))
    yield "reading such an id", lambda: read(backend, _LONE)
    yield "such a worker", lambda: record(backend, transition("worker", worker=_LONE))
    yield "such a group", lambda: backend.open_groups([Group(group_id=_LONE, size=1)])
    yield "such a body's key", lambda: backend.store_bodies({_LONE: b""})
    yield "such a key", lambda: write(backend, _LONE)
    yield "reading such a key", lambda: backend.read_values([_LONE])
    yield "listing what begins so", lambda: backend.list_values(_LONE, limit=10)
    yield "a huge attempt", lambda: record(backend, transition("attempt", attempt=2**70))
    yield "a huge group", lambda: backend.open_groups([Group(group_id="huge", size=2**70)])
    yield "a huge version", lambda: write(backend, "version", if_version=2**70)
    yield "a huge page", lambda: backend.list_values("", limit=2**70)
    for seconds in (1e18, 1e300, math.inf, -1.0):
        yield f"a retention of {seconds}", lambda: record(backend, transition(f"r{seconds}", retention=seconds))  # noqa: B023
        yield f"a lease of {seconds}", lambda: record(backend, start(f"l{seconds}", lease=seconds))  # noqa: B023
        yield f"a renewal for {seconds}", lambda: renewed(backend, f"l{seconds}", seconds=seconds)  # noqa: B023
        yield f"the time {seconds}", lambda: record(backend, transition(f"t{seconds}", at=seconds))  # noqa: B023
        yield f"settling in {seconds}", lambda: backend.shorten_retention([f"t{seconds}"], retention_seconds=seconds)  # noqa: B023
        yield f"a value for {seconds}", lambda: write(backend, f"k{seconds}", seconds=seconds)  # noqa: B023
        yield f"reading a value for {seconds}", lambda: backend.read_values([f"k{seconds}"])  # noqa: B023
        yield f"reading what has {seconds}", lambda: backend.read([f"{kind}{seconds}" for kind in "rlt"])  # noqa: B023
