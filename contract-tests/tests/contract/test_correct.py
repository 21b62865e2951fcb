"""No check finds fault with a correct driver, whatever it declares."""

from __future__ import annotations

import math
import random
import time

import pytest

from drivetrain.contract import Hold, NotSupported, QueueSection, evolve
from drivetrain.drivers.memory.broker import MemoryBroker
from mutants.broker_base import local
from mutants.broker_publishing import Limited
from mutants.mutant import PROFILE
from mutants.remote import Remote
from passing import BusyBrokerContract, faults

#: Its own: Hypothesis watches the global one, and other checks run at the same time.
_RANDOM = random.Random(0)
_TICK_SECONDS = 0.5
#: How much sooner a hold ends for its consumer than for its service.
_MARGIN_SECONDS = 0.1


def up(seconds):
    return math.ceil(seconds / _TICK_SECONDS) * _TICK_SECONDS if math.isfinite(seconds) else seconds


class Coarse(MemoryBroker):
    """Declares as little as a broker can and does no more: a service that counts in ticks, and sizes about right.

    The end of a hold is final for it, as its consumer sees it: its service would take what comes too late.
    """

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
        exact_sizes=False,
        settles_late=False,
        fair_keys=False,
    )

    def __init__(self, *told, **more):
        super().__init__(*told, **more)
        # No cached_property: Python 3.11 computes one under a lock, which a child that is forked meanwhile waits for.
        self._ends = {}

    def publish(self, messages):
        now = time.time()
        super().publish([each if each.eta is None else self._rounded(each, now) for each in messages])

    def _rounded(self, message, now):
        return evolve(message, eta=now + up(message.eta - now))

    def release(self, deliveries, *, delay_seconds=0.0):
        super().release(self._in_time(deliveries), delay_seconds=up(delay_seconds))

    def acknowledge(self, deliveries):
        super().acknowledge(self._in_time(deliveries))

    def dead_letter(self, letters):
        super().dead_letter([(each, reason) for each, reason in letters if self._in_time([each])])

    def _in_time(self, deliveries):
        return [each for each in deliveries if self._ends.get(each.receipt, 0.0) > time.monotonic()]

    def receive(self, queues, *, hold_seconds, **how):
        found = super().receive(queues, hold_seconds=up(hold_seconds), **how)
        end = time.monotonic() + up(hold_seconds) - _MARGIN_SECONDS
        self._ends.update({each.receipt: end for each in found})
        mixed = [evolve(each, delivery_count=None) for queue in queues for each in found if each.message.queue == queue]
        return _RANDOM.sample(mixed, len(mixed)) if len(queues) == 1 else mixed

    def extend(self, deliveries, *, hold_seconds):
        end = time.monotonic() + up(hold_seconds) - _MARGIN_SECONDS
        told = [
            bool(self._in_time([each]) and super(Coarse, self).extend([each], hold_seconds=up(hold_seconds))[0])
            for each in deliveries
        ]
        self._ends.update({each.receipt: end for each, held in zip(deliveries, told, strict=True) if held})
        return told

    def sizes(self, queues):
        return {
            name: evolve(
                sizes, ready=max(0, sizes.ready + _RANDOM.choice((-1, 0, 1))) if sizes.ready else 0, in_flight=None
            )
            for name, sizes in super().sizes(queues).items()
        }

    def purge(self, queue, place):
        if place is QueueSection.DELAYED:
            raise NotSupported("what is delayed cannot be seen, and so not be purged")
        return super().purge(queue, place) and 1

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
        return {name: evolve(sizes, delayed=None, in_flight=None) for name, sizes in super().sizes(queues).items()}

    def close(self):
        super().close()
        super().release(self.__dict__.pop("mine", []))


@pytest.mark.parametrize(
    "service",
    [
        pytest.param(lambda: local(Limited), id="with a largest message"),
        pytest.param(lambda: local(Coarse), id="of few capabilities"),
        pytest.param(lambda: local(Tethered), id="that holds by connection"),
        pytest.param(lambda: Remote().service(), id="with a service that restarts"),
    ],
)
def test_a_correct_broker_passes_all_checks(service):
    assert faults(BusyBrokerContract, service, PROFILE) == []
