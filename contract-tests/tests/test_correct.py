"""No check finds fault with a correct driver, whatever it declares."""

from __future__ import annotations

import math
import random
import time

import pytest

from drivetrain.contract import Hold, evolve
from drivetrain.drivers.memory.broker import MemoryBroker
from drivetrain_contract_tests import BrokerContract, Service
from mutants.broker_base import local
from mutants.broker_publishing import Limited
from mutants.mutant import catchers
from mutants.remote import Remote

_TICK_SECONDS = 0.5


def up(seconds):
    return math.ceil(seconds / _TICK_SECONDS) * _TICK_SECONDS if math.isfinite(seconds) else seconds


class Coarse(MemoryBroker):
    """Declares as little as a broker can and does no more: a service that counts in ticks, and sizes late."""

    capabilities = evolve(
        MemoryBroker.capabilities,
        delay_resolution_seconds=_TICK_SECONDS,
        longest_delay_seconds=900.0,
        longest_hold_seconds=40_000.0,
        priority_levels=1,
        ordered=False,
        counts_deliveries=False,
        lists_queues=False,
        peeks=False,
    )

    def publish(self, messages):
        now = time.time()
        super().publish([each if each.eta is None else self._rounded(each, now) for each in messages])

    def _rounded(self, message, now):
        return evolve(message, eta=now + up(message.eta - now))

    def release(self, deliveries, *, delay_seconds=0.0):
        super().release(deliveries, delay_seconds=up(delay_seconds))

    def receive(self, queues, *, hold_seconds, **how):
        found = super().receive(queues, hold_seconds=up(hold_seconds), **how)
        mixed = [evolve(each, delivery_count=None) for queue in queues for each in found if each.message.queue == queue]
        return random.sample(mixed, len(mixed)) if len(queues) == 1 else mixed

    def extend(self, deliveries, *, hold_seconds):
        return super().extend(deliveries, hold_seconds=up(hold_seconds))

    def sizes(self, queues):
        told = {name: evolve(sizes, held=None) for name, sizes in super().sizes(queues).items()}
        before, self._told = self.__dict__.get("_told", {}), told
        return {name: before.get(name, sizes) for name, sizes in told.items()}

    def queues(self):
        return []


class Tethered(MemoryBroker):
    """Holds messages for as long as the connection lives, and tells no sizes but that of the dead."""

    capabilities = evolve(MemoryBroker.capabilities, hold=Hold.CONNECTION, counts_deliveries=False)

    def receive(self, queues, *, hold_seconds, **how):
        found = super().receive(queues, hold_seconds=1e9, **how)
        self.__dict__.setdefault("mine", []).extend(found)
        return [evolve(each, delivery_count=None) for each in found]

    def extend(self, deliveries, *, hold_seconds):
        return super().extend(deliveries, hold_seconds=1e9)

    def sizes(self, queues):
        return {name: evolve(sizes, delayed=None, held=None) for name, sizes in super().sizes(queues).items()}

    def close(self):
        super().close()
        super().release(self.__dict__.pop("mine", []))


@pytest.mark.slow
@pytest.mark.parametrize(
    "service",
    [
        pytest.param(Service(), id="memory"),
        pytest.param(local(Limited), id="with a largest message"),
        pytest.param(local(Coarse), id="of few capabilities"),
        pytest.param(local(Tethered), id="that holds by connection"),
        pytest.param(Remote().service(), id="with a service that restarts"),
    ],
)
def test_a_correct_broker_passes_all_checks(service: Service):
    assert catchers(BrokerContract, service) == {}
