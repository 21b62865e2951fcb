"""``amqp://`` is certified by the suite on a real RabbitMQ, which is killed and started again."""

import pytest

from drivetrain_contract_tests import BrokerContract

#: In the profile thorough one check kills the node 20 times, which takes seconds to start each time.
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def broker_service(service_on):
    return service_on()


class TestAmqpBroker(BrokerContract):
    pass


class TestAmqpQuorumBroker(BrokerContract):
    """Quorum queues, with a lane for each of three priorities."""

    @pytest.fixture(scope="class")
    @classmethod
    def broker_service(cls, thorough, service_on):
        return service_on("&queue_type=quorum&max_priority=2")
