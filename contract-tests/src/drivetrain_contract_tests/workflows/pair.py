"""A broker and a backend that work together."""

from __future__ import annotations

from attrs import frozen

from drivetrain_contract_tests.service import Service

__all__ = ["Pair"]


@frozen
class Pair:
    """What `WorkflowContract` is about; stands where other contracts have a `Service`."""

    broker: Service
    backend: Service

    @classmethod
    def of(cls, given: Pair | Service) -> Pair:
        """``given``, or the pair of a service that is both."""
        return given if isinstance(given, Pair) else cls(given, given)

    @property
    def made_here(self) -> bool:
        """Whether one of them is made by its author's factory, so that its URL tells another process nothing."""
        return self.broker.broker_maker is not None or self.backend.backend_maker is not None

    @property
    def prelude(self) -> str:
        """Python that another process runs first; see `Service.prelude`."""
        return "\n".join(dict.fromkeys(service.prelude for service in self._services()))

    def stop(self) -> None:
        """Stop whichever can be stopped; once where both are one service."""
        for stop in dict.fromkeys(service.stop for service in self._services() if service.stop is not None):
            stop()

    def start(self) -> None:
        """Start whichever was stopped."""
        for start in dict.fromkeys(service.start for service in self._services() if service.start is not None):
            start()

    @property
    def stops(self) -> bool:
        """Whether any of them can be stopped and started."""
        return any(service.stop is not None and service.start is not None for service in self._services())

    def _services(self) -> list[Service]:
        return [self.broker] if self.broker is self.backend else [self.broker, self.backend]
