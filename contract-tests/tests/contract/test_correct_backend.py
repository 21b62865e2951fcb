"""No check fails on a correct backend: the one in memory, the same in a service that stops, and a lesser one."""

import math

import pytest

from drivetrain.contract import Durability, TaskPage, TaskReach, evolve
from drivetrain_contract_tests import BackendContract, LockContract, ValueContract
from mutants.backend_base import Host, Remote, service_of
from mutants.backend_tasks import Limited
from mutants.mutant import PROFILE
from passing import faults


def whole(seconds):
    return math.ceil(seconds) if seconds is not None and seconds < 1e9 else seconds


class Cache(Limited):
    """Like a cache that counts whole seconds, lists nothing and tells nobody."""

    capabilities = evolve(
        Limited.capabilities,
        durability=Durability.CACHE,
        notifies=False,
        lists_tasks=TaskReach.NONE,
        lists_newest_first=False,
        expiry_resolution_seconds=1.0,
    )

    def _record(self, transition, now):
        return super()._record(
            evolve(transition, retention=whole(transition.retention), lease=whole(transition.lease)), now
        )

    def _renew(self, lease, now):
        return super()._renew(evolve(lease, seconds=whole(lease.seconds)), now)

    def shorten_retention(self, task_ids, *, retention_seconds):
        super().shorten_retention(task_ids, retention_seconds=whole(retention_seconds))

    def write_values(self, writes):
        return super().write_values(
            [evolve(each, expires_in_seconds=whole(each.expires_in_seconds)) for each in writes]
        )

    def list_tasks(self, states, *, limit, cursor=None):
        return TaskPage()

    def wait(self, task_ids, *, timeout_seconds):
        raise AssertionError("called though it is not declared")


class Small(Limited):
    """Keeps no value that is larger than 500 bytes."""

    limit = 500
    capabilities = evolve(Limited.capabilities, largest_value_bytes=limit)


SERVICES = {
    "service": lambda: Host(Remote).service(),
    "cache": lambda: service_of(Cache),
    "small": lambda: service_of(Small),
}


@pytest.mark.parametrize("contract", [BackendContract, ValueContract, LockContract])
@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_no_check_catches_a_correct_backend(contract, service):
    assert faults(contract, service, PROFILE) == []
