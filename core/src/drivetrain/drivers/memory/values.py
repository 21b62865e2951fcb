"""The versioned values of ``memory://``."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nsmallest
from itertools import count, islice

from attrs import define, field, frozen

from drivetrain.contract import ValueOutcome, ValuePage, ValueWrite, VersionedValue, takes_effect
from drivetrain.drivers.memory.indexed_heap import IndexedHeap

__all__ = ["ValueTable"]


@frozen
class _StoredValue:
    value: bytes
    version: int
    #: None: it has no end.
    ends: float | None

    def seen_at(self, now: float) -> VersionedValue:
        remaining = None if self.ends is None else self.ends - now
        return VersionedValue(value=self.value, version=self.version, expires_in_seconds=remaining)


def _ends() -> IndexedHeap[tuple[float, str], str]:
    return IndexedHeap()


@define(eq=False)
class ValueTable:
    """Versioned values by key; see `drivetrain.contract.VersionedValues`. Not thread-safe.

    ``now`` is monotonic seconds, and never smaller than before.
    """

    _values: dict[str, _StoredValue] = field(factory=dict)
    #: Keys, by (end, key).
    _ends: IndexedHeap[tuple[float, str], str] = field(factory=_ends)
    #: One counter for all keys: no version comes again, although values are dropped.
    _versions: Iterator[int] = field(factory=lambda: count(1))

    def __len__(self) -> int:
        return len(self._values)

    def read(self, key: str, now: float) -> VersionedValue | None:
        """The value of a key; None: nothing is stored."""
        self.drop_expired(now)
        stored = self._values.get(key)
        return None if stored is None else stored.seen_at(now)

    def write(self, write: ValueWrite, now: float) -> ValueOutcome:
        """Write or remove a value."""
        stored = self.read(write.key, now)
        if not takes_effect(write, stored):
            return ValueOutcome(written=False, current=stored)
        self._remove(write.key)
        if write.value is None:
            return ValueOutcome(written=True, current=None)
        ends = None if write.expires_in_seconds is None else now + write.expires_in_seconds
        new = self._values[write.key] = _StoredValue(write.value, next(self._versions), ends)
        if ends is not None:
            self._ends.put((ends, write.key), write.key)
        return ValueOutcome(written=True, current=new.seen_at(now))

    def page(self, prefix: str, limit: int, cursor: str | None, now: float) -> ValuePage:
        """A page of values, by key. The cursor is the last key of the page."""
        self.drop_expired(now)
        rest = (key for key in self._values if key.startswith(prefix) and (cursor is None or key > cursor))
        keys = nsmallest(limit + 1, rest)
        page = keys[:limit]
        values = [(key, self._values[key].seen_at(now)) for key in page]
        return ValuePage(values=values, cursor=page[-1] if len(keys) > len(page) else None)

    def drop_expired(self, now: float, limit: int | None = None) -> None:
        """Drop values whose end has come, at most ``limit``."""
        for key in islice(self._ends.pop_until(now), limit):
            del self._values[key]

    def _remove(self, key: str) -> None:
        stored = self._values.pop(key, None)
        if stored is not None and stored.ends is not None:
            self._ends.take((stored.ends, key))
