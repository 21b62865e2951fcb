"""No check fails on a correct backend: the one in memory, and the same behind a service that is stopped and started."""

import pytest

from drivetrain_contract_tests import BackendContract, LockContract, Service
from tests.mutants.backend_base import Host, Remote
from tests.mutants.mutant import catchers


@pytest.mark.parametrize("contract", [BackendContract, LockContract])
@pytest.mark.parametrize("service", [Service, lambda: Host(Remote).service()], ids=["memory", "remote"])
def test_no_check_catches_a_correct_backend(contract, service):
    assert catchers(contract, service()) == {}
