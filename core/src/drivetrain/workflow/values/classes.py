"""Enums, dataclasses, attrs classes, named tuples and typed dicts.

In the plain form a class has its name, never its module: nothing is imported, or executed, by a name from the wire.
A class is rebuilt where an annotation names it, and only there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from enum import Enum, Flag
from typing import Any, Final, NotRequired, Required, get_origin, get_type_hints

import attrs
from cattrs import Converter
from cattrs.errors import ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from drivetrain.contract import Plain
from drivetrain.workflow.values.annotations import member_types
from drivetrain.workflow.values.codec import TAG, Codec, Compile, Convert
from drivetrain.workflow.values.containers import as_dict, pairs_of
from drivetrain.workflow.values.leaves import Travels, encode_int, refuse
from drivetrain.workflow.values.mismatch import UnsupportedAnnotation, ValueMismatch, name_of, shown

__all__ = ["enum_codec", "is_record", "is_tuple_record", "record_codec", "tuple_record_codec", "typed_dict_codec"]


def is_record(kind: type) -> bool:
    """Whether it is an attrs class or a dataclass."""
    return attrs.has(kind) or dataclasses.is_dataclass(kind)


def is_tuple_record(kind: type) -> bool:
    """Whether it is a named tuple."""
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


def _object(tag: str, name: str, payload: Plain) -> Plain:
    return {TAG: tag, "t": name, "v": payload}


def _payload(plain: Plain, tag: str, name: str) -> Any:
    """What a plain form holds of the class of this name; None where it is something else."""
    return plain.get("v") if type(plain) is dict and plain.get(TAG) == tag and plain.get("t") == name else None


def enum_codec(kind: type[Enum], travels: Travels) -> Codec:
    """An enum's members by name; a flag's, which may be combinations without one, by value."""
    expected, kinds = kind.__qualname__, frozenset({kind})
    is_flag = issubclass(kind, Flag)

    def encode(value: Any) -> Plain:
        if type(value) is not kind:
            raise refuse(value, expected, kinds, travels)
        return _object("enum", expected, encode_int(value._value_) if is_flag else value._name_)

    def decode(plain: Plain) -> Enum:
        named = _payload(plain, "enum", expected)
        try:
            return kind(_int(named)) if is_flag else kind.__members__[named]
        except Exception as error:  # no such member, or the enum's own _missing_ failed
            raise ValueMismatch(expected, plain) from error

    return Codec(expected, encode, decode, kinds)


def _int(plain: Plain) -> int:
    return plain if type(plain) is int else int(plain["v"], 16)


def _at(name: str, convert: Convert) -> Callable[..., Any]:
    """The same conversion, telling the field's name in its mismatches."""
    return _stepping(f".{name}", convert)


def _in_key(key: str, convert: Convert) -> Convert:
    return _stepping(f"[{key!r}]", convert)


def _stepping(step: str, convert: Convert) -> Callable[..., Any]:
    # It takes the second argument that cattrs gives to its hooks.
    def convert_field(value: Any, _kind: object = None) -> Any:
        try:
            return convert(value)
        except ValueMismatch as mismatch:
            mismatch.inside(step)
            raise

    return convert_field


def _fields_of(kind: Any) -> tuple[Any, ...]:
    return dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else attrs.fields(kind)


def _field_types(kind: Any) -> dict[str, Any]:
    """The fields that travel, with their types: those that ``__init__`` takes."""
    origin = get_origin(kind) or kind
    if attrs.has(origin) and dataclasses.is_dataclass(origin):
        raise UnsupportedAnnotation(f"{origin.__qualname__} is both an attrs class and a dataclass")
    hints = member_types(kind)
    if any(isinstance(hint, dataclasses.InitVar) for hint in hints.values()):
        raise UnsupportedAnnotation(f"{origin.__qualname__} has an InitVar, which no instance keeps")
    fields = _fields_of(origin)
    types = {field.name: hints.get(field.name, field.type) for field in fields if field.init}
    return {name: Any if hint is None else hint for name, hint in types.items()}


def _filled(kind: Any) -> Any:
    """A generic class with its open arguments filled in, as cattrs wants it."""
    parameters = getattr(kind, "__parameters__", ())
    return kind[tuple(Any for _ in parameters)] if parameters else kind


#: Fields of these names cannot be told apart from the parameters of the functions of cattrs that take hooks by field.
_TAKEN: Final = frozenset({"cl", "converter", "attrs", "typevar_map"})
_STRICT: Final[dict[str, Any]] = {
    "_cattrs_use_linecache": False,
    "_cattrs_forbid_extra_keys": True,
    "_cattrs_detailed_validation": False,
}


def record_codec(kind: Any, codec: Compile, converter: Converter, travels: Travels, tag: str = "object") -> Codec:
    """An attrs class or a dataclass, generic ones too. Fields with ``init=False`` are not sent."""
    origin = get_origin(kind) or kind
    name, expected, kinds = origin.__qualname__, name_of(kind), frozenset({origin})
    fields = {field: codec(hint) for field, hint in _field_types(kind).items()}
    hooked = {field: inner for field, inner in fields.items() if field not in _TAKEN}
    encodes: dict[str, Any] = {at: override(unstruct_hook=_at(at, inner.encode)) for at, inner in hooked.items()}
    decodes: dict[str, Any] = {at: override(struct_hook=_at(at, inner.decode)) for at, inner in hooked.items()}
    to_fields = make_dict_unstructure_fn(_filled(kind), converter, _cattrs_use_linecache=False, **encodes)
    from_fields = make_dict_structure_fn(_filled(kind), converter, **_STRICT, **decodes)

    def encode(value: Any) -> Plain:
        if type(value) is not origin:
            raise refuse(value, expected, kinds, travels)
        return _object(tag, name, to_fields(value))

    def decode(plain: Plain) -> Any:
        held = _payload(plain, tag, name)
        if type(held) is not dict:
            raise ValueMismatch(expected, plain)
        try:
            return from_fields(held, origin)
        except ValueMismatch:
            raise
        except Exception as error:  # fields are missing or unknown, or the class refused them
            raise ValueMismatch(expected, plain, advice=_why_not_built(error, fields, held)) from error

    return Codec(expected, encode, decode, kinds)


def _why_not_built(error: Exception, fields: Mapping[str, Codec], held: Mapping[str, Plain]) -> str:
    if isinstance(error, ForbiddenExtraKeysError):
        return f"it has no field {', '.join(sorted(set(held) - set(fields)))}"
    missing = next((field for field in fields if field not in held and error.args == (field,)), None)
    return f"it was refused with {shown(error)}" if missing is None else f"field {missing!r} is missing"


def tuple_record_codec(kind: Any, codec: Compile, travels: Travels) -> Codec:
    """A named tuple, of ``typing`` or ``collections``."""
    origin = get_origin(kind) or kind
    name, expected, kinds = origin.__qualname__, name_of(kind), frozenset({origin})
    hints = member_types(kind)
    fields = {field: codec(hints.get(field, Any)) for field in origin._fields}
    encodes = {field: _at(field, inner.encode) for field, inner in fields.items()}
    decodes = {field: _at(field, inner.decode) for field, inner in fields.items()}

    def encode(value: Any) -> Plain:
        if type(value) is not origin or len(value) != len(encodes):
            raise refuse(value, expected, kinds, travels)
        return _object(
            "object", name, {field: encodes[field](item) for field, item in zip(encodes, value, strict=True)}
        )

    def decode(plain: Plain) -> Any:
        held = _payload(plain, "object", name)
        if type(held) is not dict or held.keys() != decodes.keys():
            raise ValueMismatch(expected, plain)
        return origin._make([convert(held[field]) for field, convert in decodes.items()])

    return Codec(expected, encode, decode, kinds)


_MARKS: Final = frozenset({Required, NotRequired})


def _typed_keys(kind: Any) -> tuple[dict[str, Any], set[str]]:
    """The keys of a typed dict with their types, and which of them must be there."""
    origin = get_origin(kind) or kind
    required = set(origin.__required_keys__)
    # Where annotations are texts, __required_keys__ has not seen the marks inside them.
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
    """A typed dict: a dict with the keys that it names, and no others."""
    types, required = _typed_keys(kind)
    expected, kinds = name_of(kind), frozenset({dict})
    fields = {key: codec(hint) for key, hint in types.items()}
    encodes = {key: _in_key(key, inner.encode) for key, inner in fields.items()}
    decodes = {key: _in_key(key, inner.decode) for key, inner in fields.items()}

    def check(keys: Any, value: object) -> None:
        missing, unknown = required.difference(keys), [key for key in keys if type(key) is not str or key not in fields]
        if missing or unknown:
            told = [f"key {key!r} is missing" for key in sorted(missing)] + [
                f"key {shown(key)} is unknown" for key in unknown
            ]
            raise ValueMismatch(expected, value, advice=", ".join(told))

    def encode(value: Any) -> Plain:
        if type(value) is not dict:
            raise refuse(value, expected, kinds, travels)
        check(value, value)
        return as_dict(list(value), [encodes[key](item) for key, item in value.items()])

    def decode(plain: Plain) -> dict[str, Any]:
        keys, values = pairs_of(plain, expected)
        check(keys, plain)
        return {key: decodes[key](item) for key, item in zip(keys, values, strict=True)}

    return Codec(expected, encode, decode, kinds)
