"""The checks of a broker (clauses B…)."""

from __future__ import annotations

import pytest

from drivetrain.contract import Broker, BrokerCapabilities, Message
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import Contract
from drivetrain_contract_tests.service import Service

__all__ = ["BrokerContract"]


class BrokerContract(Contract):
    """The contract of a broker. Needs a fixture ``broker_service`` that gives a `Service`."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _reach(cls, broker_service: Service) -> None:
        cls.service = broker_service

    def declared(self) -> BrokerCapabilities:
        """The broker's capabilities."""
        return self.service.broker(self.service.namespace()).capabilities

    def fresh(self) -> Broker:
        """A broker on a namespace of its own."""
        return self.service.broker(self.service.namespace())

    @holds("B1")
    def test_what_was_published_is_received(self) -> None:
        """A message that was published is received."""
        broker = self.fresh()
        broker.publish([Message(id="a", queue="q", body=b"body")])
        (delivery,) = broker.receive(["q"], limit=10, wait_seconds=5, hold_seconds=30)
        assert delivery.message.id == "a"
