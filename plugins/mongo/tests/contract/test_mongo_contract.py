"""``mongodb://`` is certified by the suite."""

from drivetrain_contract_tests import BackendContract, LockContract


class TestMongoBackend(BackendContract):
    pass


class TestMongoLocks(LockContract):
    pass
