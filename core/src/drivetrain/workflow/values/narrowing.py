"""Converts an instance of a subclass to the type that an annotation names.

For type checkers and functions, an `IntEnum` or a number of an array library is an int where `int` is annotated. It is
sent as an int: the worker gets the annotated type, and needs no class that is not annotated.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from operator import index
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final
from uuid import UUID

__all__ = ["array_scalar", "exact"]

# Libraries that freeze the time replace the classes of a module by their own. These are the original ones.
_combine, _from_ordinal, _FIRST_DAY = dt.datetime.combine, dt.date.fromordinal, dt.date.min


def _datetime(value: dt.datetime) -> dt.datetime:
    return _combine(_date_of(value), _time_of(value))


_date_of, _time_of, _ordinal_of = dt.datetime.date, dt.datetime.timetz, dt.date.toordinal

#: Types that accept their own text in their constructor.
_WRITTEN: Final[tuple[Any, ...]] = (
    *(PurePosixPath, PureWindowsPath, type(Path())),
    *(IPv4Address, IPv6Address, IPv4Network, IPv6Network, IPv4Interface, IPv6Interface),
)


def _by_text(kind: Callable[[str], Any], value: object) -> Any:
    return kind(str(value))


#: Converts an instance of a subclass to the type itself. It calls methods of the type where possible: the subclass may
#: have replaced them.
_EXACT: Final[dict[type, Callable[[Any], Any]]] = {
    int: int.__pos__,
    float: float.__pos__,
    complex: complex.__pos__,
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    bytearray: bytearray.copy,
    list: list.copy,
    tuple: lambda value: tuple.__getitem__(value, slice(None)),
    # Not dict.copy, which ignores the order of an OrderedDict.
    dict: dict,
    set: set,
    frozenset: frozenset,
    deque: lambda value: deque(value, value.maxlen),
    dt.datetime: _datetime,
    dt.date: lambda value: _from_ordinal(_ordinal_of(value)),
    dt.time: lambda value: _time_of(_combine(_FIRST_DAY, value)),
    dt.timedelta: dt.timedelta.__pos__,
    Decimal: Decimal,
    Fraction: lambda value: Fraction(value.numerator, value.denominator),
    UUID: lambda value: UUID(int=value.int),
    **{kind: partial(_by_text, kind) for kind in _WRITTEN},
}
#: The subclasses of a type that hold more than it: a `datetime` is not accepted as a `date`.
_NARROWER: Final = {
    kind: tuple(other for other in _EXACT if other is not kind and issubclass(other, kind)) for kind in _EXACT
}


#: The kinds of dtypes that are numbers: bool, int, unsigned int, float, complex.
_NUMBER_KINDS: Final = frozenset("biufc")


def array_scalar(value: Any) -> Any:
    """The number of Python that a scalar of an array library stands for; None: it is another value."""
    if not hasattr(type(value), "dtype") or getattr(value, "shape", None) != ():
        return None
    return value.item() if getattr(value.dtype, "kind", "other") in _NUMBER_KINDS else None


def exact(value: object, kind: type) -> Any:
    """A value as an instance of exactly ``kind``.

    Raises:
        TypeError: it is not an instance of ``kind``, or holds more than ``kind`` can.
    """
    actual = type(value)
    if kind in _EXACT and issubclass(actual, kind) and not issubclass(actual, _NARROWER[kind]):
        return _EXACT[kind](value)
    if kind is int and not issubclass(actual, int) and hasattr(actual, "__index__"):
        return index(value)  # type: ignore[arg-type]
    if kind is complex and type(number := array_scalar(value)) is kind:
        return number
    raise TypeError(f"{actual.__qualname__} is not {kind.__qualname__}")
