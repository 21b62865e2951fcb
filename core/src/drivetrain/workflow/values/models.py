"""Models of pydantic: sends their fields, and validates what arrives.

This module does not import pydantic. An application that has a model has imported it already.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from drivetrain.contract import Plain
from drivetrain.workflow.values.codec import TAG, Codec, Compile, named, payload_of
from drivetrain.workflow.values.errors import UnsupportedAnnotation, ValueMismatch, ValueRefused, name_of, shown
from drivetrain.workflow.values.records import convert_each
from drivetrain.workflow.values.scalars import Travels, refuse

__all__ = ["has_pydantic_schema", "is_model", "model_codec", "old_model_advice", "pydantic_type_codec"]

#: The oldest pydantic whose models can be sent, as the extra ``pydantic`` of the distribution requires it.
_OLDEST: Final = (2, 11)
_BASES: Final = ("pydantic.main", "pydantic.v1.main")

#: The key of a model's plain form that has the names of fields that were not given, but have their default.
_DEFAULTED: Final = "defaulted"
#: How the line of a `ValidationError` begins that links to a web page.
_LINK: Final = "    For further information visit"


def is_model(kind: type) -> bool:
    """Whether it is a model of pydantic, of any version."""
    return any(base.__name__ == "BaseModel" and base.__module__ in _BASES for base in kind.__mro__)


def has_pydantic_schema(kind: type) -> bool:
    """Whether it is another class that pydantic knows how to validate, such as `HttpUrl`."""
    return hasattr(kind, "__get_pydantic_core_schema__") and "pydantic" in sys.modules


def model_codec(kind: Any, codec: Compile, travels: Travels) -> Codec:
    """The codec of a model. Both sides validate: the sender as the worker will.

    Raises:
        UnsupportedAnnotation: its version of pydantic is too old, or its fields are not defined yet.
    """
    _check_version(kind)
    _check_complete(kind)
    name, expected, kinds = kind.__qualname__, name_of(kind), frozenset({kind})
    fields = {field: codec(Any if info.annotation is None else info.annotation) for field, info in _fields_of(kind)}
    encodes = {field: inner.encode for field, inner in fields.items()}
    decodes = {field: inner.decode for field, inner in fields.items()}
    untyped, validated = codec(Any), _validator(kind, expected)
    keeps_more = kind.model_config.get("extra") == "allow"

    def encode(value: Any) -> Plain:
        if type(value) is not kind:
            raise refuse(value, expected, kinds, travels)
        items = {field: _read(value, field, expected) for field in encodes}
        more = value.model_extra or {}
        validated({**items, **more}, value)
        plain = named("object", name, convert_each(encodes, items) | {key: untyped.encode(more[key]) for key in more})
        if defaulted := [field for field in encodes if field not in value.model_fields_set]:
            plain[_DEFAULTED] = defaulted
        return plain

    def decode(plain: Plain) -> Any:
        payload = payload_of(plain, "object", name)
        if type(payload) is not dict:
            raise ValueMismatch(expected, plain)
        known = {field: item for field, item in payload.items() if field in decodes}
        more = {key: item for key, item in payload.items() if key not in decodes}
        if keeps_more:
            more = {key: untyped.decode(item) for key, item in more.items()}
        instance = validated({**convert_each(decodes, known), **more}, plain)
        defaulted = plain.get(_DEFAULTED, ())
        instance.model_fields_set.difference_update(defaulted if type(defaulted) is list else ())
        return instance

    bounded = not keeps_more and all(inner.bounded for inner in fields.values())
    return Codec(expected, encode, decode, kinds, bounded=bounded)


def _fields_of(kind: Any) -> Any:
    return kind.model_fields.items()


def _read(value: Any, field: str, expected: str) -> Any:
    try:
        return getattr(value, field)
    except AttributeError:
        raise ValueMismatch(expected, value, advice=f"its field {field!r} is not set") from None
    except Exception as error:  # a model of SQLModel may have to load it
        raise ValueMismatch(expected, value, advice=f"its field {field!r} cannot be read: {shown(error)}") from error


def _validator(kind: Any, expected: str) -> Callable[[Mapping[str, Any], object], Any]:
    """A function by which pydantic makes an instance of the values of fields; it also takes what was given."""
    from pydantic import ValidationError

    # A subclass that replaces `model_validate`, such as SQLModel, may not know these options.
    aliased = any(info.validation_alias is not None for _, info in _fields_of(kind))
    by_name = {"by_alias": False, "by_name": True} if aliased else {}
    is_root = kind.__pydantic_root_model__

    def validated(values: Mapping[str, Any], given: object) -> Any:
        whole = values["root"] if is_root and "root" in values else values
        try:
            return kind.model_validate(whole, **by_name)
        except ValidationError as error:
            raise ValueRefused(expected, given, _text_of(error)) from error
        except Exception as error:  # a validator may raise anything
            raise ValueMismatch(expected, given, advice=f"its validator raised {shown(error)}") from error

    return validated


def _text_of(error: Exception) -> str:
    """What pydantic says, in one line, without links."""
    title, *lines = [line for line in str(error).splitlines() if not line.startswith(_LINK)]
    faults: list[str] = []
    for line in lines:
        if faults and line.startswith("  "):
            faults[-1] = f"{faults[-1]} {line.strip()}"
        else:
            faults.append(line.strip() if line.startswith("  ") else f"{line}:")
    return f"{title}: {'; '.join(faults)}"


def _check_version(kind: Any) -> None:
    if advice := old_model_advice(kind):
        raise UnsupportedAnnotation(f"values of {kind.__qualname__} cannot be sent: {advice}")


def old_model_advice(kind: Any) -> str:
    """What to do about a model of a pydantic that is too old; empty: its version can be sent."""
    import pydantic

    version = tuple(int(part) for part in pydantic.VERSION.split(".")[:2])
    if version >= _OLDEST and hasattr(kind, "__pydantic_validator__"):
        return ""
    found = pydantic.VERSION if version < _OLDEST else "1 (pydantic.v1)"
    return (
        f"it is a model of pydantic {found}; use pydantic.BaseModel of a version that drivetrain supports: "
        "pip install 'drivetrain[pydantic]'"
    )


def _check_complete(kind: Any) -> None:
    if kind.__pydantic_complete__:
        return
    try:
        kind.model_rebuild()
    except Exception as error:
        raise UnsupportedAnnotation(f"the fields of {kind.__qualname__} cannot be resolved: {error}") from error


def pydantic_type_codec(kind: Any, codec: Compile) -> Codec:
    """The codec of another class that pydantic validates: what pydantic writes as JSON."""
    from pydantic import TypeAdapter

    name, untyped = kind.__qualname__, codec(Any)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(kind)
    except Exception as error:
        raise UnsupportedAnnotation(f"values of {name} cannot be sent: pydantic says {shown(error)}") from error

    def encode(value: Any) -> Plain:
        try:
            plain = untyped.encode(adapter.dump_python(value, mode="json", round_trip=True, warnings="error"))
            same = decoded(plain) == value
        except Exception as error:
            raise ValueMismatch(name, value) from error
        if not same:
            raise ValueMismatch(
                name, value, advice=f"what pydantic writes for a {name} does not give it back; send what it holds"
            )
        return {TAG: "custom", "t": name, "v": plain}

    def decoded(plain: Plain) -> Any:
        return adapter.validate_python(untyped.decode(plain))

    def decode(plain: Plain) -> Any:
        if type(plain) is not dict or plain.get(TAG) != "custom" or plain.get("t") != name:
            raise ValueMismatch(name, plain)
        try:
            return decoded(plain.get("v"))
        except Exception as error:
            raise ValueMismatch(name, plain) from error

    return Codec(name, encode, decode)
