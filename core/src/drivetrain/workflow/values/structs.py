"""Structs of msgspec: sends their fields, and lets msgspec check their constraints."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, get_args, get_origin

from msgspec import UNSET, Struct, UnsetType, ValidationError, convert, structs

from drivetrain.contract import Plain
from drivetrain.workflow.values.annotations import member_types
from drivetrain.workflow.values.codec import Codec, Compile, named, payload_of
from drivetrain.workflow.values.errors import ValueMismatch, ValueRefused, name_of
from drivetrain.workflow.values.records import convert_each
from drivetrain.workflow.values.scalars import Travels, refuse

__all__ = ["is_struct", "struct_codec"]

_ABSENT: Final = object()


def is_struct(kind: type) -> bool:
    """Whether it is a struct of msgspec."""
    return issubclass(kind, Struct)


def struct_codec(kind: Any, codec: Compile, travels: Travels) -> Codec:
    """The codec of a struct, also of a generic one. Both sides let msgspec make an instance, which may refuse it."""
    origin = get_origin(kind) or kind
    name, expected, kinds = origin.__qualname__, name_of(kind), frozenset({origin})
    hints = member_types(kind)
    fields = {field: codec(_without_unset(hints.get(field, Any))) for field in origin.__struct_fields__}
    encodes = {field: inner.encode for field, inner in fields.items()}
    decodes = {field: inner.decode for field, inner in fields.items()}
    make = _maker(kind, origin)

    def checked(values: Mapping[str, Any], given: object) -> Any:
        try:
            return make(values)
        except Exception as error:  # __post_init__ may raise anything
            raise ValueRefused(expected, given, f"{expected}: {error}") from error

    def encode(value: Any) -> Plain:
        if type(value) is not origin:
            raise refuse(value, expected, kinds, travels)
        items = {field: getattr(value, field, _ABSENT) for field in encodes}
        if absent := [field for field, item in items.items() if item is _ABSENT]:
            raise ValueMismatch(expected, value, advice=f"its field {absent[0]!r} is not set")
        given = {field: item for field, item in items.items() if item is not UNSET}
        plain = named("object", name, convert_each(encodes, given))
        checked(given, value)
        return plain

    def decode(plain: Plain) -> Any:
        payload = payload_of(plain, "object", name)
        if type(payload) is not dict:
            raise ValueMismatch(expected, plain)
        if not payload.keys() <= decodes.keys():
            unknown = ", ".join(sorted(payload.keys() - decodes.keys()))
            raise ValueMismatch(expected, plain, advice=f"it has no field {unknown}")
        return checked(convert_each(decodes, payload), plain)

    return Codec(expected, encode, decode, kinds, bounded=all(inner.bounded for inner in fields.values()))


def _maker(kind: Any, origin: Any) -> Callable[[Mapping[str, Any]], Any]:
    """A function that makes an instance of the values of fields, and checks the constraints that msgspec knows."""
    try:
        convert(None, kind)
    except ValidationError:
        pass
    except TypeError:  # msgspec does not support all of its types; it only holds them
        return lambda values: origin(**values)
    written = {field.name: field.encode_name for field in structs.fields(origin)}
    config = origin.__struct_config__
    if not config.array_like:
        return lambda values: convert({written[field]: value for field, value in values.items()}, kind)
    start = [] if config.tag is None else [config.tag]
    return lambda values: convert([*start, *structs.astuple(origin(**values))], kind)


def _without_unset(hint: Any) -> Any:
    """An annotation without ``UnsetType``: a field that is unset is not sent, and so is unset again."""
    members = get_args(hint)
    if UnsetType not in members:
        return hint
    return functools.reduce(operator.or_, [member for member in members if member is not UnsetType])
