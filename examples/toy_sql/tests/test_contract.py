"""The SQL backend is held to drivetrain's contract."""

import pytest

from drivetrain_contract_tests import BackendContract, LockContract, Service, ValueContract


@pytest.fixture(scope="session")
def backend_service(tmp_path_factory):
    path = tmp_path_factory.mktemp("toysql") / "records.db"
    return Service(lambda namespace: f"toysql://{path}?namespace={namespace}")


class TestSqlBackend(BackendContract):
    pass


class TestSqlValues(ValueContract):
    pass


class TestSqlLocks(LockContract):
    pass
