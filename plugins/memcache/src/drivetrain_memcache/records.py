"""Task records as changes of entries, which are pure; and message bodies, which are values of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from drivetrain.contract import (
    Clock,
    Outcome,
    Renewal,
    RunLease,
    TaskRecord,
    Transition,
    apply,
    renew_record,
    shorten_record,
)
from drivetrain_memcache.codec import StoredEntry, live
from drivetrain_memcache.keys import Key, Keys, Kind
from drivetrain_memcache.optimistic_store import Change
from drivetrain_memcache.protocol import EXPIRED
from drivetrain_memcache.value_store import Found, ValueStore, Write, attempts, contended

__all__ = ["Bodies", "forget", "record", "renew", "shorten_retention"]


def record(transitions: Sequence[Transition]) -> Change[list[Outcome]]:
    """Apply transitions of one task, in order."""

    def change(entry: StoredEntry | None, now: float) -> tuple[StoredEntry | None, list[Outcome]]:
        outcomes = []
        for transition in transitions:
            before = _record_of(entry)
            after = apply(before, transition, now)
            outcomes.append(Outcome(applied=after is not None, before=before))
            if after is not None:
                entry = live((entry or StoredEntry()).with_record(after), now)
        return entry, outcomes

    return change


def renew(leases: Sequence[RunLease]) -> Change[list[Renewal]]:
    """Renew leases on one task, in order."""

    def change(entry: StoredEntry | None, now: float) -> tuple[StoredEntry | None, list[Renewal]]:
        renewals = []
        for lease in leases:
            renewal, renewed = renew_record(_record_of(entry), lease, now)
            renewals.append(renewal)
            if entry is not None and renewed is not None:
                entry = entry.with_record(renewed)
        return entry, renewals

    return change


def shorten_retention(retention_seconds: float) -> Change[None]:
    """Let a terminal record expire ``retention_seconds`` from now, if it would expire later."""

    def change(entry: StoredEntry | None, now: float) -> tuple[StoredEntry | None, None]:
        shortened = shorten_record(_record_of(entry), now + retention_seconds)
        return (entry if entry is None or shortened is None else entry.with_record(shortened)), None

    return change


def forget(entry: StoredEntry | None, now: float) -> tuple[StoredEntry | None, None]:
    """Delete the entry."""
    del entry, now
    return None, None


def _record_of(entry: StoredEntry | None) -> TaskRecord | None:
    return None if entry is None else entry.record


class Bodies:
    """Message bodies that are too large for the broker, stored until they are dropped. Thread-safe."""

    def __init__(self, values: ValueStore, keys: Keys, clock: Clock) -> None:
        self._values = values
        self._keys = keys
        self._clock = clock

    def store(self, bodies: Mapping[str, bytes]) -> None:
        """Store bodies by name; each replaces an earlier one.

        Raises:
            ServiceUnavailable: other processes changed a body during all attempts.
        """
        remaining = {self._keys.named(Kind.BODY, name): body for name, body in bodies.items()}
        found: dict[Key, Found] = {}  # most bodies are new, so the first attempt reads nothing
        for _ in attempts(self._clock):
            writes = [Write(key, body, before=found.get(key)) for key, body in remaining.items()]
            stored, _unread = self._values.change(writes)
            remaining = {write.key: write.value for write, done in zip(writes, stored, strict=True) if not done}
            if not remaining:
                return
            found = self._values.fetch(remaining)
        raise contended("a message body")

    def load(self, names: Sequence[str]) -> list[bytes | None]:
        """The bodies of these names, in order; None for an unknown one."""
        keys = [self._keys.named(Kind.BODY, name) for name in names]
        found = self._values.fetch(keys)
        return [found[key].value if key in found else None for key in keys]

    def drop(self, names: Iterable[str]) -> None:
        """Delete bodies and their parts.

        Raises:
            ServiceUnavailable: other processes changed a body during all attempts.
        """
        keys = [self._keys.named(Kind.BODY, name) for name in dict.fromkeys(names)]
        for _ in attempts(self._clock):
            found = self._values.fetch(keys)
            keys = [key for key in keys if key in found]
            stored, _unread = self._values.change([Write(key, b"", EXPIRED, found[key]) for key in keys])
            keys = [key for key, done in zip(keys, stored, strict=True) if not done]
            if not keys:
                return
        raise contended("a message body")
