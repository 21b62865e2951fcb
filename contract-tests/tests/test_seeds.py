"""The correct driver passes every time: the whole suite on ``memory://``, with twenty seeds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from drivetrain_contract_tests import (
    BackendContract,
    BrokerContract,
    LockContract,
    PolicyUnderTest,
    Profile,
    RetryPolicyContract,
    SerializerContract,
    Service,
    WorkflowContract,
)
from drivetrain_contract_tests.contract import Contract, NotDeclared, NotRun


class Busy(BrokerContract):
    """The same checks, on a machine that is busy with others of them."""

    prompt_seconds = 3.0


CONTRACTS = (Busy, BackendContract, LockContract, WorkflowContract)
#: Checks mostly wait. So many run side by side, which makes the machine a busy one too.
TOGETHER = 8
#: This one measures what the whole process uses of the processor.
ALONE = "test_waiting_uses_no_processor"


def profile(seed: int) -> Profile:
    return Profile("small", examples=3, steps=15, large=40, races=1, seed=seed)


def run(contract: type[Contract], service: object, name: str, how: Profile) -> str:
    """Run a check; what became of it, unless it has passed."""
    try:
        contract.run_check(name, service, how)
    except (NotDeclared, NotRun):
        return ""
    except Exception as error:
        return f"{name}: {type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_a_correct_driver_passes_whatever_the_seed(contract, seed):
    how, names = profile(seed), list(contract.checks())
    with how.seeded(), ThreadPoolExecutor(TOGETHER) as threads:
        told = list(threads.map(lambda name: run(contract, Service(), name, how), [n for n in names if n != ALONE]))
    told += [run(contract, Service(), name, how) for name in names if name == ALONE]
    assert [one for one in told if one] == []


@pytest.mark.parametrize("seed", range(20))
def test_a_correct_serializer_and_a_correct_policy_pass_whatever_the_seed(seed):
    policy = PolicyUnderTest(name="exponential", good=[{}, {"base": 5, "factor": 1, "jitter": 0}], cap="cap")
    for contract, service in ((SerializerContract, "json"), (RetryPolicyContract, policy)):
        assert [said for name in contract.checks() if (said := run(contract, service, name, profile(seed)))] == []
