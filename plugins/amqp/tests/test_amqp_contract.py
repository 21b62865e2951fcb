"""``amqp://`` is certified by the suite on a real RabbitMQ, which is killed and started again."""

import pytest

from drivetrain_contract_tests import BrokerContract, Service


class Namespaces:
    """Makes URLs of namespaces, and drops the queues of those no longer used: each makes a start take longer."""

    def __init__(self, rabbit, options=""):
        self._rabbit, self._options, self._recent = rabbit, options, []

    def url(self, name):
        if name not in self._recent:
            self._recent = [*self._recent[-3:], name]
        return self._rabbit.url(options=f"namespace={name}{self._options}")

    def crash(self):
        """Kill the node. A moment after the last call: RabbitMQ writes acknowledgements down when a queue is idle."""
        self._rabbit.drop_queues(lambda queue: not queue.startswith(tuple(f"{name}~" for name in self._recent)))
        self._rabbit.kill()


@pytest.fixture(scope="module")
def broker_service(rabbit):
    namespaces = Namespaces(rabbit)
    return Service(namespaces.url, stop=namespaces.crash, start=rabbit.start)


class TestAmqpBroker(BrokerContract):
    pass


class TestAmqpQuorumBroker(BrokerContract):
    """Quorum queues, with a lane for each of three priorities."""

    @pytest.fixture(scope="class")
    @classmethod
    def broker_service(cls, thorough, rabbit):
        namespaces = Namespaces(rabbit, "&queue_type=quorum&max_priority=2")
        return Service(namespaces.url, stop=namespaces.crash, start=rabbit.start)
