"""Stores of versioned values that break V1, V2 and V5: which writes take effect, and what their outcomes say."""

from __future__ import annotations

from drivetrain.contract import ValueOutcome, evolve, takes_effect
from mutants.backend_base import mutants_of
from mutants.value_table import Table, broken_table

# What a write asks for


@broken_table("V1", "takes any earlier version than the stored one but 0")
class TakesEarlierVersions(Table):
    def grants(self, write, stored):
        return takes_effect(write, stored) or (stored is not None and 0 < (write.if_version or 0) < stored.version)


@broken_table("V1", "writes without a version only over what is stored")
class OnlyUpdates(Table):
    def grants(self, write, stored):
        return takes_effect(write, stored) and (stored is not None or write.if_version == 0 or write.value is None)


@broken_table("V1", "writes without a version only where nothing is stored")
class OnlyInserts(Table):
    def grants(self, write, stored):
        return takes_effect(write, stored) and (stored is None or write.if_version is not None or write.value is None)


@broken_table("V1", "says that a write of the value that is stored already took no effect")
class CountsChangedRows(Table):
    def grants(self, write, stored):
        return takes_effect(write, stored) and (stored is None or stored.value != write.value)


@broken_table("V1", "says that a refused write took effect where its value is the stored one")
class TakesTheSameForWritten(Table):
    def refuse(self, write, stored, now):
        return ValueOutcome(written=stored is not None and stored.value == write.value, current=stored)


@broken_table("V1", "writes what it says it has refused")
class WritesTheRefused(Table):
    def refuse(self, write, stored, now):
        if write.value is not None:
            self.put(write, stored, now)
        return super().refuse(write, stored, now)


# A write that does not take effect changes nothing


@broken_table("V1", "gives the value that refuses a write another version")
class RefusalTouches(Table):
    def refuse(self, write, stored, now):
        if stored is not None:
            self._values[write.key] = evolve(self._values[write.key], version=next(self._versions))
        return super().refuse(write, stored, now)


@broken_table("V1", "removes the value that refuses a write")
class RefusalRemoves(Table):
    def refuse(self, write, stored, now):
        self._remove(write.key)
        return super().refuse(write, stored, now)


# What the outcome says is stored


@broken_table("V1", "shows the wanted value as the one that refused it")
class ShowsTheWanted(Table):
    def refuse(self, write, stored, now):
        if stored is None or write.value is None:
            return super().refuse(write, stored, now)
        return ValueOutcome(written=False, current=evolve(stored, value=write.value))


@broken_table("V1", "shows what refused a write without its version")
class ShowsNoVersion(Table):
    def refuse(self, write, stored, now):
        return ValueOutcome(written=False, current=stored and evolve(stored, version=0))


@broken_table("V1", "shows what refused a write without its end")
class ShowsNoEnd(Table):
    def refuse(self, write, stored, now):
        return ValueOutcome(written=False, current=stored and evolve(stored, expires_in_seconds=None))


@broken_table("V1", "shows the new value with the version before")
class ShowsTheFormerVersion(Table):
    def put(self, write, stored, now):
        outcome = super().put(write, stored, now)
        return evolve(outcome, current=evolve(outcome.current, version=stored.version)) if stored else outcome


@broken_table("V1", "shows what it has removed as what is stored")
class ShowsTheRemoved(Table):
    def remove(self, write, stored):
        super().remove(write, stored)
        return ValueOutcome(written=True, current=stored)


# Compares and writes in two steps


# Removals


@broken_table("V5", "refuses to remove what is not stored with an if_version of 0")
class RefusesToRemoveNothingWithZero(Table):
    def grants(self, write, stored):
        return takes_effect(write, stored) and not (write.value is None and write.if_version == 0)


@broken_table("V5", "says that it has removed a version of what is not stored")
class RemovesNoVersion(Table):
    def grants(self, write, stored):
        return takes_effect(write, stored) or (write.value is None and stored is None)


@broken_table("V5", "stores an empty value when it removes what is not stored")
class StoresAnEmptyValue(Table):
    def remove(self, write, stored):
        outcome = super().remove(write, stored)
        if stored is None:
            self.put(evolve(write, value=b"", expires_in_seconds=None), stored, 0.0)
        return outcome


@broken_table("V5", "keeps a value that is removed until it ends")
class KeepsWhatHasAnEnd(Table):
    def remove(self, write, stored):
        if stored is not None and stored.expires_in_seconds is None:
            self._remove(write.key)
        return ValueOutcome(written=True, current=None)


MUTANTS = mutants_of(globals())
