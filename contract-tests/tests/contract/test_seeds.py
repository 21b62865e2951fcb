"""The correct driver passes every time: the whole suite on ``memory://``, with twenty seeds.

The profile ``quick`` tries fewer of them with what takes seconds.
"""

from __future__ import annotations

import pytest

from drivetrain_contract_tests import (
    BackendContract,
    LockContract,
    PolicyUnderTest,
    Profile,
    RetryPolicyContract,
    SerializerContract,
    Service,
    ValueContract,
    WorkflowContract,
)
from passing import BusyBrokerContract, faults

SEEDS = range(20)
#: How many of them the profile quick tries.
_QUICK_SEEDS = 4


class UnhurriedWorkflowContract(WorkflowContract):
    """Of three of these at a time, each of eight stages with a dozen threads, a heartbeat may wait for a second."""

    short_lease_seconds = 3.0


#: Where that is fewer, because a run takes half a minute or, with all workflows, a whole one.
_QUICK_SEEDS_OF = {BusyBrokerContract: 1, UnhurriedWorkflowContract: 0}
CONTRACTS = [BusyBrokerContract, BackendContract, ValueContract, LockContract, UnhurriedWorkflowContract]


def profile(seed: int) -> Profile:
    return Profile("small", examples=3, steps=15, large=40, batch=130, races=1, seconds=0.05, crashes=1, seed=seed)


@pytest.fixture
def tried(request):
    """A function that skips a seed which the profile does not try; of the first ``number``, the profile quick does."""

    def tried(seed: int, number: int = _QUICK_SEEDS) -> None:
        if seed >= number and request.config.getoption("--contract-profile") == "quick":
            pytest.skip(f"the profile quick tries {number} seeds: --contract-profile default tries {len(SEEDS)}")

    return tried


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("contract", CONTRACTS)
def test_a_correct_driver_passes_whatever_the_seed(contract, seed, tried):
    tried(seed, _QUICK_SEEDS_OF.get(contract, _QUICK_SEEDS))
    assert faults(contract, Service, profile(seed)) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_correct_serializer_passes_whatever_the_seed(seed, tried):
    tried(seed)
    assert faults(SerializerContract, lambda: "json", profile(seed)) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_correct_retry_policy_passes_whatever_the_seed(seed, tried):
    tried(seed)
    policy = PolicyUnderTest(name="exponential", good=[{}, {"base": 5, "factor": 1, "jitter": 0}], cap="cap")
    assert faults(RetryPolicyContract, lambda: policy, profile(seed)) == []
