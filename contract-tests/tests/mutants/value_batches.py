"""Stores of versioned values that break V6 and V7: the order of answers, and what the entries of a batch see."""

from __future__ import annotations

from collections import Counter

from drivetrain.contract import ServiceError, ValueOutcome, evolve
from drivetrain.drivers.memory.backend import MemoryBackend
from mutants.backend_base import broken, mutants_of
from mutants.value_table import Shows

# Reads


@broken("V6", "answers None the second time that a key is asked for")
class NoneTheSecondTime(MemoryBackend):
    def read_values(self, keys):
        found = dict(zip(keys, super().read_values(keys), strict=True))
        return [found.pop(key, None) for key in keys]


@broken("V6", "knows no empty value")
class NoEmptyValue(MemoryBackend):
    def read_values(self, keys):
        return [value if value and value.value else None for value in super().read_values(keys)]


class Changes(Shows):
    def shown(self, value):
        return evolve(value, value=self.changed(value.value))

    def changed(self, value):
        """What it makes of the bytes of a value."""


@broken("V6", "reads values as text")
class AsText(Changes):
    def changed(self, value):
        return value.decode("utf-8", "replace").encode()


@broken("V6", "cuts values at a zero byte")
class CutsAtZero(Changes):
    def changed(self, value):
        return value.split(b"\0")[0]


@broken("V6", "reads values as views of a buffer")
class AsViews(Changes):
    def changed(self, value):
        return memoryview(value)


@broken("V6", "takes values of digits for numbers")
class TakesNumbers(Changes):
    def changed(self, value):
        return str(int(value)).encode() if value.isdigit() else value


@broken("V6", "changes the ends of lines in values")
class ChangesLines(Changes):
    def changed(self, value):
        return value.replace(b"\r\n", b"\n")


@broken("V6", "fails when it is asked for no values")
class FailsOnNoValues(MemoryBackend):
    def read_values(self, keys):
        if not keys:
            raise ServiceError("wrong number of arguments")
        return super().read_values(keys)


# Batches


@broken("V7", "fails on an empty batch")
class FailsOnNothing(MemoryBackend):
    def write_values(self, writes):
        if not writes:
            raise ServiceError("a batch has at least one entry")
        return super().write_values(writes)


@broken("V7", "writes and answers for the first 4,096 of a batch")
class First4096(MemoryBackend):
    def write_values(self, writes):
        return super().write_values(writes[:4096])


@broken("V7", "writes the first 1,000 of a batch and confirms all")
class ConfirmsAll(MemoryBackend):
    def write_values(self, writes):
        confirmed = [ValueOutcome(written=True, current=None) for _ in writes[1000:]]
        return [*super().write_values(writes[:1000]), *confirmed]


@broken("V7", "writes nothing of a batch with an entry that is refused")
class AllOrNothing(MemoryBackend):
    def write_values(self, writes):
        with self._store.condition:
            before = self.read_values([write.key for write in writes])
            seen = dict(zip([write.key for write in writes], before, strict=True))
            if len(seen) < len(writes) or all(self._grants(write, seen[write.key]) for write in writes):
                return super().write_values(writes)
            return [ValueOutcome(written=False, current=stored) for stored in before]

    def _grants(self, write, stored):
        return write.if_version in {None, 0 if stored is None else stored.version}


@broken("V7", "stops at the first entry that is refused")
class StopsAtARefusal(MemoryBackend):
    def write_values(self, writes):
        outcomes = []
        with self._store.condition:
            for write in writes:
                refused = outcomes and not outcomes[-1].written
                if refused:
                    outcomes.append(ValueOutcome(written=False, current=self.read_values([write.key])[0]))
                else:
                    outcomes += super().write_values([write])
        return outcomes


@broken("V7", "writes only the first entry of each key")
class FirstOfEachKey(MemoryBackend):
    def write_values(self, writes):
        first = {write.key: write for write in reversed(writes)}
        outcomes = dict(zip(first, super().write_values(list(first.values())), strict=True))
        return [outcomes[write.key] for write in writes]


class InGroups(MemoryBackend):
    """Sends the entries of a batch by kind."""

    def goes_first(self, write):
        """Whether an entry is of the kind that is sent first."""

    def write_values(self, writes):
        numbers = sorted(range(len(writes)), key=lambda number: not self.goes_first(writes[number]))
        with self._store.condition:
            outcomes = super().write_values([writes[number] for number in numbers])
        return [outcome for _, outcome in sorted(zip(numbers, outcomes, strict=True), key=lambda one: one[0])]


@broken("V7", "removes before it writes")
class RemovesFirst(InGroups):
    def goes_first(self, write):
        return write.value is None


@broken("V7", "writes before it removes")
class WritesFirst(InGroups):
    def goes_first(self, write):
        return write.value is not None


@broken("V7", "writes what has no if_version first")
class BlindFirst(InGroups):
    def goes_first(self, write):
        return write.if_version is None


@broken("V7", "shows what is stored after the batch, and not after the entry")
class ShowsTheEndOfTheBatch(MemoryBackend):
    def write_values(self, writes):
        with self._store.condition:
            outcomes = super().write_values(writes)
            now = self.read_values([write.key for write in writes])
        return [evolve(outcome, current=stored) for outcome, stored in zip(outcomes, now, strict=True)]


@broken("V7", "gives all entries of a batch the end of the last")
class EndOfTheLast(MemoryBackend):
    def write_values(self, writes):
        last = writes[-1].expires_in_seconds if writes else None
        return super().write_values([evolve(write, expires_in_seconds=last) for write in writes])


@broken("V7", "fails on a batch with the same key twice")
class FailsOnARepeatedKey(MemoryBackend):
    def write_values(self, writes):
        if any(times > 1 for times in Counter(write.key for write in writes).values()):
            raise ServiceError("command cannot affect row a second time")
        return super().write_values(writes)


MUTANTS = mutants_of(globals())
