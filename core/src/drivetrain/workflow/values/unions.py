"""Unions and literals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from drivetrain.contract import Failure, Plain
from drivetrain.workflow.values.codec import TAG, Codec
from drivetrain.workflow.values.errors import UnsupportedAnnotation, ValueMismatch, shown
from drivetrain.workflow.values.narrowing import array_scalar
from drivetrain.workflow.values.scalars import PLAIN_SCALARS, TAGGED_SCALARS, Travels, refuse

__all__ = ["literal_codec", "union_codec"]


def _by_kind(members: Sequence[Codec]) -> dict[type, list[Codec]]:
    """For each exact type, the members that may take its values. Members that name the type come first.

    The choice changes neither what is sent nor what is rebuilt: the plain form identifies the type.
    """
    known = [member for member in members if member.kinds is not None]
    open_ended = [member for member in members if member.kinds is None]
    kinds = frozenset().union(*(member.kinds or () for member in known))
    return {kind: [*(m for m in known if kind in (m.kinds or ())), *open_ended] for kind in kinds}


def _refuse_namesakes(members: Sequence[Codec], expected: str) -> None:
    """Refuse two classes of the same name: the plain form could not distinguish them."""
    kinds = {kind for member in members for kind in member.kinds or ()}
    names = [kind.__qualname__ for kind in kinds]
    if len(set(names)) < len(names):
        raise UnsupportedAnnotation(f"{expected} has two classes of the same name, which cannot be distinguished")


def _dispatch_key(plain: Plain) -> Any:
    """The key by which a plain value is dispatched: its type, its tag, or the name of its class."""
    if type(plain) is not dict:
        return type(plain)
    tag = plain.get(TAG, dict)
    key = plain.get("t") if tag in _NAMED else tag
    return key if tag is dict or type(key) is str else None


_NAMED: Final = ("object", "enum", "custom")
_TAGS: Final = {scalar.kind: scalar.tag for scalar in (*TAGGED_SCALARS, *PLAIN_SCALARS)} | {Failure: "failure"}


def _by_dispatch_key(by_kind: Mapping[type, list[Codec]]) -> dict[Any, list[Codec]]:
    """The members that may read a plain value of each key: the type itself, its tag, and its name as a class."""
    found: dict[Any, list[Codec]] = {}
    for kind, members in by_kind.items():
        for key in dict.fromkeys((kind, _TAGS.get(kind, kind.__name__), kind.__qualname__)):
            found[key] = [*found.get(key, []), *(member for member in members if member not in found.get(key, []))]
    return found


def _first_to_take(members: Sequence[Codec], value: Any, refusal: ValueMismatch) -> Plain:
    for member in members:
        try:
            return member.encode(value)
        except ValueMismatch:
            continue
    raise refusal


def _first_to_read(members: Sequence[Codec], plain: Plain, refusal: ValueMismatch) -> Any:
    """The value of the first member that decodes exactly; otherwise of the first member that decodes at all.

    ``Any`` decodes an instance of a class as its fields. So ``list[Any] | list[Color]`` can decode a list of colors in
    two ways. A value is exact if its member encodes it to the same plain form again.
    """
    readings = []
    for member in members:
        try:
            value = member.decode(plain)
            readings.append(value)
            if member.encode(value) == plain:
                return value
        except ValueMismatch:
            continue
    if not readings:
        raise refusal
    return readings[0]


def union_codec(members: Sequence[Codec], expected: str, travels: Travels) -> Codec:
    """The codec of ``A | B``: the first member that fits encodes the value."""
    _refuse_namesakes(members, expected)
    by_kind = _by_kind(members)
    by_key = _by_dispatch_key(by_kind)
    open_ended = [member for member in members if member.kinds is None]
    kinds = frozenset(by_kind)

    def inherited(kind: type) -> Sequence[Codec]:
        """The members that may take a value of a subclass; of a number that is not an int, those that accept ints."""
        found = (by_kind[base] for base in kind.__mro__ if base in by_kind)
        return next(found, by_kind.get(int, open_ended) if hasattr(kind, "__index__") else open_ended)

    def encode(value: Any) -> Plain:
        fitting = by_kind.get(type(value))
        if fitting is not None and len(fitting) == 1:
            return fitting[0].encode(value)
        if fitting is None and (number := array_scalar(value)) is not None:
            fitting = by_kind.get(type(number))
        return _first_to_take(fitting or inherited(type(value)), value, refuse(value, expected, kinds, travels))

    def decode(plain: Plain) -> Any:
        fitting = by_key.get(_dispatch_key(plain), open_ended)
        if len(fitting) == 1:
            return fitting[0].decode(plain)
        return _first_to_read(fitting, plain, ValueMismatch(expected, plain))

    bounded = all(member.bounded for member in members)
    return Codec(expected, encode, decode, None if open_ended else kinds, bounded=bounded)


def literal_codec(choices: Sequence[tuple[Any, Codec]]) -> Codec:
    """The codec of ``Literal[...]``: these values, each with the codec of its own type."""
    expected = f"Literal[{', '.join(shown(choice) for choice, _ in choices)}]"
    encodes = {(type(choice), choice): codec.encode for choice, codec in choices}
    plains = [(codec.encode(choice), choice) for choice, codec in choices]

    def encode(value: Any) -> Plain:
        try:
            encode_choice = encodes[type(value), value]
        except (KeyError, TypeError):
            raise ValueMismatch(expected, value) from None
        return encode_choice(value)

    def decode(plain: Plain) -> Any:
        for known, choice in plains:
            if type(plain) is type(known) and plain == known:
                return choice
        raise ValueMismatch(expected, plain)

    return Codec(expected, encode, decode, frozenset(type(choice) for choice, _ in choices), bounded=True)
