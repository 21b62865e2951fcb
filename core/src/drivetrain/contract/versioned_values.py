"""Versioned values: small values by key, changed only by callers that have seen what is stored.

Core builds locks, pauses, schedules, limits, unique keys and the registry of workers on them, once for all drivers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

__all__ = ["LARGEST_VERSION", "ValueOutcome", "ValuePage", "ValueWrite", "VersionedValue", "VersionedValues"]

#: Versions fit into a number of JSON, Lua and BSON.
LARGEST_VERSION = 2**53 - 1


class VersionedValue(Struct, frozen=True, kw_only=True):
    """A stored value.

    Attributes:
        value: the bytes, opaque to the backend.
        version: its version, 1 to `LARGEST_VERSION`. Each write of a key gives a larger one.
        expires_in_seconds: how long it lasts from now, by the backend's clock; None: until it is removed.
    """

    value: bytes
    version: int
    expires_in_seconds: float | None = None


class ValueWrite(Struct, frozen=True, kw_only=True):
    """A write of one value, or its removal.

    Attributes:
        key: its key, any text.
        value: the new value; None removes the value.
        if_version: write only if the stored value has this version; 0: only if no value is stored; None: always.
        expires_in_seconds: how long the new value lasts from now, by the backend's clock, more than 0; None: until it
            is removed. It replaces the end of the value before.
    """

    key: str
    value: bytes | None
    if_version: int | None = None
    expires_in_seconds: float | None = None


class ValueOutcome(Struct, frozen=True, kw_only=True):
    """What became of a write.

    Attributes:
        written: whether it took effect.
        current: what is stored now: the new value if it was written, otherwise the value that refused it; None: nothing
            is stored.
    """

    written: bool
    current: VersionedValue | None


class ValuePage(Struct, frozen=True, kw_only=True):
    """A page of a list of values.

    Attributes:
        values: keys and values. Any page may have fewer than the limit, or none.
        cursor: where the next page begins, a text that only the driver reads; None: this is the last page.
    """

    values: Sequence[tuple[str, VersionedValue]] = ()
    cursor: str | None = None


class VersionedValues(Protocol):
    """Stores small values by key.

    Each entry of a batch is atomic, and the entries of one key take effect in order. A value that has expired is gone
    for every method, at most `expiry_resolution_seconds` late.
    """

    def read_values(self, keys: Sequence[str]) -> Sequence[VersionedValue | None]:
        """The values in the order of ``keys``; None where nothing is stored."""
        ...

    def write_values(self, writes: Sequence[ValueWrite]) -> Sequence[ValueOutcome]:
        """Write or remove values.

        The version of a key always grows: also after the value was removed, has expired or was dropped, and after a
        restart of the service. So it is a fencing token. To remove what is not stored takes effect and changes nothing.

        Returns:
            The outcome of each write, in order.

        Raises:
            TooLarge: nothing was written; a value is beyond `largest_value_bytes`.
        """
        ...

    def list_values(self, prefix: str, *, limit: int, cursor: str | None = None) -> ValuePage:
        """A page of the values whose keys start with ``prefix``.

        A value that is stored from the first page to the last, whatever its versions, is on exactly one page. A key
        that is written or removed meanwhile is on one page at most. The driver chooses the order. A call does a bounded
        amount of work.

        Args:
            prefix: the beginning of the keys, any text; "": all values.
            limit: how many values the page may hold; 1 or more.
            cursor: `ValuePage.cursor` of the previous page; None: the first page.
        """
        ...

    def wait_values(
        self, seen: Mapping[str, int], *, prefix: str | None = None, timeout_seconds: float
    ) -> Sequence[str]:
        """Wait until a value has another version than the caller has seen, at most ``timeout_seconds``.

        Core calls it only where `capabilities.notifies` is declared. The wait is for the keys in ``seen``, and with a
        prefix for all keys that start with it. It compares what is stored with what was seen. So it never misses a
        change that came before the call, and an expired value wakes it like a removed one. It does not see a value that
        was written and removed again before it has looked.

        Keep nothing of a call that has returned, and do not delay other calls for long: core may wait for thousands of
        keys.

        Args:
            seen: versions by key; 0: nothing was stored.
            prefix: the beginning of keys, any text. Those that are not in ``seen`` count as seen with version 0.
                None: the keys in ``seen`` alone.
            timeout_seconds: how long to wait, 0 or more.

        Returns:
            Keys that have another version, at least one of them; none after the time-out. At once and empty if there is
            neither a key nor a prefix.
        """
        ...
