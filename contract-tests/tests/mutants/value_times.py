"""Stores of versioned values that break V4: values that last too short or too long, or are seen afterwards."""

from __future__ import annotations

import math

from drivetrain.contract import ValueOutcome, evolve, takes_effect
from drivetrain.drivers.memory.backend import MemoryBackend
from drivetrain.drivers.memory.values import _StoredValue
from mutants.backend_base import broken, mutants_of
from mutants.value_table import Expired, Shows, Table, Tabled, broken_table

# How long a value lasts


class Lasts(Table):
    def time(self, seconds):
        """How long a value lasts that was asked for so long."""

    def lasts(self, write, stored):
        seconds = super().lasts(write, stored)
        return None if seconds is None else self.time(seconds)


@broken_table("V4", "rounds the time of a value up to whole seconds, and does not say so")
class RoundsUp(Lasts):
    time = staticmethod(math.ceil)


@broken_table("V4", "ends values five per cent late")
class EndsLate(Lasts):
    def time(self, seconds):
        return 1.05 * seconds


@broken_table("V4", "stores a value for thirty days at most")
class ThirtyDaysAtMost(Lasts):
    def time(self, seconds):
        return min(seconds, 30 * 86_400)


@broken_table("V4", "takes a time of less than a millisecond for none")
class LessThanAMillisecond(Lasts):
    def time(self, seconds):
        return None if seconds < 0.001 else seconds


# A later write replaces the end


@broken_table("V4", "gives a value without an end none when it is written with one")
class NeverEndsTheEndless(Table):
    def lasts(self, write, stored):
        return None if stored and stored.expires_in_seconds is None else write.expires_in_seconds


@broken_table("V4", "adds the new time of a value to what is left of the old one")
class AddsTimes(Table):
    def lasts(self, write, stored):
        left = stored.expires_in_seconds if stored else None
        return write.expires_in_seconds if write.expires_in_seconds is None else write.expires_in_seconds + (left or 0)


class _ByKeyAlone(Table):
    """Keeps in mind when keys end, and not for which version."""

    def __init__(self):
        super().__init__()
        self.planned = []

    def put(self, write, stored, now):
        if write.expires_in_seconds is not None:
            self.planned.append((now + write.expires_in_seconds, write.key))
        return super().put(write, stored, now)

    def drop_expired(self, now, limit=None):
        super().drop_expired(now, limit)
        for key in [key for ends, key in self.planned if ends <= now]:
            self._remove(key)
        self.planned = [(ends, key) for ends, key in self.planned if ends > now]


@broken_table("V4", "drops at the end of a value what was written later under its key")
class DropsWhatCameLater(_ByKeyAlone):
    pass


@broken_table("V4", "drops at the end of a removed value what was written later under its key")
class DropsWhatCameAfterARemoval(_ByKeyAlone):
    def put(self, write, stored, now):
        if stored is not None:
            self.planned = [(ends, key) for ends, key in self.planned if key != write.key]
        return super().put(write, stored, now)


@broken("V4", "prolongs a value that is read")
class ReadingProlongs(Tabled):
    class table(Table):
        def __init__(self):
            super().__init__()
            self.asked = {}

        def put(self, write, stored, now):
            self.asked[write.key] = write.expires_in_seconds
            return super().put(write, stored, now)

    def read_values(self, keys):
        found = super().read_values(keys)
        with self._store.condition:
            now, table = self._clock.monotonic(), self._store.values
            for key in keys:
                stored = table._values.get(key)
                if stored is not None and stored.ends is not None:
                    table._remove(key)
                    ends = now + table.asked[key]
                    table._values[key] = _StoredValue(stored.value, stored.version, ends)
                    table._ends.put((ends, key), key)
        return found


# Expired values are gone for every method


@broken_table("V4", "writes over an expired value by its version")
class WritesOverExpired(Expired):
    def grants(self, write, stored):
        found = self._values.get(write.key)
        return takes_effect(write, stored) or (found is not None and found.version == write.if_version)


@broken_table("V4", "shows the expired value when a write names its version")
class ShowsExpired(Expired):
    def refuse(self, write, stored, now):
        return ValueOutcome(written=False, current=self.seen(write.key, now))


# What is left


@broken("V4", "tells the seconds that a value has lasted, and not what is left of them")
class CountsUp(Tabled, Shows):
    class table(Table):
        def __init__(self):
            super().__init__()
            self.asked = {}

        def put(self, write, stored, now):
            outcome = super().put(write, stored, now)
            self.asked[outcome.current.version] = write.expires_in_seconds
            return outcome

    def shown(self, value):
        left = value.expires_in_seconds
        return value if left is None else evolve(value, expires_in_seconds=self.asked(value) - left)

    def asked(self, value):
        return self._store.values.asked[value.version]


@broken("V4", "tells whole seconds of what is left")
class WholeSecondsLeft(Shows):
    def shown(self, value):
        left = value.expires_in_seconds
        return value if left is None else evolve(value, expires_in_seconds=float(math.floor(left)))


@broken("V4", "tells no end of values that it reads")
class ReadsNoEnd(MemoryBackend):
    def read_values(self, keys):
        return [value and evolve(value, expires_in_seconds=None) for value in super().read_values(keys)]


@broken("V4", "tells no end of values that it lists")
class ListsNoEnd(MemoryBackend):
    def list_values(self, prefix, *, limit, cursor=None):
        page = super().list_values(prefix, limit=limit, cursor=cursor)
        return evolve(page, values=[(key, evolve(value, expires_in_seconds=None)) for key, value in page.values])


MUTANTS = mutants_of(globals())
