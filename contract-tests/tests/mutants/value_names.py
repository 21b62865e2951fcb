"""Stores of versioned values that break V9 and R35: keys and namespaces that meet, and values of any size."""

from __future__ import annotations

from typing import Any

from drivetrain.contract import (
    ServiceRefused,
    TooLarge,
    ValueOutcome,
    ValuePage,
    VersionedValue,
    check_size,
    check_value_sizes,
    evolve,
    takes_effect,
)
from drivetrain.drivers.memory import shared_name
from drivetrain.drivers.memory.backend import MemoryBackend
from drivetrain_contract_tests import Service
from mutants.backend_base import broken, contract_of, mutants_of
from mutants.backend_names import number
from mutants.mutant import Mutant

# Keys


class Keys(MemoryBackend):
    """Stores values under other keys, and lists those that callers have written."""

    def same(self, key: str) -> str:
        """What a key is stored under."""
        return key

    def read_values(self, keys):
        return super().read_values([self.same(key) for key in keys])

    def write_values(self, writes):
        return super().write_values([evolve(write, key=self.same(write.key)) for write in writes])


@broken("V9", "takes keys for the same that are one number")
class NumbersKeys(Keys):
    same = staticmethod(number)


@broken("V9", "takes slashes at the end of keys for none")
class StripsSlashes(Keys):
    def same(self, key):
        return key.rstrip("/")


@broken("V9", "refuses an empty key")
class RefusesTheEmptyKey(Keys):
    def same(self, key):
        if not key:
            raise ServiceRefused("a key has at least one character")
        return key


@broken("V9", "removes all keys that begin with the one that it removes")
class RemovesByPrefix(MemoryBackend):
    def write_values(self, writes):
        outcomes = super().write_values(writes)
        with self._store.condition:
            for write, outcome in zip(writes, outcomes, strict=True):
                if write.value is None and outcome.written:
                    for key in [key for key in self._store.values._values if key.startswith(write.key)]:
                        self._store.values._remove(key)
        return outcomes


# Values, and all else that has an id


@broken("V9", "drops a value with the body of its key")
class DropsWithBodies(MemoryBackend):
    def drop_bodies(self, keys):
        super().drop_bodies(keys)
        with self._store.condition:
            for key in keys:
                self._store.values._remove(key)


@broken("V9", "reads a body where no value has its key")
class ReadsBodies(MemoryBackend):
    def read_values(self, keys):
        bodies = self.load_bodies(keys)
        found = super().read_values(keys)
        return [
            VersionedValue(value=body, version=1) if value is None and body is not None else value
            for value, body in zip(found, bodies, strict=True)
        ]


@broken("V9", "drops a value when the record of its key expires")
class DropsWithRecords(MemoryBackend):
    def read(self, task_ids):
        known = set(self._store.tasks)
        found = super().read(task_ids)
        with self._store.condition:
            for task_id in known - set(self._store.tasks):
                self._store.values._remove(task_id)
        return found


@broken("V9", "forgets a task when the value of its id is removed")
class ForgetsWithValues(MemoryBackend):
    def write_values(self, writes):
        self.forget([write.key for write in writes if write.value is None])
        return super().write_values(writes)


@broken("V9", "drops a group when a value of its id is written")
class DropsGroups(MemoryBackend):
    def write_values(self, writes):
        with self._store.condition:
            for write in writes:
                self._store.groups.pop(write.key, None)
            return super().write_values(writes)


@broken("V9", "lists bodies among the values")
class ListsBodies(MemoryBackend):
    def list_values(self, prefix, *, limit, cursor=None):
        page = super().list_values(prefix, limit=limit, cursor=cursor)
        room = limit - len(page.values) if page.cursor is None else 0
        bodies = [(key, VersionedValue(value=body, version=1)) for key, body in self._store.bodies.items()]
        return ValuePage(
            values=[*page.values, *[item for item in bodies if item[0].startswith(prefix)][:room]], cursor=page.cursor
        )


# Sizes


class LimitedValues(MemoryBackend):
    """Stores no value of more than 100,000 bytes."""

    limit = 100_000
    capabilities = evolve(MemoryBackend.capabilities, largest_value_bytes=limit)

    def write_values(self, writes):
        check_value_sizes(writes, self.limit)
        return super().write_values(writes)


@broken("V9", "cuts values that are too large")
class CutsTheLarge(LimitedValues):
    def write_values(self, writes):
        cut = [evolve(write, value=write.value and write.value[: self.limit]) for write in writes]
        return super().write_values(cut)


@broken("V9", "writes the entries of a batch that are not too large")
class WritesTheSmall(LimitedValues):
    def write_values(self, writes):
        super().write_values([write for write in writes if len(write.value or b"") <= self.limit])
        check_value_sizes(writes, self.limit)
        return super().write_values(writes)


@broken("V9", "removes the value that one that is too large was to replace")
class RemovesForTheLarge(LimitedValues):
    def write_values(self, writes):
        try:
            return super().write_values(writes)
        except TooLarge:
            with self._store.condition:
                for write in writes:
                    self._store.values._remove(write.key)
            raise


@broken("V9", "refuses a batch that is too large together")
class CountsTheBatch(LimitedValues):
    def write_values(self, writes):
        check_size("a batch", b"".join(write.value or b"" for write in writes), self.limit)
        return super().write_values(writes)


@broken("V9", "counts the key of a value for its size")
class CountsTheKey(LimitedValues):
    def write_values(self, writes):
        for write in writes:
            check_size("a value", write.key.encode("utf-8", "surrogatepass") + (write.value or b""), self.limit)
        return super().write_values(writes)


@broken("V9", "refuses no large value that its version refuses")
class ChecksWhatTakesEffect(LimitedValues):
    def write_values(self, writes):
        found = self.read_values([write.key for write in writes])
        check_value_sizes(
            [write for write, stored in zip(writes, found, strict=True) if takes_effect(write, stored)], self.limit
        )
        return MemoryBackend.write_values(self, writes)


@broken("V9", "answers for a value that is too large that it was refused")
class AnswersForTheLarge(LimitedValues):
    def write_values(self, writes):
        try:
            return super().write_values(writes)
        except TooLarge:
            current = self.read_values([write.key for write in writes])
            return [ValueOutcome(written=False, current=stored) for stored in current]


# Namespaces


class _Prefixes(MemoryBackend):
    """Writes its namespace before each key, and a colon between them that both may hold."""

    def __init__(self, name: str, clock: Any) -> None:
        place, _, self.namespace = name.partition("?")
        super().__init__(place, clock)

    def _key(self, key):
        return f"{self.namespace}:{key}"

    def read_values(self, keys):
        return super().read_values([self._key(key) for key in keys])

    def write_values(self, writes):
        return super().write_values([evolve(write, key=self._key(write.key)) for write in writes])

    def list_values(self, prefix, *, limit, cursor=None):
        page = super().list_values(self._key(prefix), limit=limit, cursor=cursor)
        return evolve(page, values=[(key.removeprefix(self._key("")), value) for key, value in page.values])


def _service() -> Service:
    def make(url, context):
        return _Prefixes(shared_name(url, context.namespace), context.clock)

    return Service(lambda namespace: f"memory://somewhere?namespace={namespace}", backend_maker=make)


MUTANTS = (
    *mutants_of(globals()),
    Mutant(
        name="writes its namespace and a colon before keys", clause="R35", contract=contract_of("R35"), service=_service
    ),
)
