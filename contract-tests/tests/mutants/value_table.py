"""What broken stores of versioned values are made of: the one in memory with its steps laid open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drivetrain.contract import ValueOutcome, ValuePage, ValueWrite, VersionedValue, evolve, takes_effect
from drivetrain.drivers.memory.backend import MemoryBackend
from drivetrain.drivers.memory.values import ValueTable, _StoredValue
from mutants.backend_base import broken

__all__ = ["Expired", "Lists", "Shows", "Table", "Tabled", "broken_table"]


class Table(ValueTable):
    """The same table. Children break one of its steps."""

    def write(self, write: ValueWrite, now: float) -> ValueOutcome:
        stored = self.read(write.key, now)
        if not self.grants(write, stored):
            return self.refuse(write, stored, now)
        return self.remove(write, stored) if write.value is None else self.put(write, stored, now)

    def grants(self, write: ValueWrite, stored: VersionedValue | None) -> bool:
        return takes_effect(write, stored)

    def refuse(self, write: ValueWrite, stored: VersionedValue | None, now: float) -> ValueOutcome:
        return ValueOutcome(written=False, current=stored)

    def remove(self, write: ValueWrite, stored: VersionedValue | None) -> ValueOutcome:
        self._remove(write.key)
        return ValueOutcome(written=True, current=None)

    def put(self, write: ValueWrite, stored: VersionedValue | None, now: float) -> ValueOutcome:
        seconds = self.lasts(write, stored)
        ends = None if seconds is None else now + seconds
        self._remove(write.key)
        new = self._values[write.key] = _StoredValue(write.value or b"", self.version(write, stored), ends)
        if ends is not None:
            self._ends.put((ends, write.key), write.key)
        return ValueOutcome(written=True, current=new.seen_at(now))

    def version(self, write: ValueWrite, stored: VersionedValue | None) -> int:
        """The version of a new value."""
        return next(self._versions)

    def lasts(self, write: ValueWrite, stored: VersionedValue | None) -> float | None:
        """How long a new value lasts."""
        return write.expires_in_seconds


class Expired(Table):
    """Drops what has expired only when it sweeps, and leaves it out elsewhere. Children leave it in somewhere."""

    now = 0.0

    def __len__(self):
        return sum(not self.over(key, self.now) for key in self._values)

    def over(self, key, now):
        """Whether the value of a key has expired, and is not swept yet."""
        stored = self._values.get(key)
        return stored is not None and stored.ends is not None and stored.ends <= now

    def seen(self, key, now):
        """The value of a key, expired or not."""
        stored = self._values.get(key)
        return None if stored is None else stored.seen_at(now)

    def read(self, key, now):
        return None if self.over(key, now) else self.seen(key, now)

    def drop_expired(self, now, limit=None):
        self.now = now
        if limit is not None:
            super().drop_expired(now, limit)

    def page(self, prefix, limit, cursor, now):
        stored = self._values
        self._values = {key: value for key, value in stored.items() if not self.over(key, now)}
        try:
            return super().page(prefix, limit, cursor, now)
        finally:
            self._values = stored


class Tabled(MemoryBackend):
    """A backend whose store has another table."""

    table: type[ValueTable] = Table

    def __init__(self, name: str, clock: Any) -> None:
        super().__init__(name, clock)
        with self._store.condition:
            if type(self._store.values) is not self.table:
                self._store.values = self.table()


def broken_table(clause: str, name: str) -> Callable[[type[ValueTable]], type[ValueTable]]:
    """Mark a table as `broken` marks a backend: with the clause that it breaks, and what it does."""

    def mark(kind: type[ValueTable]) -> type[ValueTable]:
        kind.mutant = broken(clause, name)(type(kind.__name__, (Tabled,), {"table": kind})).mutant
        return kind

    return mark


class Shows(MemoryBackend):
    """Shows values in another way than they are stored."""

    def shown(self, value: VersionedValue) -> VersionedValue:
        """What is shown of a value."""
        return value

    def read_values(self, keys):
        return [value and self.shown(value) for value in super().read_values(keys)]

    def write_values(self, writes):
        outcomes = super().write_values(writes)
        return [evolve(outcome, current=outcome.current and self.shown(outcome.current)) for outcome in outcomes]

    def list_values(self, prefix, *, limit, cursor=None):
        page = super().list_values(prefix, limit=limit, cursor=cursor)
        return evolve(page, values=[(key, self.shown(value)) for key, value in page.values])


class Lists(MemoryBackend):
    """Lists by key. Children break how a prefix is understood, or how pages follow each other."""

    def matches(self, key: str, prefix: str) -> bool:
        return key.startswith(prefix)

    def found(self, prefix: str) -> dict[str, VersionedValue]:
        """All values whose keys match."""
        with self._store.condition:
            now, table = self._clock.monotonic(), self._store.values
            table.drop_expired(now)
            return {key: each.seen_at(now) for key, each in table._values.items() if self.matches(key, prefix)}

    def list_values(self, prefix, *, limit, cursor=None):
        found = self.found(prefix)
        keys = sorted(key for key in found if cursor is None or key > cursor)
        page = keys[:limit]
        more = len(keys) > len(page)
        return ValuePage(values=[(key, found[key]) for key in page], cursor=page[-1] if more else None)
