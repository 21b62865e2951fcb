"""Stores of versioned values that break V10, V11, R33 and R37: restarts, sweeps, counts and threads."""

from __future__ import annotations

from drivetrain.contract import ServiceUnavailable, evolve
from drivetrain.drivers.memory.backend import MemoryBackend
from mutants.backend_base import Remote, broken, mutants_of
from mutants.backend_races import LocksRows
from mutants.backend_tasks import pause

# Restarts


def _replace(store, change):
    """Change each stored value; None drops it."""
    table = store.values
    for key, stored in list(table._values.items()):
        table._remove(key)
        new = change(stored)
        if new is not None:
            table._values[key] = new
            if new.ends is not None:
                table._ends.put((new.ends, key), key)


@broken("V10", "loses values that have an end")
class LosesWhatEnds(Remote):
    @staticmethod
    def crash(store):
        _replace(store, lambda stored: stored if stored.ends is None else None)


@broken("V10", "loses the value that was written last")
class LosesTheLast(Remote):
    @staticmethod
    def crash(store):
        last = max((stored.version for stored in store.values._values.values()), default=0)
        _replace(store, lambda stored: stored if stored.version != last else None)


@broken("V10", "gives values five more seconds after a restart")
class PutsEndsOff(Remote):
    @staticmethod
    def crash(store):
        _replace(store, lambda stored: stored if stored.ends is None else evolve(stored, ends=stored.ends + 5.0))


# Sweeps and counts


@broken("V11", "sweeps values that have no end")
class SweepsTheEndless(MemoryBackend):
    def sweep(self):
        with self._store.condition:
            _replace(self._store, lambda stored: None if stored.ends is None else stored)
        return super().sweep()


@broken("V11", "sweeps values that end within a minute")
class SweepsAhead(MemoryBackend):
    def sweep(self):
        with self._store.condition:
            soon = self._clock.monotonic() + 60.0
            _replace(self._store, lambda stored: stored if stored.ends is None or stored.ends > soon else None)
        return super().sweep()


@broken("V11", "sweeps empty values")
class SweepsEmpty(MemoryBackend):
    def sweep(self):
        with self._store.condition:
            _replace(self._store, lambda stored: stored if stored.value else None)
        return super().sweep()


@broken("V11", "counts no values")
class CountsNoValues(MemoryBackend):
    def counts(self):
        return {name: number for name, number in super().counts().items() if name != "values"}


@broken("V11", "counts 1,000 values at most")
class CountsAThousand(MemoryBackend):
    def counts(self):
        counts = super().counts()
        return {**counts, "values": min(counts["values"], 1000)}


@broken("V11", "counts only values that have an end")
class CountsWhatEnds(MemoryBackend):
    def counts(self):
        with self._store.condition:
            ending = [stored for stored in self._store.values._values.values() if stored.ends is not None]
            return {**super().counts(), "values": len(ending)}


# Several threads at once


@broken("R33", "locks the keys of a batch of values in its order")
class WritesInOrder(LocksRows):
    def write_values(self, writes):
        with self._locked([write.key for write in writes]):
            return super().write_values(writes)


@broken("R33", "mixes up the values that threads read")
class MixesUpValues(MemoryBackend):
    def read_values(self, keys):
        self.answer = super().read_values(keys)
        pause(0.001)
        return self.answer


# What is said while the service is away


@broken("R37", "has no values while its service is away")
class NoValuesWhileAway(Remote):
    def read_values(self, keys):
        try:
            return super().read_values(keys)
        except ServiceUnavailable:
            return [None] * len(keys)


MUTANTS = mutants_of(globals())
