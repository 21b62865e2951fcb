"""The contracts that broken drivers are tried with find no fault in correct ones, however little patience they have.

Else every driver would be caught by them, whatever it does.
"""

from __future__ import annotations

import pytest

from drivetrain.drivers.memory import MemoryBroker
from mutants import ALL, backend_base, broker_base, remote, workflow_base
from mutants.mutant import fails

#: A check may fail now and then on a machine that is busy, but not always.
_TRIES = 3

#: A correct driver for each contract. Processes and SQLite apart, for which others have more patience.
CORRECT = {
    broker_base.Impatient: (lambda: broker_base.local(MemoryBroker), lambda: remote.Remote().service()),
    backend_base.Impatient: (lambda: backend_base.Host(backend_base.Remote).service(),),
    backend_base.ImpatientValues: (lambda: backend_base.Host(backend_base.Remote).service(),),
    backend_base.ImpatientLocks: (lambda: backend_base.Host(backend_base.Remote).service(),),
    workflow_base.Hasty: (workflow_base.pair,),
    workflow_base.Patient: (workflow_base.pair,),
}


#: Those that the profile quick tries: the others take up to a minute each.
_QUICK = {backend_base.ImpatientValues, backend_base.ImpatientLocks}


@pytest.mark.slow
@pytest.mark.parametrize("contract", CORRECT, ids=lambda contract: f"{contract.__module__}.{contract.__name__}")
def test_an_impatient_contract_finds_no_fault_in_a_correct_driver(contract, request):
    if contract not in _QUICK and request.config.getoption("--contract-profile") == "quick":
        pytest.skip("the profile quick tries few contracts: --contract-profile default tries all")
    checks = {name for mutant in ALL if mutant.contract is contract for name in mutant.checks()}
    failing = [
        name
        for service in CORRECT[contract]
        for name in sorted(checks)
        if all(fails(contract, service(), name) for _ in range(_TRIES))
    ]
    assert failing == []
