"""``mongodb://`` is certified by the suite."""

from drivetrain_contract_tests import BackendContract, LockContract, ValueContract


class TestMongoBackend(BackendContract):
    pass


class TestMongoValues(ValueContract):
    pass


class TestMongoLocks(LockContract):
    pass
