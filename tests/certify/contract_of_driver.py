"""The driver whose scheme ``CERTIFY_SCHEME`` names. Run by `certify.run`; ``make test`` passes it by."""

import os

import pytest
from attrs import evolve

from drivetrain_contract_tests import BackendContract, BrokerContract, LockContract, ValueContract
from matrix.places import LESS, running

SCHEME = os.environ.get("CERTIFY_SCHEME", "memory")
#: Where a wake-up takes longer than elsewhere, in seconds: a long poll of SQS sees a change with its next tick.
_PROMPT_SECONDS = {"sqs": 1.5}


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    with running(SCHEME, tmp_path_factory.mktemp("server")) as service:
        yield service


@pytest.fixture(scope="session")
def broker_service(service):
    return service


@pytest.fixture(scope="session")
def backend_service(service):
    return service


@pytest.fixture(autouse=True)
def less(request):
    request.cls.profile = evolve(request.cls.profile, **LESS.get(SCHEME, {}))


class TestBroker(BrokerContract):
    prompt_seconds = _PROMPT_SECONDS.get(SCHEME, BrokerContract.prompt_seconds)


class TestBackend(BackendContract):
    pass


class TestValues(ValueContract):
    pass


class TestLocks(LockContract):
    pass
