"""Changes of limits at run time: versioned values that override the numbers in the code."""

from __future__ import annotations

from attrs import frozen
from msgspec import Struct

from drivetrain.contract import VersionedValue
from drivetrain.worker.limits.specs import RateSetting
from drivetrain.worker.value_codec import decode

__all__ = [
    "SETTING_PREFIX",
    "Effective",
    "LimitChange",
    "effective_limit",
    "effective_rate",
    "setting_key",
    "stored_change",
]

#: The keys of changes begin with it; the name of the limit follows.
SETTING_PREFIX = "limits/settings/"


class LimitChange(Struct, frozen=True, kw_only=True):
    """What an operator has set a limit to.

    Attributes:
        limit: the new limit, more than 0.
        per: the new period in seconds; None: the one in the code.
        burst: the new burst; None: the one in the code.
        since: when it was set, in Unix seconds.
        by: the operator; empty: unknown.
    """

    limit: float
    per: float | None = None
    burst: float | None = None
    since: float
    by: str = ""


@frozen
class Effective:
    """The numbers of a rate that apply now.

    Attributes:
        setting: the numbers.
        generation: which change they are from; 0: from the code. What was reserved before a change is reserved again.
    """

    setting: RateSetting
    generation: int


def setting_key(name: str) -> str:
    """The key of the change of a limit."""
    return SETTING_PREFIX + name


def stored_change(stored: VersionedValue | None) -> LimitChange | None:
    """The change in a value; None: nothing is stored, or another version of drivetrain has written it."""
    if stored is None:
        return None
    try:
        return decode(stored.value, LimitChange)
    except ValueError:
        return None


def effective_rate(declared: RateSetting, stored: VersionedValue | None) -> Effective:
    """The numbers that apply now.

    Args:
        declared: the numbers in the code.
        stored: the value of the change.
    """
    change = stored_change(stored)
    if change is None or stored is None:
        return Effective(declared, 0)
    per, burst = change.per or declared.per, change.burst or declared.burst
    return Effective(RateSetting(limit=change.limit, per=per, burst=burst), stored.version)


def effective_limit(declared: int, stored: VersionedValue | None) -> int:
    """The number of places that applies now.

    Args:
        declared: the number in the code.
        stored: the value of the change.
    """
    change = stored_change(stored)
    return declared if change is None else max(1, int(change.limit))
