"""What all checks of a pair share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, TypeVar

import pytest

from drivetrain.app.entry_points import Kind
from drivetrain.contract import BackendCapabilities, BrokerCapabilities
from drivetrain_contract_tests.clauses import Check
from drivetrain_contract_tests.contract import Contract, NotDeclared, NotRun
from drivetrain_contract_tests.drivers_under_test import Subject, of_service
from drivetrain_contract_tests.service import Service
from drivetrain_contract_tests.workflows.app_harness import AppHarness
from drivetrain_contract_tests.workflows.pair import Pair

__all__ = ["WorkflowBase"]

T = TypeVar("T")
R = TypeVar("R")

#: How many cases are played at once.
_PLAYERS = 8


class WorkflowBase(Contract):
    """Reaches a pair, and makes harnesses on it."""

    pair: ClassVar[Pair]
    #: Seconds after which something has not happened that should have.
    patience_seconds: ClassVar[float] = 60.0
    #: Seconds after which what a dead worker held is free; only for checks that wait for that.
    short_lease_seconds: ClassVar[float] = 1.0
    #: How long smaller examples of a failure are looked for; where each has to be waited for, that takes its time.
    shrink_seconds: ClassVar[float] = 10.0

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _reach(cls, broker_service: Service, backend_service: Service) -> None:
        cls.reach(Pair(broker_service, backend_service))

    @classmethod
    def reach(cls, service: Any) -> None:
        """Set what the checks are about: a `Pair`, or a `Service` that is both."""
        cls.pair = Pair.of(service)
        cls.service = cls.pair.broker

    @classmethod
    def subjects(cls) -> list[Subject]:
        """Both drivers."""
        return [of_service(Kind.BROKER, cls.pair.broker), of_service(Kind.BACKEND, cls.pair.backend)]

    def require(self, check: Check) -> None:
        """Raise NotDeclared or NotRun; to a backend that keeps nothing, only what is refused applies."""
        if "W17" not in check.clauses and not self.backend_declares().stores:
            raise NotDeclared("not declared: stores")
        if check.restarts and not self.pair.stops:
            raise NotRun("no service of this pair can be stopped by its author's factory")

    def broker_declares(self) -> BrokerCapabilities:
        """The broker's capabilities."""
        broker = self.pair.broker.broker(self.pair.broker.namespace())
        try:
            return broker.capabilities
        finally:
            broker.close()

    def backend_declares(self) -> BackendCapabilities:
        """The backend's capabilities."""
        backend = self.pair.backend.backend(self.pair.backend.namespace())
        try:
            return backend.capabilities
        finally:
            backend.close()

    def harness(self, *, lease_seconds: float = 30.0) -> AppHarness:
        """A fresh namespace."""
        return AppHarness(self.pair, lease_seconds=lease_seconds, patience_seconds=self.patience_seconds)

    def at_once(self, play: Callable[[T], R], cases: Sequence[T], players: int = _PLAYERS) -> list[R]:
        """Play cases side by side, for they mostly wait; what each gives. The first error is raised."""

        def play_one(case: T) -> R:
            try:
                return play(case)
            except Exception as error:
                error.add_note(f"in {case}")
                raise

        with ThreadPoolExecutor(players) as threads:
            return list(threads.map(play_one, cases))

    def check_counts(self, *, lost: int, unexpected: int, duplicated: int, recovered: int, details: object) -> None:
        """Report the four counts, and fail if any of the first three is not zero."""
        wrong = lost or unexpected or duplicated
        recovered = 0 if wrong else recovered
        self.report_counts(lost=lost, unexpected=unexpected, duplicated=duplicated, recovered=recovered)
        assert not wrong, f"{lost} lost, {unexpected} unexpected, {duplicated} duplicated: {details}"

    def check_ran(self, harness: AppHarness, expected: Counter[str], prefix: str = "") -> None:
        """The tasks ran as often as they should, and no others."""
        ran = harness.run_log.ran(prefix)
        lost, more = expected - ran, ran - expected
        unexpected = sum(count for label, count in more.items() if label not in expected)
        again = sum(more.values()) - unexpected
        self.check_counts(
            lost=sum(lost.values()), unexpected=unexpected, duplicated=again, recovered=0, details={**lost, **more}
        )
