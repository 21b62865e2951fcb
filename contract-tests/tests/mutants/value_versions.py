"""Stores of versioned values that break V3: versions that stay, come a second time or go back."""

from __future__ import annotations

from itertools import count

from drivetrain.drivers.memory.backend import MemoryBackend
from mutants.backend_base import Remote, broken, mutants_of
from mutants.backend_times import Served
from mutants.value_table import Table, Tabled, broken_table


class CountsEachKey(Table):
    """Counts the versions of each key on its own. Children forget how many there were."""

    def __init__(self):
        super().__init__()
        self.last = {}

    def version(self, write, stored):
        new = self.last[write.key] = self.last.get(write.key, 0) + 1
        return new


@broken_table("V3", "counts from one when a value has expired")
class ForgetsExpired(CountsEachKey):
    def drop_expired(self, now, limit=None):
        before = set(self._values)
        super().drop_expired(now, limit)
        for key in before - set(self._values):
            self.last.pop(key, None)


@broken_table("V3", "remembers the versions of the last hundred values that were removed")
class RemembersAHundred(CountsEachKey):
    def remove(self, write, stored):
        self.last[write.key] = self.last.pop(write.key, 0)
        gone = [key for key in self.last if key not in self._values]
        for key in gone[:-100]:
            del self.last[key]
        return super().remove(write, stored)


class _TabledEachKey(Tabled):
    table = CountsEachKey


@broken("V3", "forgets the versions of a key when a task of this id is forgotten")
class ForgetsWithATask(_TabledEachKey):
    def forget(self, task_ids):
        super().forget(task_ids)
        with self._store.condition:
            for task_id in task_ids:
                self._store.values.last.pop(task_id, None)


@broken_table("V3", "keeps the version when it writes without one")
class BlindWritesKeepIt(Table):
    def version(self, write, stored):
        return stored.version if stored and write.if_version is None else super().version(write, stored)


@broken_table("V3", "keeps the version when only the end changes")
class ProlongsInPlace(Table):
    def version(self, write, stored):
        same = stored is not None and stored.value == write.value and write.expires_in_seconds is not None
        return stored.version if same else super().version(write, stored)


@broken_table("V3", "takes a hash of the value for its version")
class Hashes(Table):
    def version(self, write, stored):
        return 1 + (hash(write.value) & 0xFFFFFFFF)


@broken("V3", "gives all entries of a batch one version")
class OneForABatch(Tabled):
    class table(Table):
        number = 0

        def version(self, write, stored):
            return self.number

    def write_values(self, writes):
        with self._store.condition:
            self._store.values.number += 1
            return super().write_values(writes)


@broken("V3", "reserves versions for each object in blocks of twenty")
class ReservesBlocks(MemoryBackend):
    """As a sequence with a cache for each connection does."""

    blocks = count()

    def __init__(self, name, clock):
        super().__init__(name, clock)
        self.versions = (20 * block + each for block in self.blocks for each in range(1, 21))

    def write_values(self, writes):
        with self._store.condition:
            self._store.values._versions = self.versions
            return super().write_values(writes)


@broken("V3", "takes microseconds of its client's clock for versions, but later ones than the stored")
class TimesOfTheClient(Served, Tabled):
    class table(Table):
        now = 0.0

        def version(self, write, stored):
            return max(round(self.now * 1e6), stored.version + 1 if stored else 1)

    def write_values(self, writes):
        with self._store.condition:
            self._store.values.now = self._of_client.now()
            return super().write_values(writes)


@broken("V3", "counts on from the largest version that is stored after a restart")
class GoesOnFromTheStored(Remote):
    @staticmethod
    def crash(store):
        largest = max((each.version for each in store.values._values.values()), default=0)
        store.values._versions = count(largest + 1)


class _KnowsEnded(CountsEachKey):
    """Knows which values have expired."""

    def __init__(self):
        super().__init__()
        self.ended = set()

    def drop_expired(self, now, limit=None):
        before = set(self._values)
        super().drop_expired(now, limit)
        self.ended |= before - set(self._values)


@broken("V3", "counts from one after a restart where a value has expired before")
class ForgetsEndedAtARestart(Remote):
    def __init__(self, url, context, host):
        super().__init__(url, context, host)
        with self._store.condition:
            if not isinstance(self._store.values, _KnowsEnded):
                self._store.values = _KnowsEnded()

    @staticmethod
    def crash(store):
        for key in store.values.ended:
            store.values.last.pop(key, None)


MUTANTS = mutants_of(globals())
