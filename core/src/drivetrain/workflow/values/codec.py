"""What one annotation is compiled to, and the marks of the plain form."""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import isfinite
from types import NoneType
from typing import Any, Protocol, TypeAlias

from attrs import frozen

from drivetrain.contract import Plain
from drivetrain.workflow.values.errors import ValueMismatch

__all__ = [
    "TAG",
    "Codec",
    "Compile",
    "Convert",
    "ConvertEach",
    "Stand",
    "each",
    "named",
    "payload_of",
    "stand_as",
    "stand_as_one_kind",
    "tagged",
    "untagged",
]

#: The reserved key: a dict that has it says by it what it stands for.
TAG = "$"

Convert: TypeAlias = Callable[[Any], Any]
Stand: TypeAlias = Callable[[Collection[Any]], bool]

_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


def _never(_values: Collection[Any]) -> bool:
    return False


@frozen(eq=False)
class Codec:
    """The two directions of one annotation."""

    #: The annotation, for messages.
    expected: str
    #: A value to its plain form. Raises `ValueMismatch`.
    encode: Convert
    #: A plain form to the value. Raises `ValueMismatch`.
    decode: Convert
    #: The exact types of all values that may fit; None where that is not known.
    kinds: frozenset[type] | None = None
    #: Whether all of many values certainly fit and are their own plain form: one fast look instead of one for each.
    stand: Stand = _never
    #: Whether its annotation says how deep its values are nested; not so where `Any` is in it, or a class that holds
    #: instances of itself.
    bounded: bool = False


#: Gives the codec of an annotation that is a part of the one being compiled.
Compile: TypeAlias = Callable[[Any], Codec]


def _ints_stand(values: Collection[int]) -> bool:
    return min(values) >= _SMALLEST and max(values) <= _LARGEST


def _floats_stand(values: Collection[float]) -> bool:
    # A sum may overflow where no value is infinite; then each is looked at.
    return isfinite(sum(values))


def _texts_stand(values: Collection[str]) -> bool:
    return "".join(values).isascii()


def _always(_values: Collection[Any]) -> bool:
    return True


_STAND: dict[type, Stand] = {
    int: _ints_stand,
    float: _floats_stand,
    str: _texts_stand,
    bool: _always,
    NoneType: _always,
}


def stand_as(kind: type) -> Stand:
    """The look that tells whether many values are all exactly of ``kind`` and their own plain form."""
    only, check = {kind}, _STAND[kind]
    return lambda values: set(map(type, values)) == only and check(values)


def stand_as_one_kind(values: Collection[Any]) -> bool:
    """Whether many values are all of the same kind, whichever, and their own plain form."""
    kinds = set(map(type, values))
    return len(kinds) == 1 and _STAND.get(kinds.pop(), _never)(values)


class ConvertEach(Protocol):
    """Converts items to a new list."""

    def __call__(self, items: Collection[Any], step: Callable[[int], str] = ..., /) -> list[Any]:
        """The items converted; ``step`` makes of a position how it is written in a path."""
        ...


def each(convert: Convert, stand: Stand) -> ConvertEach:
    """Converts the items of a collection; a mismatch tells at which it was."""

    def convert_each(items: Collection[Any], step: Callable[[int], str] = "[{}]".format) -> list[Any]:
        if stand(items):
            return list(items)
        converted: list[Any] = []
        try:
            # Taken from an iterator one by one, so that the length tells at which item it stopped.
            converted.extend(map(convert, items))
        except ValueMismatch as mismatch:
            mismatch.inside(step(len(converted)))
            raise
        return converted

    return convert_each


def tagged(tag: str, payload: Plain) -> Plain:
    """The plain form of a value that cannot stand as itself."""
    return {TAG: tag, "v": payload}


def untagged(plain: Plain, tag: str) -> Plain:
    """What a plain form holds under ``tag``; None where it is something else."""
    return plain.get("v") if type(plain) is dict and plain.get(TAG) == tag else None


def named(tag: str, name: str, payload: Plain) -> Plain:
    """The plain form of an instance of an application's class, with the name of the class."""
    return {TAG: tag, "t": name, "v": payload}


def payload_of(plain: Plain, tag: str, name: str) -> Any:
    """What a plain form holds of the class of this name; None where it is something else."""
    return plain.get("v") if type(plain) is dict and plain.get(TAG) == tag and plain.get("t") == name else None
