"""Backends that break V1 to V7, V10 and V11: writes, versions, ends, batches and upkeep of versioned values."""

from __future__ import annotations

import itertools
import math
import time

from drivetrain.contract import SystemClock, ValueOutcome, VersionedValue, evolve, takes_effect
from drivetrain.drivers.memory.backend import MemoryBackend
from drivetrain.drivers.memory.values import ValueTable
from mutants.backend_base import Remote, broken, mutants_of
from mutants.backend_tasks import pause
from mutants.backend_times import in_32_bits
from mutants.value_base import Lasting, Numbered, Writes
from mutants.value_table import Expired, Tabled

# V1: which writes take effect


@broken("V1", "writes whatever the version is")
class IgnoresVersions(Writes):
    def write(self, write, now):
        return super().write(evolve(write, if_version=None), now)


@broken("V1", "takes version 0 for any version")
class TakesZeroForAny(Writes):
    def write(self, write, now):
        return super().write(evolve(write, if_version=write.if_version or None), now)


@broken("V1", "writes on every version that is not older than the one that is stored")
class TakesLaterVersions(Writes):
    def write(self, write, now):
        stored = self.stored(write.key, now)
        if stored is not None and write.if_version is not None and write.if_version > stored.version:
            write = evolve(write, if_version=stored.version)
        return super().write(write, now)


@broken("V1", "writes on any version where nothing is stored")
class WritesOnNothing(Writes):
    def write(self, write, now):
        if write.value is not None and self.stored(write.key, now) is None:
            write = evolve(write, if_version=None)
        return super().write(write, now)


@broken("V1", "compares values and not versions")
class ComparesValues(Writes):
    seen: dict = {}

    def write(self, write, now):
        stored = self.stored(write.key, now)
        if stored is not None and self.seen.get((id(self._store), write.key, write.if_version)) == stored.value:
            write = evolve(write, if_version=stored.version)
        outcome = super().write(write, now)
        if outcome.current is not None:
            self.seen[id(self._store), write.key, outcome.current.version] = outcome.current.value
        return outcome


@broken("V1", "says that a write took effect that was refused")
class SaysWritten(Writes):
    def write(self, write, now):
        return evolve(super().write(write, now), written=True)


@broken("V1", "answers a refused write with nothing")
class TellsNothing(Writes):
    def write(self, write, now):
        outcome = super().write(write, now)
        return outcome if outcome.written else ValueOutcome(written=False, current=None)


@broken("V1", "answers with the value before")
class TellsTheValueBefore(Writes):
    def write(self, write, now):
        before = self.stored(write.key, now)
        return evolve(super().write(write, now), current=before)


@broken("V1", "prolongs the value that refuses a write")
class ProlongsWhenRefused(Writes):
    def write(self, write, now):
        outcome = super().write(write, now)
        if not outcome.written and outcome.current is not None and write.expires_in_seconds is not None:
            again = evolve(write, value=outcome.current.value, if_version=None)
            self._store.values._versions = itertools.chain([outcome.current.version], self._store.values._versions)
            super().write(again, now)
        return outcome


@broken("V1", "gives a refused write a version")
class CountsRefusals(Writes):
    def write(self, write, now):
        outcome = super().write(write, now)
        if not outcome.written and outcome.current is not None:
            again = evolve(write, value=outcome.current.value, if_version=None, expires_in_seconds=None)
            super().write(again, now)
        return outcome


# V2: what happens at one instant


class InTwoSteps(MemoryBackend):
    """Decides by what it has read, and writes in another step."""

    def write_values(self, writes):
        return [self.write(each) for each in writes]

    def is_unsafe(self, write, stored):
        """Whether this write is made in two steps."""
        return True

    def write(self, write):
        with self._store.condition:
            now = self._clock.monotonic()
            had = write.key in self._store.values._values
            stored = self._store.values.read(write.key, now)
            if not self.is_unsafe(write, stored, had):
                return self._store.values.write(write, now)
        if not takes_effect(write, stored):
            return ValueOutcome(written=False, current=stored)
        with self._store.condition:
            return self._store.values.write(evolve(write, if_version=None), self._clock.monotonic())


@broken("V2", "reads and writes in two steps")
class ReadsAndWrites(InTwoSteps):
    def is_unsafe(self, write, stored, had):
        return True


@broken("V2", "inserts under a unique key, and updates in two steps")
class UpdatesInTwoSteps(InTwoSteps):
    def is_unsafe(self, write, stored, had):
        return stored is not None


@broken("V2", "updates with a condition, and inserts in two steps")
class InsertsInTwoSteps(InTwoSteps):
    def is_unsafe(self, write, stored, had):
        return stored is None


@broken("V2", "replaces a value that has ended in two steps")
class ReplacesInTwoSteps(Tabled, InTwoSteps):
    table = Expired

    def is_unsafe(self, write, stored, had):
        return had and stored is None


@broken("V2", "removes in two steps")
class RemovesInTwoSteps(InTwoSteps):
    def is_unsafe(self, write, stored, had):
        return write.value is None


@broken("V2", "locks its own object only")
class LocksItself(Writes):
    def write_values(self, writes):
        found = [(each, self.read_values([each.key])[0]) for each in writes]
        pause(0.000_3)
        return super().write_values(
            [evolve(each, if_version=None if takes_effect(each, stored) else -1) for each, stored in found]
        )


@broken("V2", "looks at the end of a value that a write prolongs in an earlier step")
class ProlongsTheEnded(MemoryBackend):
    def write_values(self, writes):
        return [self.write(each) for each in writes]

    def write(self, write):
        (stored,) = self.read_values([write.key])
        if stored is None or not write.if_version or not takes_effect(write, stored):
            return super().write_values([write])[0]
        return super().write_values([evolve(write, if_version=None)])[0]


# V3: which versions are given


@broken("V3", "counts the versions of each key from one after a removal")
class BeginsAfterRemoval(Numbered):
    def version(self, key, now):
        stored = self.stored(key, now)
        return 1 if stored is None else stored.version + 1


@broken("V3", "counts from one after a sweep")
class BeginsAfterSweep(MemoryBackend):
    def sweep(self):
        self._store.values._versions = itertools.count(1)
        return super().sweep()


@broken("V3", "counts from one when nothing is stored any more")
class BeginsWhenEmpty(Writes):
    def write(self, write, now):
        if not len(self._store.values):
            self._store.values._versions = itertools.count(1)
        return super().write(write, now)


@broken("V3", "counts versions in each object")
class CountsInEachObject(Numbered):
    def __init__(self, name, clock):
        super().__init__(name, clock)
        self.versions = itertools.count(1)

    def version(self, key, now):
        return next(self.versions)


@broken("V3", "gives the time in milliseconds as a version")
class GivesTheTime(Numbered):
    def version(self, key, now):
        return int(time.time() * 1_000)


@broken("V3", "begins to count at zero")
class BeginsAtZero(Numbered):
    last: dict = {}

    def version(self, key, now):
        self.last[id(self._store)] = version = self.last.get(id(self._store), -1) + 1
        return version


@broken("V3", "gives the time in nanoseconds as a version")
class GivesNanoseconds(Numbered):
    def version(self, key, now):
        return time.time_ns()


@broken("V3", "keeps the version of a value that is written again unchanged")
class KeepsTheVersion(Numbered):
    def version(self, key, now):
        stored = self.stored(key, now)
        return next(_versions) if stored is None else stored.version


_versions = itertools.count(1)


@broken("V3", "reads the last version and adds one in two steps")
class CountsInTwoSteps(MemoryBackend):
    last: dict = {}

    def write_values(self, writes):
        return [self.write(each) for each in writes]

    def write(self, write):
        version = self.last.get(id(self._store), 0) + 1
        with self._store.condition:
            before = self._store.values._versions
            self._store.values._versions = itertools.repeat(version)
            outcome = self._store.values.write(write, self._clock.monotonic())
            self._store.values._versions = before
            if outcome.written:
                self.last[id(self._store)] = version
            return outcome


@broken("V3", "forgets its versions when it is started again")
class ForgetsVersions(Remote):
    @staticmethod
    def crash(store):
        store.values._versions = itertools.count(1)


# V4: when a value ends


@broken("V4", "keeps a value for ever")
class WithoutEnd(Lasting):
    def lasts(self, seconds):
        return 1e9


@broken("V4", "ends values five per cent early")
class Short(Lasting):
    def lasts(self, seconds):
        return 0.95 * seconds


@broken("V4", "cuts the time of a value to whole seconds")
class RoundsDown(Lasting):
    def lasts(self, seconds):
        return math.floor(seconds)


@broken("V4", "keeps a value for a second at least")
class ForASecond(Lasting):
    def lasts(self, seconds):
        return max(1.0, seconds)


@broken("V4", "counts the time of a value in 32 bits of milliseconds")
class In32Bits(Lasting):
    lasts = staticmethod(in_32_bits)


@broken("V4", "reads more than thirty days as a date")
class ReadsADate(Lasting):
    def lasts(self, seconds):
        return seconds if seconds <= 30 * 86_400 else max(0.0, seconds - self._clock.now())


@broken("V4", "keeps the first end of a value")
class KeepsTheEnd(Writes):
    def write(self, write, now):
        stored = self.stored(write.key, now)
        if stored is not None and stored.expires_in_seconds is not None:
            write = evolve(write, expires_in_seconds=stored.expires_in_seconds)
        return super().write(write, now)


@broken("V4", "keeps the later one of two ends")
class KeepsTheLaterEnd(Writes):
    def write(self, write, now):
        stored = self.stored(write.key, now)
        if stored is not None and None not in {stored.expires_in_seconds, write.expires_in_seconds}:
            longest = max(stored.expires_in_seconds, write.expires_in_seconds)
            write = evolve(write, expires_in_seconds=longest)
        return super().write(write, now)


@broken("V4", "keeps the end of a value that is written again without one")
class KeepsTheEndOfOld(Writes):
    def write(self, write, now):
        stored = self.stored(write.key, now)
        if stored is not None and write.expires_in_seconds is None:
            write = evolve(write, expires_in_seconds=stored.expires_in_seconds)
        return super().write(write, now)


class KeepingTable(ValueTable):
    """Leaves what has ended where it is, until it is swept."""

    def drop_expired(self, now, limit=None):
        pass


class Unswept(MemoryBackend):
    """Its methods look at the end of a value."""

    def __init__(self, name, clock):
        super().__init__(name, clock)
        with self._store.condition:
            if not isinstance(self._store.values, KeepingTable):
                self._store.values = KeepingTable()

    def sweep(self):
        with self._store.condition:
            ValueTable.drop_expired(self._store.values, self._clock.monotonic())
            return super().sweep()

    def read_values(self, keys):
        return [each and (each if _lasts(each) else None) for each in super().read_values(keys)]

    def list_values(self, prefix, *, limit, cursor=None):
        page = super().list_values(prefix, limit=limit, cursor=cursor)
        return evolve(page, values=[(key, value) for key, value in page.values if _lasts(value)])

    def write_values(self, writes):
        with self._store.condition:
            for each in writes:
                self.drop(each.key)
            return super().write_values(writes)

    def drop(self, key):
        stored = self._store.values.read(key, self._clock.monotonic())
        if stored is not None and not _lasts(stored):
            self._store.values._remove(key)

    def counts(self):
        self.sweep()
        return super().counts()


def _lasts(value: VersionedValue) -> bool:
    return value.expires_in_seconds is None or value.expires_in_seconds > 0


@broken("V4", "lists what has ended until it is swept")
class ListsTheEnded(Unswept):
    def list_values(self, prefix, *, limit, cursor=None):
        return MemoryBackend.list_values(self, prefix, limit=limit, cursor=cursor)


@broken("V4", "reads what has ended until it is swept")
class ReadsTheEnded(Unswept):
    def read_values(self, keys):
        return MemoryBackend.read_values(self, keys)


@broken("V4", "refuses writes because of what has ended until it is swept")
class RefusesByTheEnded(Unswept):
    def drop(self, key):
        pass


@broken("V4", "answers with the time that was asked for, whatever is left of it")
class TellsTheFirstTime(Writes):
    times: dict = {}

    def write(self, write, now):
        outcome = super().write(write, now)
        if outcome.written and outcome.current is not None:
            self.times[id(self._store), write.key] = write.expires_in_seconds
        return outcome

    def read_values(self, keys):
        found = super().read_values(keys)
        return [
            each and evolve(each, expires_in_seconds=self.times.get((id(self._store), key)))
            for key, each in zip(keys, found, strict=True)
        ]


@broken("V4", "answers with the time of the end")
class TellsTheEnd(MemoryBackend):
    def read_values(self, keys):
        now = self._clock.now()
        return [
            each and evolve(each, expires_in_seconds=each.expires_in_seconds and now + each.expires_in_seconds)
            for each in super().read_values(keys)
        ]


@broken("V4", "counts the time of values by the clock of the client, and all else by its own")
class ByTheClient(Writes):
    def __init__(self, name, clock):
        super().__init__(name, SystemClock())
        self._of_client = clock

    def write(self, write, now):
        ahead = self._of_client.monotonic() - self._clock.monotonic()
        seconds = write.expires_in_seconds
        return super().write(evolve(write, expires_in_seconds=seconds and max(0.0, seconds + ahead)), now)


@broken("V4", "ends a value at the end of the one that was removed before it")
class KeepsEndsOfRemoved(Writes):
    ends: dict = {}

    def write(self, write, now):
        ends = self.ends.get((id(self._store), write.key))
        if write.value is not None and write.expires_in_seconds is not None:
            self.ends[id(self._store), write.key] = now + write.expires_in_seconds
        elif write.value is not None and ends is not None and ends > now:
            write = evolve(write, expires_in_seconds=ends - now)
        return super().write(write, now)


# V5: how a value is removed


@broken("V5", "refuses to remove what is not stored")
class RefusesToRemove(Writes):
    def write(self, write, now):
        if write.value is None and self.stored(write.key, now) is None:
            return ValueOutcome(written=False, current=None)
        return super().write(write, now)


@broken("V5", "says that a repeated removal took effect")
class SaysRemoved(Writes):
    def write(self, write, now):
        if write.value is None and self.stored(write.key, now) is None:
            return ValueOutcome(written=True, current=None)
        return super().write(write, now)


@broken("V5", "stores an empty value for one that is removed")
class StoresEmpty(Writes):
    def write(self, write, now):
        outcome = super().write(evolve(write, value=write.value or b""), now)
        return ValueOutcome(written=outcome.written, current=outcome.current if write.value is not None else None)


@broken("V5", "removes whatever the version is")
class RemovesAny(Writes):
    def write(self, write, now):
        return super().write(write if write.value is not None else evolve(write, if_version=None), now)


@broken("V5", "takes an empty value for a removal")
class RemovesEmpty(Writes):
    def write(self, write, now):
        outcome = super().write(evolve(write, value=write.value or None), now)
        if outcome.written and write.value == b"":
            return evolve(outcome, current=VersionedValue(value=b"", version=next(self._store.values._versions)))
        return outcome


@broken("V5", "grants a write again whose bytes are stored already")
class GrantsAgain(Writes):
    def write(self, write, now):
        outcome = super().write(write, now)
        same = outcome.current is not None and outcome.current.value == write.value
        return evolve(outcome, written=outcome.written or same)


# V6 and V7: how a batch is answered


@broken("V6", "reads values in the order in which they are stored")
class ReadsInStoredOrder(MemoryBackend):
    def read_values(self, keys):
        order = sorted(keys)
        return super().read_values(order)


@broken("V6", "leaves out what is not stored")
class LeavesOut(MemoryBackend):
    def read_values(self, keys):
        return [each for each in super().read_values(keys) if each is not None]


@broken("V6", "reads a key that is asked for twice once")
class ReadsOnce(MemoryBackend):
    def read_values(self, keys):
        return super().read_values(list(dict.fromkeys(keys)))


@broken("V6", "reads the first thousand values")
class ReadsAThousand(MemoryBackend):
    def read_values(self, keys):
        found = super().read_values(keys[:1_000])
        return [*found, *[None] * (len(keys) - len(found))]


@broken("V7", "answers a batch in another order")
class AnswersSorted(MemoryBackend):
    def write_values(self, writes):
        return super().write_values(sorted(writes, key=lambda write: write.key))


@broken("V7", "answers refused writes last")
class AnswersRefusedLast(MemoryBackend):
    def write_values(self, writes):
        return sorted(super().write_values(writes), key=lambda outcome: not outcome.written)


@broken("V7", "decides a whole batch by what was stored before it")
class DecidesBefore(Writes):
    def write_values(self, writes):
        with self._store.condition:
            before = self.read_values([each.key for each in writes])
            return [
                self.write(evolve(each, if_version=None), self._clock.monotonic())
                if takes_effect(each, stored)
                else ValueOutcome(written=False, current=stored)
                for each, stored in zip(writes, before, strict=True)
            ]


@broken("V7", "makes the last write of each key of a batch")
class MakesTheLast(MemoryBackend):
    def write_values(self, writes):
        last = {each.key: number for number, each in enumerate(writes)}
        made = super().write_values([writes[number] for number in last.values()])
        by_key = dict(zip(last, made, strict=True))
        return [by_key[each.key] for each in writes]


@broken("V7", "makes the first thousand writes of a batch")
class MakesAThousand(MemoryBackend):
    def write_values(self, writes):
        made = super().write_values(writes[:1_000])
        return [*made, *[ValueOutcome(written=True, current=None)] * (len(writes) - len(made))]


@broken("V7", "sends a batch in parts of 256, and answers for the last part twice")
class AnswersAPartTwice(MemoryBackend):
    def write_values(self, writes):
        made = []
        for first in range(0, len(writes), 256):
            part = super().write_values(writes[first : first + 256])
            made = [*made, *part] if first < 1_024 else [*made[:-256], *part, *part]
        return made[: len(writes)]


@broken("V7", "sends the parts of a large batch in the opposite order")
class SendsPartsBackwards(MemoryBackend):
    def write_values(self, writes):
        firsts = range(0, len(writes), 1_000)
        made = {
            first: super(SendsPartsBackwards, self).write_values(writes[first : first + 1_000])
            for first in firsts[::-1]
        }
        return [each for first in firsts for each in made[first]]


# V10 and V11: what survives, and what is counted


@broken("V10", "loses its values")
class LosesValues(Remote):
    @staticmethod
    def crash(store):
        type(store.values).__init__(store.values)
        store.values._versions = itertools.count(1_000_000)


@broken("V10", "loses the ends of its values")
class LosesEnds(Remote):
    @staticmethod
    def crash(store):
        table = store.values
        table._values = {key: evolve(stored, ends=None) for key, stored in table._values.items()}


@broken("V10", "gives its values new versions when it is started again")
class LoadsAgain(Remote):
    @staticmethod
    def crash(store):
        table = store.values
        table._values = {key: evolve(each, version=next(table._versions)) for key, each in table._values.items()}


@broken("V10", "brings removed values back from its log")
class BringsBack(Remote):
    removed: dict = {}

    def write_values(self, writes):
        for each in writes:
            found = self._store.values._values.get(each.key)
            if each.value is None and found is not None:
                self.removed[id(self._store), each.key] = found
        return super().write_values(writes)

    @staticmethod
    def crash(store):
        for (owner, key), found in BringsBack.removed.items():
            if owner == id(store):
                store.values._values.setdefault(key, found)


@broken("V11", "sweeps values that have not ended")
class SweepsAll(MemoryBackend):
    def sweep(self):
        with self._store.condition:
            for key in list(self._store.values._values):
                if self._store.values._values[key].ends is not None:
                    self._store.values._remove(key)
        return super().sweep()


@broken("V11", "counts every write")
class CountsWrites(MemoryBackend):
    def write_values(self, writes):
        made = super().write_values(writes)
        self.written = getattr(self, "written", 0) + sum(each.current is not None for each in made if each.written)
        return made

    def counts(self):
        return {**super().counts(), "values": max(getattr(self, "written", 0), super().counts()["values"])}


@broken("V11", "counts what has ended until it is swept")
class CountsTheEnded(Unswept):
    def counts(self):
        return MemoryBackend.counts(self)


@broken("V11", "answers a sweep with the number of values")
class CountsSwept(Unswept):
    def sweep(self):
        with self._store.condition:
            before = len(self._store.values)
            swept = super().sweep()
            return swept + before - len(self._store.values)


@broken("V11", "counts values as bodies")
class CountsAsBodies(MemoryBackend):
    def counts(self):
        found = super().counts()
        return {**found, "bodies": found["bodies"] + found["values"]}


MUTANTS = mutants_of(globals())
