"""Versioned values: what a write does, given what is stored; and a wait for a change, by reading again and again.

`takes_effect` is for a driver that reads, decides in Python and writes: in a transaction, behind a lock, by
compare-and-set. `wait_for_values` is for every driver that can notify.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from attrs import frozen

from drivetrain.contract.kit.sizes import check_size
from drivetrain.contract.kit.waiting import WaitLoop
from drivetrain.contract.versioned_values import ValueWrite, VersionedValue, VersionedValues

__all__ = ["ValueChanges", "changed_values", "check_value_sizes", "takes_effect", "wait_for_values"]

#: How many values of a prefix are read at once.
_PAGE = 500
#: The shortest pause before an expected expiry, in seconds: an expired value may be visible a little longer.
_SHORTEST_PAUSE_SECONDS = 0.01


def takes_effect(write: ValueWrite, stored: VersionedValue | None) -> bool:
    """Whether a write or a removal takes effect.

    Args:
        write: the write.
        stored: what its key has now; None: nothing is stored, or it has expired.
    """
    return write.if_version is None or write.if_version == (0 if stored is None else stored.version)


def check_value_sizes(writes: Iterable[ValueWrite], largest_bytes: int) -> None:
    """Check the values of a batch.

    Raises:
        TooLarge: one of them has more than ``largest_bytes``.
    """
    for write in writes:
        check_size("a versioned value", write.value, largest_bytes)


@frozen
class ValueChanges:
    """What has changed, compared with what a caller has seen.

    Attributes:
        keys: keys that have another version, in no order.
        ends_in_seconds: how long until the first of the other values expires; infinite: none of them expires.
    """

    keys: Sequence[str]
    ends_in_seconds: float


def changed_values(values: VersionedValues, seen: Mapping[str, int], prefix: str | None) -> ValueChanges:
    """Compare what is stored with what a caller has seen; see `VersionedValues.wait_values`.

    It stops at the first page of a prefix on which something has changed.

    Args:
        values: the backend. Only `read_values` and `list_values` are called.
        seen: versions by key; 0: nothing was stored.
        prefix: the beginning of more keys; None: none.

    Raises:
        ServiceError: the backend could not be reached.
    """
    found: dict[str, VersionedValue] = {}
    ends_in_seconds = math.inf

    def changes(some: Mapping[str, VersionedValue]) -> list[str]:
        nonlocal ends_in_seconds
        ends = (each.expires_in_seconds for each in some.values() if each.expires_in_seconds is not None)
        ends_in_seconds = min(ends_in_seconds, min(ends, default=math.inf))
        return [key for key, each in some.items() if each.version != seen.get(key, 0)]

    cursor: str | None = None
    while prefix is not None:
        page = values.list_values(prefix, limit=_PAGE, cursor=cursor)
        listed = dict(page.values)
        if keys := changes(listed):
            return ValueChanges(keys, ends_in_seconds)
        found.update(listed)
        cursor = page.cursor
        if cursor is None:
            break
    # A cache may have lost a key from its list, so what is not listed is read.
    unlisted = [key for key in seen if key not in found]
    read = dict(zip(unlisted, values.read_values(unlisted), strict=True)) if unlisted else {}
    keys = changes({key: value for key, value in read.items() if value is not None})
    gone = [key for key, value in read.items() if value is None and seen[key]]
    return ValueChanges([*keys, *gone], ends_in_seconds)


def wait_for_values(
    loop: WaitLoop,
    values: VersionedValues,
    pause: Callable[[float], object],
    seen: Mapping[str, int],
    prefix: str | None,
    *,
    timeout_seconds: float,
    before_look: Callable[[], object] = lambda: None,
    when_closed: Callable[[], object] | None = None,
) -> Sequence[str]:
    """`VersionedValues.wait_values` for a driver that can notice writes, though not when values expire.

    Args:
        loop: the loop of the driver object, which `close` ends.
        values: the driver object.
        pause: waits until a value may have been written or removed since `before_look`, at most as many seconds as
            it is given; see `WaitLoop.run`.
        seen: see `VersionedValues.wait_values`.
        prefix: see `VersionedValues.wait_values`.
        timeout_seconds: see `VersionedValues.wait_values`.
        before_look: begins to listen. A change after its call must end the next ``pause``.
        when_closed: see `WaitLoop.run`.

    Raises:
        ServiceError: the backend could not be reached.
    """
    if not seen and prefix is None:
        return []
    ends_in_seconds = math.inf

    def look() -> Sequence[str]:
        nonlocal ends_in_seconds
        before_look()
        found = changed_values(values, seen, prefix)
        ends_in_seconds = max(_SHORTEST_PAUSE_SECONDS, found.ends_in_seconds)
        return found.keys

    return loop.run(
        look,
        lambda remaining: pause(min(remaining, ends_in_seconds)),
        timeout_seconds=timeout_seconds,
        when_closed=when_closed,
    )
