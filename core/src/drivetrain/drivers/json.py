"""The serializer ``json``: compact JSON in UTF-8. It refuses every value that JSON cannot hold.

msgspec encodes and decodes. Values that it refuses, or would silently change, go to the standard library instead, which
is slower and says what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder, JSONEncoder
from typing import NoReturn

import msgspec

from drivetrain.contract import Plain, SerializationError, Serializer, hookimpl

__all__ = ["JsonSerializer", "make_serializer"]


def _refuse_constant(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is not JSON")


def _finite(literal: str) -> float:
    number = float(literal)
    if math.isinf(number):
        raise ValueError(f"{literal[:40]} is too large for a float")
    return number


# Made once: json.dumps with an option makes an encoder for each call. A circular value ends in RecursionError, so the
# encoder need not remember the values that it has seen.
_encode = JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")).encode
_decode = JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite).decode

_fast_encode = msgspec.json.Encoder().encode
_fast_decode = msgspec.json.Decoder().decode

_SCALARS = frozenset({str, int, bool, type(None)})


class JsonSerializer:
    """Encodes plain values as JSON. Thread-safe; one object serves a process."""

    content_type = "application/json"

    def dumps(self, value: Plain) -> bytes:
        """The JSON of ``value``, compact, in UTF-8.

        Raises:
            SerializationError: JSON cannot hold it; the message says why, and names the part of ``value``.
        """
        try:
            if _is_plain(value):
                return _fast_encode(value)
            return _encode(value).encode()
        except RecursionError as error:
            raise SerializationError("the value contains itself, or is nested too deeply for JSON") from error
        except (TypeError, ValueError) as error:  # text with half a surrogate pair, too
            what = next(_unsupported_parts(value, "value"), str(error))
            raise SerializationError(f"JSON cannot hold this value: {what}") from error

    def loads(self, data: bytes) -> Plain:
        """The value of JSON bytes.

        Raises:
            SerializationError: they are not UTF-8, not JSON, or contain NaN, an infinity or half a surrogate pair.
        """
        try:
            return _fast_decode(data)
        except RecursionError as error:
            raise SerializationError("the bytes are JSON that is nested too deeply") from error
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return self._loads_strictly(data)

    @staticmethod
    def _loads_strictly(data: bytes) -> Plain:
        try:
            value = _decode(str(data, "utf-8"))
            # Half a surrogate pair needs an escape. This serializer writes none, but other senders may.
            if b"\\ud" in data or b"\\uD" in data:
                _encode(value).encode()
        except UnicodeError as error:
            raise SerializationError(f"the bytes are not UTF-8: {_where(error)}") from error
        except JSONDecodeError as error:
            raise SerializationError(f"the bytes are not JSON: {error.msg} at character {error.pos}") from error
        except RecursionError as error:
            raise SerializationError("the bytes are JSON that is nested too deeply") from error
        except ValueError as error:
            raise SerializationError(f"the bytes are not JSON: {error}") from error
        return value


def _is_plain(value: Plain) -> bool:
    """Whether every part of ``value`` has exactly a type of JSON. msgspec would write more types, as text or null."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    # Most parts are strings and integers: they need no call.
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str or not (type(item) in _SCALARS or _is_plain(item)):
                return False
        return True
    if kind is list or kind is tuple:
        for item in value:  # noqa: SIM110 - a generator would be one more nested call for each level
            if not (type(item) in _SCALARS or _is_plain(item)):
                return False
        return True
    return kind is float and math.isfinite(value)


def _where(error: UnicodeError) -> str:
    # str(error) would show a part of the value, which may be a secret.
    return f"{error.reason} at {error.start}" if isinstance(error, (UnicodeDecodeError, UnicodeEncodeError)) else ""


def _unsupported_parts(value: Plain, path: str) -> Iterator[str]:
    # Called only after encoding has failed, to find the reason.
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                yield f"{path} has the key {key!r}, which is not a str"
            yield from _unsupported_parts(key, f"a key of {path}") if isinstance(key, str) else ()
            yield from _unsupported_parts(item, f"{path}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _unsupported_parts(item, f"{path}[{index}]")
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield f"{path} is {value}, and JSON has finite numbers only"
    elif isinstance(value, str):
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            yield f"{path} contains half a surrogate pair, which UTF-8 cannot hold"
    elif value is not None and not isinstance(value, int):
        yield f"{path} is of type {type(value).__qualname__}, which JSON cannot hold"


@hookimpl
def make_serializer(name: str) -> Serializer:  # noqa: ARG001  the entry point names it already
    """Make the JSON serializer."""
    return JsonSerializer()
