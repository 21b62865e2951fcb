"""Dataclasses and attrs classes: sends their fields, and rebuilds instances without running any code of theirs.

``__init__``, ``__post_init__``, converters and validators ran when the value was made. A second run could change the
value or refuse it. So the fields are sent as they are, and are set again without these functions.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import FunctionType
from typing import Any, Final, get_origin

import attrs
from attrs import frozen

from drivetrain.contract import Plain
from drivetrain.workflow.values.annotations import member_types
from drivetrain.workflow.values.codec import Codec, Compile, Convert, named, payload_of
from drivetrain.workflow.values.errors import UnsupportedAnnotation, ValueMismatch, name_of, shown
from drivetrain.workflow.values.scalars import Travels, refuse

__all__ = ["convert_each", "is_record", "lost_attributes", "record_codec"]

_UNSET: Final = object()
#: The attribute in which attrs caches a hash; ``__init__`` sets it to None.
_CACHED_HASH: Final = "_attrs_cached_hash"
#: The flag of classes that Python code defines; built-in classes do not have it.
_HEAP_TYPE: Final = 1 << 9

#: Makes the default value of a field. The argument is the instance with the fields that are set so far.
_Default = Callable[[Any], Any]


def is_record(kind: type) -> bool:
    """Whether it is an attrs class or a dataclass."""
    return attrs.has(kind) or dataclasses.is_dataclass(kind)


@frozen
class _Field:
    name: str
    codec: Codec
    #: Whether ``__init__`` takes it. A field that it does not take may be unset.
    init: bool
    default: _Default | None


def record_codec(kind: Any, codec: Compile, travels: Travels, tag: str = "object") -> Codec:
    """The codec of an attrs class or a dataclass, also of a generic one."""
    origin = get_origin(kind) or kind
    name, expected, kinds = origin.__qualname__, name_of(kind), frozenset({origin})
    fields = {field.name: field for field in _fields(kind, codec)}
    required = [field.name for field in fields.values() if field.init]
    encodes = {field.name: field.codec.encode for field in fields.values()}
    decodes = {field.name: field.codec.decode for field in fields.values()}
    rebuild = _rebuilder(origin, fields, required)

    def encode(value: Any) -> Plain:
        if type(value) is not origin:
            raise refuse(value, expected, kinds, travels)
        if lost := lost_attributes(value, fields):
            raise ValueMismatch(expected, value, advice=_lost_advice(lost, name))
        items = {field: item for field in encodes if (item := getattr(value, field, _UNSET)) is not _UNSET}
        if len(items) < len(encodes) and (unset := [field for field in required if field not in items]):
            raise ValueMismatch(expected, value, advice=f"its field {unset[0]!r} is not set")
        return named(tag, name, convert_each(encodes, items))

    def decode(plain: Plain) -> Any:
        payload = payload_of(plain, tag, name)
        if type(payload) is not dict:
            raise ValueMismatch(expected, plain)
        if not payload.keys() <= decodes.keys():
            unknown = ", ".join(sorted(payload.keys() - decodes.keys()))
            raise ValueMismatch(expected, plain, advice=f"it has no field {unknown}")
        try:
            return rebuild(convert_each(decodes, payload))
        except ValueMismatch:
            raise
        except _MissingField as missing:
            raise ValueMismatch(expected, plain, advice=f"field {missing.args[0]!r} is missing") from None
        except Exception as error:  # a property, or the default of a field that is missing
            raise ValueMismatch(expected, plain, advice=f"it was refused with {shown(error)}") from error

    return Codec(expected, encode, decode, kinds, bounded=all(field.codec.bounded for field in fields.values()))


def convert_each(converts: Mapping[str, Convert], items: Mapping[str, Any]) -> dict[str, Any]:
    """The converted values of fields. A mismatch has the name of its field in its path."""
    converted: dict[str, Any] = {}
    field = ""
    try:
        for field, item in items.items():
            converted[field] = converts[field](item)
    except ValueMismatch as mismatch:
        mismatch.inside(f".{field}")
        raise
    return converted


# Fields


def _fields(kind: Any, codec: Compile) -> Iterator[_Field]:
    origin = get_origin(kind) or kind
    if attrs.has(origin) and dataclasses.is_dataclass(origin):
        raise UnsupportedAnnotation(f"{origin.__qualname__} is both an attrs class and a dataclass")
    hints = member_types(kind)
    of_dataclass = dataclasses.is_dataclass(origin)
    for field in dataclasses.fields(origin) if of_dataclass else attrs.fields(origin):
        hint = hints.get(field.name, field.type)
        default = _dataclass_default(field) if of_dataclass else _attrs_default(field)
        yield _Field(field.name, codec(Any if hint is None else hint), field.init, default)


def _dataclass_default(field: dataclasses.Field[Any]) -> _Default | None:
    if field.default is not dataclasses.MISSING:
        return lambda _instance: field.default
    factory = field.default_factory
    return None if factory is dataclasses.MISSING else lambda _instance: factory()


def _attrs_default(field: Any) -> _Default | None:
    default, convert = field.default, field.converter
    if default is attrs.NOTHING:
        return None

    def make(instance: Any) -> Any:
        value = default
        if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
            value = default.factory(instance) if default.takes_self else default.factory()
        if convert is None:
            return value
        takes_more = isinstance(convert, getattr(attrs, "Converter", ()))  # attrs 24.1
        return convert.__call__(value, instance, field) if takes_more else convert(value)

    return make


# Rebuilding


class _MissingField(Exception):
    """A required field is missing."""


def _rebuilder(
    origin: type, fields: Mapping[str, _Field], required: Sequence[str]
) -> Callable[[Mapping[str, Any]], Any]:
    """A function that makes an instance from values. Fields without a value get their default."""
    make, set_field = _maker(origin, required), object.__setattr__
    caches_hash = _CACHED_HASH in getattr(getattr(origin.__hash__, "__code__", None), "co_names", ())

    def rebuild(values: Mapping[str, Any]) -> Any:
        instance = make(values)
        for name, value in values.items():
            set_field(instance, name, value)
        if len(values) < len(fields):
            _set_defaults(instance, [field for name, field in fields.items() if name not in values])
        if caches_hash:
            set_field(instance, _CACHED_HASH, None)
        return instance

    return rebuild


def _set_defaults(instance: Any, missing: Iterable[_Field]) -> None:
    for field in missing:
        if field.default is not None:
            object.__setattr__(instance, field.name, field.default(instance))
        elif field.init:
            raise _MissingField(field.name)


def _maker(origin: type, init_fields: Sequence[str]) -> Callable[[Mapping[str, Any]], Any]:
    """A function that makes an instance whose fields are not set yet. The argument has the values of the fields."""
    builtin: Any = next(base for base in origin.__mro__ if not base.__flags__ & _HEAP_TYPE)
    if builtin is object:
        return lambda _values: object.__new__(origin)
    if issubclass(builtin, BaseException):  # as when it was raised: its fields are its args
        return lambda values: builtin.__new__(origin, *(values[name] for name in init_fields if name in values))
    raise UnsupportedAnnotation(
        f"{origin.__qualname__} is also a {builtin.__name__}, which holds more than fields; register it with the app"
    )


# Attributes that are not fields


def lost_attributes(value: object, fields: Mapping[str, Any]) -> list[str]:
    """The attributes of an instance that are not fields, so they would be lost.

    It leaves out attributes that Python or a descriptor of the class, such as a cached property, has set.
    """
    attributes = getattr(value, "__dict__", None)
    if not attributes or attributes.keys() <= fields.keys():
        return []
    return sorted(name for name in attributes if name not in fields and not _is_cache(type(value), name))


def _is_cache(kind: type, name: str) -> bool:
    if name == _CACHED_HASH or (name.startswith("__") and name.endswith("__")):
        return True
    found = inspect.getattr_static(kind, name, None)
    return hasattr(type(found), "__get__") and not isinstance(found, FunctionType)


def _lost_advice(lost: list[str], name: str) -> str:
    return (
        f"its attribute {lost[0]!r} is not a field, so it would be lost; "
        f"make it a field with init=False, or register the type {name} with the app"
    )
