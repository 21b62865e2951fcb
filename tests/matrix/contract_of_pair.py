"""One pair of the matrix, named by ``MATRIX_PAIR``. Run by `matrix.run`; ``make test`` passes it by."""

import os

import pytest
from attrs import evolve

from drivetrain_contract_tests import WorkflowContract
from matrix.pairs import named
from matrix.places import LESS, running


@pytest.fixture(scope="session")
def pair():
    return named(os.environ["MATRIX_PAIR"])


@pytest.fixture(scope="session", autouse=True)
def aws_configuration():
    """No configuration of the machine's, and no asking of metadata services."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", "/dev/null")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        yield


@pytest.fixture(scope="session")
def broker_service(pair, tmp_path_factory):
    with running(pair.broker, tmp_path_factory.mktemp("broker")) as service:
        yield service


@pytest.fixture(scope="session")
def backend_service(pair, broker_service, tmp_path_factory):
    if pair.backend == pair.broker:
        yield broker_service  # one store for both, as users would have it
        return
    with running(pair.backend, tmp_path_factory.mktemp("backend")) as service:
        yield service


@pytest.fixture(autouse=True)
def less(request, pair):
    request.cls.profile = evolve(request.cls.profile, **LESS.get(pair.broker, {}))


class TestPair(WorkflowContract):
    pass
