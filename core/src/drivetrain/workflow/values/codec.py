"""Codecs, the compiled form of annotations, and the tags of the plain form."""

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
    "AllPlain",
    "Codec",
    "Compile",
    "Convert",
    "ConvertEach",
    "all_plain_of",
    "all_plain_of_one_type",
    "each",
    "named",
    "payload_of",
    "tagged",
    "untagged",
]

#: The reserved key. A dict with this key is a tagged value: the key's value is the tag.
TAG = "$"

Convert: TypeAlias = Callable[[Any], Any]
AllPlain: TypeAlias = Callable[[Collection[Any]], bool]

_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


def _never(_values: Collection[Any]) -> bool:
    return False


@frozen(eq=False)
class Codec:
    """Encodes and decodes the values of one annotation."""

    #: The annotation as text, for error messages.
    expected: str
    #: Makes the plain form of a value. Raises `ValueMismatch`.
    encode: Convert
    #: Makes a value from its plain form. Raises `ValueMismatch`.
    decode: Convert
    #: The exact types of all values that may fit; None: not known.
    kinds: frozenset[type] | None = None
    #: Whether many values all fit and are their own plain form. One fast check replaces a conversion of each value.
    all_plain: AllPlain = _never
    #: Whether its annotation limits the nesting of its values. `Any` does not, nor does a class that holds instances of
    #: itself.
    bounded: bool = False


#: Returns the codec of an annotation that is a part of the one being compiled.
Compile: TypeAlias = Callable[[Any], Codec]


def _ints_plain(values: Collection[int]) -> bool:
    return min(values) >= _SMALLEST and max(values) <= _LARGEST


def _floats_plain(values: Collection[float]) -> bool:
    # A sum may overflow although no value is infinite. Then each value is checked.
    return isfinite(sum(values))


def _texts_plain(values: Collection[str]) -> bool:
    return "".join(values).isascii()


def _always(_values: Collection[Any]) -> bool:
    return True


_ALL_PLAIN: dict[type, AllPlain] = {
    int: _ints_plain,
    float: _floats_plain,
    str: _texts_plain,
    bool: _always,
    NoneType: _always,
}


def all_plain_of(kind: type) -> AllPlain:
    """A check whether many values are all exactly of ``kind`` and are their own plain form."""
    only, check = {kind}, _ALL_PLAIN[kind]
    return lambda values: set(map(type, values)) == only and check(values)


def all_plain_of_one_type(values: Collection[Any]) -> bool:
    """Whether many values all have the same type, and are their own plain form."""
    kinds = set(map(type, values))
    return len(kinds) == 1 and _ALL_PLAIN.get(kinds.pop(), _never)(values)


class ConvertEach(Protocol):
    """Converts items to a new list."""

    def __call__(self, items: Collection[Any], step: Callable[[int], str] = ..., /) -> list[Any]:
        """The converted items. ``step`` formats the index of an item for the path of a mismatch."""
        ...


def each(convert: Convert, all_plain: AllPlain) -> ConvertEach:
    """A function that converts the items of a collection. A mismatch has the index of its item in its path."""

    def convert_each(items: Collection[Any], step: Callable[[int], str] = "[{}]".format) -> list[Any]:
        if all_plain(items):
            return list(items)
        converted: list[Any] = []
        try:
            # `extend` appends the items one by one, so the length is the index of the item that failed.
            converted.extend(map(convert, items))
        except ValueMismatch as mismatch:
            mismatch.inside(step(len(converted)))
            raise
        return converted

    return convert_each


def tagged(tag: str, payload: Plain) -> Plain:
    """The plain form of a value that is not plain itself."""
    return {TAG: tag, "v": payload}


def untagged(plain: Plain, tag: str) -> Plain:
    """The payload of a plain form with this tag; None for any other plain form."""
    return plain.get("v") if type(plain) is dict and plain.get(TAG) == tag else None


def named(tag: str, name: str, payload: Plain) -> Plain:
    """The plain form of an instance of an application's class, with the name of the class."""
    return {TAG: tag, "t": name, "v": payload}


def payload_of(plain: Plain, tag: str, name: str) -> Any:
    """The payload of a plain form with this tag and this class name; None for any other plain form."""
    return plain.get("v") if type(plain) is dict and plain.get(TAG) == tag and plain.get("t") == name else None
