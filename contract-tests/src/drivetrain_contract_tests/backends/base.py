"""What all checks of a backend share: reaching it, and letting it go."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import ClassVar

import pytest

from drivetrain.contract import Backend, BackendCapabilities, Clock, ServiceError
from drivetrain_contract_tests.clauses import Check
from drivetrain_contract_tests.contract import Contract, NotDeclared, NotRun
from drivetrain_contract_tests.service import Service

__all__ = ["LARGEST_REFUSED", "LARGEST_TRIED", "LONG", "SHORT", "BackendBase"]

#: Seconds after which a lease, lock or record ends whose end is awaited.
SHORT = 0.3
#: Seconds that are certainly not over while a check runs.
LONG = 3_600.0
#: Values larger than this are not tried, whatever is declared: the suite runs on small machines too.
LARGEST_TRIED = 64 * 1024 * 1024
#: Larger ones may be tried where they are to be refused, for which nobody needs to look at them.
LARGEST_REFUSED = 512 * 1024 * 1024


class BackendBase(Contract):
    """Reaches the backends of a service. Every object that a check makes is closed when the check is over."""

    #: The longest time for an answer that the contract promises at once. A busy machine needs a generous limit.
    prompt_seconds: ClassVar[float] = 5.0
    #: How long is waited for what must come; costs nothing as long as it comes.
    patience_seconds: ClassVar[float] = 60.0

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _reach(cls, backend_service: Service) -> None:
        cls.service = backend_service

    @pytest.fixture(autouse=True)
    def _close_what_was_made(self) -> Iterator[None]:
        # pytest keeps the contract object for longer, and the threads of a client cost those that come after it.
        yield
        _close(self._made())

    def declared(self) -> BackendCapabilities:
        """The backend's capabilities."""
        return self.fresh().capabilities

    def require(self, check: Check) -> None:
        """Raise NotDeclared if ``check`` does not apply; none does to a backend that keeps nothing."""
        super().require(check)
        if not self.declared().stores:
            raise NotDeclared("not declared: stores")

    def require_processes(self) -> None:
        """Raise NotDeclared or NotRun where other processes cannot reach the same records by the URL alone."""
        if not self.declared().shared:
            raise NotDeclared("not declared: shared")
        if self.service.backend_maker is not None:
            raise NotRun("its author's factory makes the backend, which other processes cannot")

    @property
    def resolution(self) -> float:
        """How late what ends may end, in seconds."""
        return self.declared().expiry_resolution_seconds

    def fresh(self) -> Backend:
        """A backend on a namespace of its own."""
        return self.on(self.service.namespace())

    def several(self, count: int) -> list[Backend]:
        """Backends of one fresh namespace."""
        namespace = self.service.namespace()
        return [self.on(namespace) for _ in range(count)]

    def on(self, namespace: str, clock: Clock | None = None) -> Backend:
        """A backend on this namespace."""
        return self._close_later(self.service.backend(namespace, clock))

    def at(self, url: str, namespace: str) -> Backend:
        """A backend of a URL, where the namespace is that of the context."""
        return self._close_later(self.service.backend_at(url, namespace=namespace))

    def _close_later(self, backend: Backend) -> Backend:
        self._made().append(backend)
        return backend

    def _made(self) -> list[Backend]:
        made: list[Backend] | None = vars(self).get("_backends")
        if made is None:
            made = vars(self)["_backends"] = []
            # Checks run with and without pytest; both let go of the contract object when they are done with it.
            weakref.finalize(self, _close, made)
        return made


def _close(backends: list[Backend]) -> None:
    for backend in backends:
        with contextlib.suppress(ServiceError):
            backend.close()
