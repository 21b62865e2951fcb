"""Enums, named tuples and typed dicts.

The plain form has the name of a class, but not its module. So decoding neither imports nor executes anything by a name
from a message. A class is rebuilt only where an annotation names it.
"""

from __future__ import annotations

from enum import Enum, Flag
from typing import Any, Final, NotRequired, Required, get_origin, get_type_hints

from drivetrain.contract import Plain
from drivetrain.workflow.values.annotations import member_types
from drivetrain.workflow.values.codec import Codec, Compile, Convert, named, payload_of
from drivetrain.workflow.values.containers import as_dict, pairs_of
from drivetrain.workflow.values.errors import ValueMismatch, name_of, shown
from drivetrain.workflow.values.records import lost_attributes
from drivetrain.workflow.values.scalars import Travels, encode_int, narrowed, refuse

__all__ = ["enum_codec", "is_tuple_record", "tuple_record_codec", "typed_dict_codec"]


def is_tuple_record(kind: type) -> bool:
    """Whether it is a named tuple."""
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


def enum_codec(kind: type[Enum], travels: Travels) -> Codec:
    """The codec of an enum. A member is sent by name; a flag by value, since a combination may have no name."""
    expected, kinds = kind.__qualname__, frozenset({kind})
    is_flag = issubclass(kind, Flag)

    def encode(value: Any) -> Plain:
        if type(value) is not kind:
            raise refuse(value, expected, kinds, travels)
        return named("enum", expected, encode_int(value._value_) if is_flag else value._name_)

    def decode(plain: Plain) -> Enum:
        member = payload_of(plain, "enum", expected)
        try:
            return kind(_int(member)) if is_flag else kind.__members__[member]
        except Exception as error:  # no such member, or the enum's own _missing_ failed
            raise ValueMismatch(expected, plain) from error

    return Codec(expected, encode, decode, kinds, bounded=True)


def _int(plain: Plain) -> int:
    return plain if type(plain) is int else int(plain["v"], 16)


def _at(name: str, convert: Convert) -> Convert:
    """The same conversion, with the field's name in the path of its mismatches."""
    return _stepping(f".{name}", convert)


def _in_key(key: str, convert: Convert) -> Convert:
    return _stepping(f"[{key!r}]", convert)


def _stepping(step: str, convert: Convert) -> Convert:
    def convert_field(value: Any) -> Any:
        try:
            return convert(value)
        except ValueMismatch as mismatch:
            mismatch.inside(step)
            raise

    return convert_field


def tuple_record_codec(kind: Any, codec: Compile, travels: Travels) -> Codec:
    """The codec of a named tuple, of ``typing`` or ``collections``."""
    origin = get_origin(kind) or kind
    name, expected, kinds = origin.__qualname__, name_of(kind), frozenset({origin})
    hints = member_types(kind)
    fields = {field: codec(hints.get(field, Any)) for field in origin._fields}
    encodes = {field: _at(field, inner.encode) for field, inner in fields.items()}
    decodes = {field: _at(field, inner.decode) for field, inner in fields.items()}

    def encode(value: Any) -> Plain:
        if type(value) is not origin or len(value) != len(encodes):
            raise refuse(value, expected, kinds, travels)
        if lost := lost_attributes(value, {}):
            raise ValueMismatch(
                expected, value, advice=f"its attribute {lost[0]!r} is not a field, so it would be lost"
            )
        return named("object", name, {field: encodes[field](item) for field, item in zip(encodes, value, strict=True)})

    def decode(plain: Plain) -> Any:
        payload = payload_of(plain, "object", name)
        if type(payload) is not dict or payload.keys() != decodes.keys():
            raise ValueMismatch(expected, plain)
        # Not with ``_make``, which the class may override.
        return tuple.__new__(origin, [convert(payload[field]) for field, convert in decodes.items()])

    return Codec(expected, encode, decode, kinds, bounded=all(inner.bounded for inner in fields.values()))


_MARKS: Final = frozenset({Required, NotRequired})


def _typed_keys(kind: Any) -> tuple[dict[str, Any], set[str]]:
    """The keys of a typed dict with their types, and which of them must be there."""
    origin = get_origin(kind) or kind
    required = set(origin.__required_keys__)
    # If annotations are strings, __required_keys__ ignores Required and NotRequired inside them.
    for key, hint in get_type_hints(origin, include_extras=True).items():
        marks = _marks(hint)
        required = required - {key} if NotRequired in marks else required | {key} if Required in marks else required
    return member_types(kind), required


def _marks(hint: Any) -> set[Any]:
    marks = set()
    while (origin := get_origin(hint)) is not None and (origin in _MARKS or hasattr(hint, "__metadata__")):
        marks.add(origin)
        hint = hint.__origin__ if hasattr(hint, "__metadata__") else hint.__args__[0]
    return marks


def typed_dict_codec(kind: Any, codec: Compile, travels: Travels) -> Codec:
    """The codec of a typed dict: a dict that has only the keys that it names."""
    types, required = _typed_keys(kind)
    expected, kinds = name_of(kind), frozenset({dict})
    fields = {key: codec(hint) for key, hint in types.items()}
    encodes = {key: _in_key(key, inner.encode) for key, inner in fields.items()}
    decodes = {key: _in_key(key, inner.decode) for key, inner in fields.items()}

    def check(keys: Any, value: object) -> None:
        missing, unknown = required.difference(keys), [key for key in keys if type(key) is not str or key not in fields]
        if missing or unknown:
            problems = [f"key {key!r} is missing" for key in sorted(missing)] + [
                f"key {shown(key)} is unknown" for key in unknown
            ]
            raise ValueMismatch(expected, value, advice=", ".join(problems))

    def encode(value: Any) -> Plain:
        if type(value) is not dict:
            value = narrowed(value, dict, expected, kinds, travels)
        check(value, value)
        return as_dict(list(value), [encodes[key](item) for key, item in value.items()])

    def decode(plain: Plain) -> dict[str, Any]:
        keys, values = pairs_of(plain, expected)
        check(keys, plain)
        return {key: decodes[key](item) for key, item in zip(keys, values, strict=True)}

    return Codec(expected, encode, decode, kinds, bounded=all(inner.bounded for inner in fields.values()))
