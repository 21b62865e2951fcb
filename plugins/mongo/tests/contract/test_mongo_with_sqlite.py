"""Workflows whose messages are in SQLite and whose states are in MongoDB."""

import pytest

from drivetrain_contract_tests import Service, WorkflowContract


@pytest.fixture(scope="session")
def broker_service(at_length, tmp_path_factory):
    directory = tmp_path_factory.mktemp("sqlite")
    return Service(lambda namespace: f"sqlite:///{directory}/{namespace}.db")


class TestSqliteAndMongo(WorkflowContract):
    #: nx-27017 does one thing at a time, and many workflows are played at once: a worker's heartbeat may take a second.
    short_lease_seconds = 5.0
