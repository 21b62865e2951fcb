"""Parsing settings strictly: turns the value from a file, a variable or code into the type of the setting.

Text from the environment is read by the setting's type first; then cattrs checks all values alike.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn

from drivetrain.contract import ConfigurationError, DrivetrainError, Retries, redact

__all__ = ["from_text", "parse_setting", "shown"]


def shown(value: object) -> str:
    """A value as messages show it: short, and without the secrets of a URL."""
    if isinstance(value, str):
        return repr(redact(value)[:80])
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(shown(item) for item in value[:10])}{', …' if len(value) > 10 else ''}]"
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)[:80]
    return "a table" if isinstance(value, Mapping) else f"of type {type(value).__name__}"


def parse_setting(attribute: attrs.Attribute[Any], raw: object) -> Any:
    """The value of a setting.

    Raises:
        ConfigurationError: it is not of the setting's type, or out of its range; ``faults`` says how, for each fault.
    """
    kind: Any = attribute.type
    try:
        value = _converter.structure(raw, kind)
        if attribute.validator:
            attribute.validator(None, attribute, value)
    except cattrs.BaseValidationError as error:
        messages = cattrs.transform_error(error, path=attribute.name, format_exception=_reason)
        # cattrs puts the place behind the reason; ours stands in front.
        faults = [f"{location}: {reason}" for reason, _, location in (fault.rpartition(" @ ") for fault in messages)]
        raise ConfigurationError("wrong", faults) from error
    except ConfigurationError as error:
        raise ConfigurationError("wrong", [str(error)]) from error
    except ValueError as error:
        raise ConfigurationError("wrong", [f"{attribute.name} is {shown(raw)}; {error}"]) from error
    return value


def from_text(text: str, kind: Any) -> object:
    """``text``, parsed as ``kind``. `parse_setting` still has to check the value.

    Numbers as Python writes them; true/false, yes/no, on/off, 1/0; ``none`` where a setting may be None; lists with
    commas; tables of names as ``name=value,name=value``; retries and other tables as JSON.

    Raises:
        ValueError: it cannot be parsed. The message ends a sentence that began with the value.
    """
    options = get_args(kind) if get_origin(kind) in {Union, types.UnionType} else ()
    if type(None) in options:
        if text.strip().lower() == "none":
            return None
        kind = next(option for option in options if option is not type(None))
    if get_origin(kind) is Mapping and get_args(kind)[1] is not str:
        return _read_json(text, '{"name": {"option": 1}}')
    return _READERS.get(get_origin(kind) or kind, str)(text)


def _read_bool(text: str) -> bool:
    word = text.strip().lower()
    if word not in _BOOLS:
        raise ValueError("it must be true or false")
    return _BOOLS[word]


def _read_int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("it must be a whole number") from None


def _read_float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("it must be a number") from None


def _read_list(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _read_table(text: str) -> dict[str, str]:
    pairs = [item.partition("=") for item in _read_list(text)]
    if not all(separator for _, separator, _ in pairs):
        raise ValueError("it must be name=value, with commas between several")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _read_json(text: str, example: str = '{"policy": "exponential", "max_retries": 5}') -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError(f"it must be JSON, like {example}") from None


_BOOLS = {**dict.fromkeys(("true", "yes", "on", "1"), True), **dict.fromkeys(("false", "no", "off", "0"), False)}

_READERS: Mapping[Any, Callable[[str], object]] = {
    bool: _read_bool,
    int: _read_int,
    float: _read_float,
    tuple: _read_list,
    Mapping: _read_table,
    Retries: _read_json,
}


def _of(accepted: tuple[type, ...], what: str) -> Callable[[Any, Any], Any]:
    def check(value: Any, _kind: Any) -> Any:
        # A bool is an int in Python, but True is not meant as a number.
        if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted):
            raise ValueError(f"it must be {what}")
        return value

    return check


def _literal(value: Any, kind: Any) -> Any:
    word = value.lower() if isinstance(value, str) else value
    if word not in get_args(kind):
        raise ValueError(f"it must be one of {', '.join(get_args(kind))}")
    return word


def _tuple(value: Any, kind: Any) -> tuple[Any, ...]:
    item = get_args(kind)[0]
    if not isinstance(value, (list, tuple)) or (item is str and not all(isinstance(each, str) for each in value)):
        raise ValueError("it must be a list of names")
    return tuple(value)


def _table(value: Any, kind: Any) -> dict[str, Any]:
    _, item = get_args(kind)
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError("it must be a table with names as its keys")
    if item is str and not all(isinstance(each, str) for each in value.values()):
        raise ValueError("it must be a table of names")
    return dict(value)


def _retries(value: Any, _kind: Any) -> Retries:
    if isinstance(value, Retries):
        return value
    retries: Retries = _retries_from_table(_table(value, Mapping[str, Any]), Retries)
    return retries


def _reason(error: BaseException, _kind: Any) -> str:
    if isinstance(error, KeyError):
        return "it is missing"
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        return f"unknown: {', '.join(sorted(error.extra_fields))}"
    return str(error) if isinstance(error, (ValueError, DrivetrainError)) else type(error).__name__


def _is(origin: object) -> Callable[[Any], bool]:
    return lambda kind: get_origin(kind) is origin


_converter = cattrs.Converter()
_converter.register_structure_hook(bool, _of((bool,), "true or false"))
_converter.register_structure_hook(int, _of((int,), "a whole number"))
_converter.register_structure_hook(float, _of((int, float), "a number"))
_converter.register_structure_hook(str, _of((str,), "text"))
_converter.register_structure_hook_func(_is(Literal), _literal)
_converter.register_structure_hook_func(_is(tuple), _tuple)
_converter.register_structure_hook_func(_is(Mapping), _table)
_retries_from_table = make_dict_structure_fn(Retries, _converter, _cattrs_forbid_extra_keys=True)
_converter.register_structure_hook(Retries, _retries)
