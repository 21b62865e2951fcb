"""What a broker does not declare, and yet does (B10, B14, B32, B35)."""

from __future__ import annotations

from contextlib import suppress

from drivetrain.contract import Broker, NotSupported, QueueSection, ServiceError
from drivetrain_contract_tests.brokers.base import Bench, ids, message
from drivetrain_contract_tests.clauses import holds

__all__ = ["Undeclared"]

_MANY = 60


class Undeclared(Bench):
    """What works could be declared: then it can be counted on, and is checked."""

    @holds("B10", "B14", "B32", "B35")
    def test_what_works_is_declared(self) -> None:
        """Each thing that works and is not declared is a warning; nothing of it disturbs what must work."""
        broker, declared = self.fresh(), self.capabilities
        sent = [f"{number}" for number in range(_MANY)]
        broker.publish([message(name) for name in sent])
        if not declared.lists_queues and list(broker.queues()) == ["q"]:
            self.warn_undeclared("lists_queues", "the queue that was used is named")
        if not declared.peeks and self._peeked(broker):
            self.warn_undeclared("peeks", "a message that is ready is shown")
        taken = [each for _ in sent for each in self.take(broker)]
        if not declared.ordered and ids(taken) == sent:
            self.warn_undeclared("ordered", f"{_MANY} messages of one sender came in order")
        broker.release(taken[:1])
        (again,) = self.take(broker)
        if not declared.counts_deliveries and (taken[0].delivery_count, again.delivery_count) == (1, 2):
            self.warn_undeclared("counts_deliveries", "the first delivery is number 1, and the next one number 2")
        assert sorted(ids(taken), key=int) == sent

    def _peeked(self, broker: Broker) -> bool:
        with suppress(ServiceError, NotSupported):
            return len(broker.peek("q", QueueSection.READY, limit=1)) == 1
        return False
