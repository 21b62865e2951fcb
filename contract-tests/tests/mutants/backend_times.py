"""Backends whose leases, locks and waits last too short or too long, or are not woken (R4 to R34)."""

from __future__ import annotations

import math
import threading

from drivetrain.contract import State, StateChange, SystemClock, apply, evolve
from drivetrain.drivers.memory.backend import MemoryBackend
from mutants.backend_base import Ruled, broken, mutants_of


def in_32_bits(seconds, unit=0.001):
    """What a signed number of 32 bits makes of it."""
    units = round(seconds / unit) & 0xFFFFFFFF
    return (units - 2**32 if units >= 2**31 else units) * unit


class Leases(Ruled):
    def lasts(self, seconds):
        """How long a lease lasts that was asked for so long."""

    def _record(self, transition, now):
        return super()._record(
            evolve(transition, lease=None if transition.lease is None else self.lasts(transition.lease)), now
        )


@broken("R4", "keeps leases in 32 bits of milliseconds")
class LeasesIn32Bits(Leases):
    lasts = staticmethod(in_32_bits)


@broken("R4", "ends leases five per cent early")
class ShortLeases(Leases):
    def lasts(self, seconds):
        return 0.95 * seconds


@broken("R4", "ends leases a fifth of a second early")
class HastyLeases(Leases):
    def lasts(self, seconds):
        return max(0.0, seconds - 0.2)


@broken("R4", "keeps no lease for longer than an hour")
class HourLeases(Leases):
    def lasts(self, seconds):
        return min(seconds, 3_600.0)


@broken("R4", "takes a lease of a fraction of a second for none")
class FractionsOfLeases(Leases):
    def lasts(self, seconds):
        return seconds if seconds >= 1 or seconds == 0 else 1e9


class Renewals(MemoryBackend):
    def lasts(self, seconds):
        """How long a renewal lasts that was asked for so long."""

    def renew(self, leases):
        return super().renew([evolve(lease, seconds=self.lasts(lease.seconds)) for lease in leases])


@broken("R12", "renews in 32 bits of milliseconds")
class RenewalsIn32Bits(Renewals):
    lasts = staticmethod(in_32_bits)


@broken("R12", "renews for five per cent less")
class ShortRenewals(Renewals):
    def lasts(self, seconds):
        return 0.95 * seconds


@broken("R12", "renews for whole seconds")
class WholeRenewals(Renewals):
    def lasts(self, seconds):
        return float(math.ceil(seconds))


@broken("R12", "does not shorten a lease by a renewal")
class NeverShortens(MemoryBackend):
    def _renew(self, lease, now):
        found = self._store.find(lease.task_id, now)
        left = (found.leased_until or now) - now if found is not None else 0.0
        return super()._renew(evolve(lease, seconds=max(lease.seconds, left)), now)


# Clocks: a service with one of its own, that believes its clients all the same


class Served(MemoryBackend):
    """Counts by the clock of the service, whatever that of its client says."""

    def __init__(self, name, clock):
        super().__init__(name, SystemClock())
        self._of_client = clock


@broken("R4", "counts leases by the clock of the client, and all else by its own")
class LeasesByTheClient(Served):
    def record(self, transitions):
        ahead = self._of_client.now() - self._clock.now()
        return super().record([self._shifted(transition, ahead) for transition in transitions])

    def _shifted(self, transition, ahead):
        return transition if transition.lease is None else evolve(transition, lease=max(0.0, transition.lease + ahead))


@broken("R4", "looks at the end of a lease by the clock of the client")
class EndsByTheClient(Served):
    def _record(self, transition, now):
        before = self._store.find(transition.task_id, now)
        late = before is not None and before.leased_until is not None and before.leased_until <= self._of_client.now()
        if late and transition.state is State.STARTED:
            self._store.put(evolve(before, leased_until=now))
        return super()._record(transition, now)


@broken("R12", "renews by the clock of the client, and counts all else by its own")
class RenewsByTheClient(Served):
    def renew(self, leases):
        ahead = self._of_client.now() - self._clock.now()
        return super().renew([evolve(lease, seconds=max(0.0, lease.seconds + ahead)) for lease in leases])


# Times that are told


@broken("R11", "keeps times in 32 bits of seconds")
class TimesIn32Bits(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        return after and evolve(
            after,
            entries={state: StateChange(min(each.at, 2**31 - 1), each.worker) for state, each in after.entries.items()},
        )


@broken("R11", "keeps times in milliseconds")
class TimesInMilliseconds(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        return after and evolve(
            after, entries={state: StateChange(round(each.at, 3), each.worker) for state, each in after.entries.items()}
        )


# Waits


class Waits(MemoryBackend):
    def lasts(self, seconds):
        """How long a wait lasts that was asked for so long."""

    def wait(self, task_ids, *, timeout_seconds):
        return super().wait(task_ids, timeout_seconds=self.lasts(timeout_seconds))


@broken("R17", "rounds waits up to whole seconds")
class WaitsForWholeSeconds(Waits):
    def lasts(self, seconds):
        return math.ceil(seconds)


@broken("R17", "takes a wait that rounds to no milliseconds for one without end")
class WaitsWithoutEnd(Waits):
    def lasts(self, seconds):
        return 60.0 if 0 < seconds < 0.001 else seconds


@broken("R17", "waits for a second at least")
class WaitsForASecond(Waits):
    def lasts(self, seconds):
        return max(1.0, seconds) if seconds else seconds


@broken("R15", "wakes nobody when a record is gone at once")
class EndsInSilence(MemoryBackend):
    def record(self, transitions):
        with self._store.condition:
            now = self._clock.now()
            outcomes = [self._record(transition, now) for transition in transitions]
            if any(transition.state.terminal and transition.retention != 0.0 for transition in transitions):
                self._store.condition.notify_all()
            return outcomes


@broken("R15", "is woken by the first of the tasks that it waits for only")
class WokenByTheFirst(MemoryBackend):
    def wait(self, task_ids, *, timeout_seconds):
        ended = super().wait(task_ids, timeout_seconds=0.0)
        return ended or super().wait(list(task_ids)[:1], timeout_seconds=timeout_seconds)


@broken("R15", "is not woken by cancellations")
class CancelsInSilence(MemoryBackend):
    def record(self, transitions):
        with self._store.condition:
            now = self._clock.now()
            outcomes = [self._record(transition, now) for transition in transitions]
            if any(transition.state.terminal and transition.state is not State.CANCELLED for transition in transitions):
                self._store.condition.notify_all()
            return outcomes


@broken("R15", "hears nothing when it waits for the second time")
class HearsOnce(MemoryBackend):
    def wait(self, task_ids, *, timeout_seconds):
        heard = self.__dict__.setdefault("heard", set())
        if set(task_ids) <= heard and not self._ended(task_ids):
            threading.Event().wait(timeout_seconds)
            return self._ended(task_ids)
        heard.update(task_ids)
        return super().wait(task_ids, timeout_seconds=timeout_seconds)


@broken("R34", "ends the waits of other objects when one is closed")
class ClosesOthers(MemoryBackend):
    def wait(self, task_ids, *, timeout_seconds):
        with self._store.condition:
            if not self._ended(task_ids) and timeout_seconds:
                self.__dict__.setdefault("_", None)
        return self._wait(task_ids, timeout_seconds)

    def _wait(self, task_ids, seconds):
        before = _closings.get(id(self._store), 0)
        deadline = self._clock.monotonic() + seconds
        with self._store.condition:
            while not (ended := self._ended(task_ids)):
                left = deadline - self._clock.monotonic()
                if left <= 0 or _closings.get(id(self._store), 0) != before:
                    return {}
                self._store.condition.wait(left)
            return ended

    def close(self):
        _closings[id(self._store)] = _closings.get(id(self._store), 0) + 1
        super().close()


_closings: dict = {}


MUTANTS = mutants_of(globals())
