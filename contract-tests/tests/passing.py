"""Running all checks of a contract on a correct driver, side by side, for they mostly wait."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from drivetrain_contract_tests import BrokerContract, Profile, RetryPolicyContract, SerializerContract
from drivetrain_contract_tests.contract import Contract

__all__ = ["BusyBrokerContract", "faults"]

#: How many checks run at once, which makes the machine busy too. Not those of retry policies and serializers, which
#: do not wait. Besides, the latter nest values up to the limit on recursion: Hypothesis changes that for all threads,
#: and Python 3.11 ends when a thread is beyond it.
_TOGETHER = 6
#: This one measures what the whole process uses of the processor.
_ALONE = "test_waiting_uses_no_processor"


class BusyBrokerContract(BrokerContract):
    """The same checks, on a machine that is busy with others of them."""

    prompt_seconds = 3.0


def faults(contract: type[Contract], service: Callable[[], Any], profile: Profile) -> list[str]:
    """The checks that fail, and with what.

    Args:
        contract: whose checks.
        service: what they are about; called for each of them, since some stop it.
        profile: how much is tried.
    """

    def run(name: str) -> list[str]:
        try:
            contract.run_check(name, service(), profile)
        except pytest.skip.Exception:
            return []
        except (Exception, pytest.fail.Exception) as error:
            return [f"{name}: {type(error).__name__}: {error}"]
        return []

    names = list(contract.checks())
    # The seed is set around them all: each sets it for itself, and would take it from the others when it ends.
    together = 1 if issubclass(contract, (SerializerContract, RetryPolicyContract)) else _TOGETHER
    with profile.seeded(), ThreadPoolExecutor(together) as threads:
        told = list(threads.map(run, [name for name in names if name != _ALONE]))
        told += [run(name) for name in names if name == _ALONE]
    return [fault for found in told for fault in found]
