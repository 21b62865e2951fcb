"""The codecs of scalars, which are values without parts: plain types, and types of the standard library."""

from __future__ import annotations

import datetime as dt
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Context, Decimal, InvalidOperation
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from math import isfinite
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import NoneType
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from attrs import frozen

from drivetrain.contract import Plain
from drivetrain.workflow.values.codec import TAG, Codec, all_plain_of, tagged
from drivetrain.workflow.values.errors import ValueMismatch, advise
from drivetrain.workflow.values.narrowing import array_scalar, exact

__all__ = [
    "FLOAT",
    "INT",
    "PLAIN_SCALARS",
    "STR",
    "TAGGED_SCALARS",
    "Scalar",
    "Travels",
    "encode_float",
    "encode_int",
    "encode_str",
    "narrowed",
    "pattern_codec",
    "plain_scalar_codec",
    "plain_scalar_codecs",
    "refuse",
    "tagged_scalar_codec",
]

#: Whether values of a class can be sent where an annotation names the class.
Travels = Callable[[type], bool]

_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
#: Raises for a malformed number, independent of the decimal context of the calling thread.
_DECIMAL = Context(traps=[InvalidOperation], capitals=1)
#: The name of a time zone. It has no dots and is not an absolute path: zoneinfo opens a file or resource of this name.
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")


def encode_int(value: int) -> Plain:
    """The plain form of an int. Beyond 64 bit it is hexadecimal text, whose number of digits Python does not limit."""
    return value if _SMALLEST <= value <= _LARGEST else tagged("int", hex(value))


def encode_float(value: float) -> Plain:
    """The plain form of a float. NaN and infinities, which JSON lacks, are sent by name."""
    return value if isfinite(value) else tagged("float", repr(value))


def encode_str(value: str) -> Plain:
    """The plain form of a str. A str with lone surrogates (file names may have them) is sent as bytes."""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return tagged("str", _base64(value.encode(errors="surrogatepass")))
    return value


def _same(value: Plain) -> Plain:
    return value


def _base64(value: bytes | bytearray) -> str:
    return b2a_base64(value, newline=False).decode("ascii")


def _unbase64(plain: Mapping[str, Any]) -> bytes:
    return a2b_base64(plain["v"], strict_mode=True)


def _part(plain: Plain) -> str:
    """A text inside the payload of a scalar."""
    return plain if isinstance(plain, str) else _unbase64(plain).decode(errors="surrogatepass")


IP_TYPES: Final = (IPv4Address, IPv6Address, IPv4Network, IPv6Network, IPv4Interface, IPv6Interface)

_SECOND, _MICROSECOND = dt.timedelta(seconds=1), dt.timedelta(microseconds=1)


def _encode_time(tag: str, value: dt.datetime | dt.time) -> Plain:
    """The plain form of a wall-clock time, to the microsecond, with the zone's name or the offset from UTC."""
    zone = value.tzinfo.key if type(value.tzinfo) is ZoneInfo else None
    if value.tzinfo is not None and zone is None and value.utcoffset() is None:
        raise ValueMismatch(f"{tag} whose tzinfo has an offset from UTC", value)
    offset = None if zone else value.utcoffset()
    # fromisoformat loses the fraction of a second in an offset, so such an offset is stored separately.
    tiny = offset if offset and abs(offset) < _SECOND else None
    plain = tagged(tag, (value.replace(tzinfo=None) if zone or tiny else value).isoformat())
    if zone:
        plain["zone"] = zone
    if tiny:
        plain["offset"] = tiny // _MICROSECOND
    if value.fold:
        plain["fold"] = 1
    return plain


def _zone(name: str) -> ZoneInfo:
    if not _ZONE.fullmatch(name):
        raise ValueMismatch("the name of a time zone", name)
    return ZoneInfo(name)


def _decode_time(kind: type[dt.datetime | dt.time], plain: Mapping[str, Any]) -> Any:
    value = kind.fromisoformat(plain["v"])
    zone = plain.get("zone")
    if zone is not None:
        value = value.replace(tzinfo=_zone(zone))
    offset = plain.get("offset")
    if offset is not None:
        value = value.replace(tzinfo=dt.timezone(offset * _MICROSECOND))
    return value.replace(fold=1) if plain.get("fold") else value


def _encode_timedelta(value: dt.timedelta) -> Plain:
    return tagged("timedelta", [value.days, value.seconds, value.microseconds])


def _encode_complex(value: complex) -> Plain:
    return tagged("complex", [encode_float(value.real), encode_float(value.imag)])


def _encode_zone(value: ZoneInfo) -> Plain:
    if value.key is None:
        raise ValueMismatch("a ZoneInfo that has a key", value)
    return tagged("zoneinfo", value.key)


def _encode_pattern(value: re.Pattern[Any]) -> Plain:
    text = value.pattern
    # The flag DEBUG only prints, for the author of the pattern.
    flags = value.flags & ~int(re.DEBUG)
    return tagged("pattern", [encode_str(text) if isinstance(text, str) else tagged("bytes", _base64(text)), flags])


def _decode_pattern(plain: Mapping[str, Any]) -> re.Pattern[Any]:
    text, flags = plain["v"]
    is_bytes = isinstance(text, dict) and text[TAG] == "bytes"
    return re.compile(_unbase64(text) if is_bytes else _part(text), flags & ~int(re.DEBUG))


def _decode_int(plain: Plain) -> int:
    return int(plain["v"], 16) if isinstance(plain, dict) else plain


def _decode_float(plain: Plain) -> float:
    return float(plain["v"] if isinstance(plain, dict) else plain)


@frozen
class Scalar:
    """A type whose values are encoded with a tag."""

    kind: type
    tag: str
    encode: Callable[[Any], Plain]
    decode: Callable[[dict[str, Any]], Any]


def _written(kind: Any, tag: str) -> Scalar:
    """A type that is encoded by ``str``, and decoded by the type itself."""
    return Scalar(kind, tag, lambda value: tagged(tag, encode_str(str(value))), lambda plain: kind(_part(plain["v"])))


def _of_ints(kind: Any, tag: str, *names: str) -> Scalar:
    """A type whose constructor takes ints, which are its attributes of these names."""

    def encode(value: object) -> Plain:
        return tagged(tag, [encode_int(getattr(value, name)) for name in names])

    return Scalar(kind, tag, encode, lambda plain: kind(*map(_decode_int, plain["v"])))


#: All scalar types that are always encoded with their tag.
TAGGED_SCALARS: Final = (
    Scalar(bytes, "bytes", lambda value: tagged("bytes", _base64(value)), _unbase64),
    Scalar(
        bytearray, "bytearray", lambda value: tagged("bytearray", _base64(value)), lambda p: bytearray(_unbase64(p))
    ),
    Scalar(complex, "complex", _encode_complex, lambda plain: complex(*map(_decode_float, plain["v"]))),
    Scalar(
        dt.datetime,
        "datetime",
        lambda value: _encode_time("datetime", value),
        lambda plain: _decode_time(dt.datetime, plain),
    ),
    Scalar(dt.time, "time", lambda value: _encode_time("time", value), lambda plain: _decode_time(dt.time, plain)),
    Scalar(
        dt.date,
        "date",
        lambda value: tagged("date", value.isoformat()),
        lambda plain: dt.date.fromisoformat(plain["v"]),
    ),
    Scalar(dt.timedelta, "timedelta", _encode_timedelta, lambda plain: dt.timedelta(*plain["v"])),
    Scalar(UUID, "uuid", lambda value: tagged("uuid", str(value)), lambda plain: UUID(plain["v"])),
    Scalar(
        Decimal,
        "decimal",
        lambda value: tagged("decimal", _DECIMAL.to_sci_string(value)),
        lambda plain: Decimal(plain["v"], _DECIMAL),
    ),
    _written(PurePosixPath, "posixpath"),
    _written(PureWindowsPath, "windowspath"),
    _written(type(Path()), "path"),
    *(_written(kind, kind.__name__.lower()) for kind in IP_TYPES),
    _of_ints(Fraction, "fraction", "numerator", "denominator"),
    _of_ints(range, "range", "start", "stop", "step"),
    Scalar(re.Pattern, "pattern", _encode_pattern, _decode_pattern),
    Scalar(ZoneInfo, "zoneinfo", _encode_zone, lambda plain: _zone(plain["v"])),
)

BOOL: Final = Scalar(bool, "", _same, _same)
INT: Final = Scalar(int, "int", encode_int, _decode_int)
FLOAT: Final = Scalar(float, "float", encode_float, _decode_float)
STR: Final = Scalar(str, "str", encode_str, _part)
#: The types that are plain where possible. Their other values, such as NaN, are encoded with the tag.
PLAIN_SCALARS: Final = (Scalar(NoneType, "", _same, _same), BOOL, INT, FLOAT, STR)


def narrowed(value: object, kind: type, expected: str, kinds: frozenset[type], travels: Travels) -> Any:
    """An instance of a subclass of ``kind`` as an instance of exactly ``kind``.

    Raises:
        ValueMismatch: the value is not an instance of ``kind``.
    """
    try:
        return exact(value, kind)
    except RecursionError:
        raise
    except Exception as error:  # noqa: BLE001 - it is not one, or a method of a subclass raised; both are a mismatch
        raise refuse(value, expected, kinds, travels) from (None if isinstance(error, TypeError) else error)


def refuse(value: object, expected: str, kinds: frozenset[type], travels: Travels) -> ValueMismatch:
    """The mismatch of a value that has none of these types. It has advice for an instance of a subclass."""
    if type(value) in kinds or not issubclass(type(value), tuple(kinds)):
        return ValueMismatch(expected, value)
    return ValueMismatch(expected, value, advice=advise(value, expected, travels=travels(type(value))))


def _decoder(scalars: Iterable[Scalar], expected: str) -> Callable[[Plain], Any]:
    """A function that decodes the tagged values of these scalars."""
    unpack_by_tag = {scalar.tag: scalar.decode for scalar in scalars if scalar.tag}

    def decode(plain: Plain) -> Any:
        tag = plain.get(TAG) if type(plain) is dict else None
        unpack = unpack_by_tag.get(tag) if type(tag) is str else None
        if unpack is None:
            raise ValueMismatch(expected, plain)
        try:
            return unpack(plain)
        except Exception as error:
            raise ValueMismatch(expected, plain) from error

    return decode


def tagged_scalar_codec(scalar: Scalar, travels: Travels) -> Codec:
    """The codec of a type that is always encoded with its tag."""
    kind, encode_scalar, expected = scalar.kind, scalar.encode, scalar.kind.__name__
    kinds = frozenset({kind})

    def encode(value: object) -> Plain:
        if type(value) is not kind:
            value = narrowed(value, kind, expected, kinds, travels)
        try:
            return encode_scalar(value)
        except ValueMismatch:
            raise
        except Exception as error:  # a tzinfo may run any code
            raise ValueMismatch(expected, value) from error

    return Codec(expected, encode, _decoder([scalar], expected), kinds, bounded=True)


def pattern_codec(text: type, any_pattern: Codec) -> Codec:
    """``re.Pattern[str]`` and ``re.Pattern[bytes]``."""
    expected = f"Pattern[{text.__name__}]"

    def checked(pattern: Any, value: object) -> Any:
        if not isinstance(pattern.pattern, text):
            raise ValueMismatch(expected, value)
        return pattern

    def encode(value: Any) -> Plain:
        plain = any_pattern.encode(value)
        checked(value, value)
        return plain

    def decode(plain: Plain) -> Any:
        return checked(any_pattern.decode(plain), plain)

    return Codec(expected, encode, decode, any_pattern.kinds, bounded=True)


def plain_scalar_codec(scalar: Scalar, travels: Travels, wider: Sequence[Scalar] = ()) -> Codec:
    """The codec of a type that is plain itself. Values of the ``wider`` types fit too, and keep their type.

    An instance of a subclass of one of these types is sent as that type.
    """
    kind, encode_scalar = scalar.kind, scalar.encode
    expected = "None" if kind is NoneType else kind.__name__
    encodes = {kind: encode_scalar, **{other.kind: other.encode for other in wider}}
    kinds = frozenset(encodes)
    untag = _decoder([scalar, *wider], expected)

    def encode(value: Any) -> Plain:
        if type(value) is kind:
            return encode_scalar(value)
        other = encodes.get(type(value))
        return other(value) if other else encode_narrowed(value)

    def encode_narrowed(value: Any) -> Plain:
        number = array_scalar(value)
        if number is not None and type(number) in encodes:
            return encodes[type(number)](number)
        # A value of another type may still be an integer: it may have ``__index__``.
        base = next((base for base in type(value).__mro__ if base in encodes), int if int in encodes else kind)
        return encodes[base](narrowed(value, base, expected, kinds, travels))

    def decode(plain: Plain) -> Any:
        return plain if type(plain) in kinds else untag(plain)

    return Codec(expected, encode, decode, kinds, all_plain_of(kind), bounded=True)


def plain_scalar_codecs(travels: Travels) -> dict[type, Codec]:
    """The codecs of None, bool, int, float and str; an int takes a bool, and a float both, as type checkers do."""
    wider = {INT.kind: [BOOL], FLOAT.kind: [INT, BOOL]}
    return {scalar.kind: plain_scalar_codec(scalar, travels, wider.get(scalar.kind, [])) for scalar in PLAIN_SCALARS}
