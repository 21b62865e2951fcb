"""The codecs of lists, tuples, deques, sets and dicts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import Any

from drivetrain.contract import Plain
from drivetrain.workflow.values.codec import TAG, Codec, Convert, each, tagged, untagged
from drivetrain.workflow.values.errors import ValueMismatch, shown
from drivetrain.workflow.values.scalars import Travels, narrowed

__all__ = [
    "as_dict",
    "deque_codec",
    "dict_codec",
    "fixed_tuple_codec",
    "list_codec",
    "pairs_of",
    "set_codec",
    "tuple_codec",
]


def list_codec(item: Codec, travels: Travels) -> Codec:
    """The codec of ``list[T]``. The plain form is always a new list, so a change of one does not change the other."""
    expected, kinds = f"list[{item.expected}]", frozenset({list})
    encode_items, decode_items = each(item.encode, item.all_plain), each(item.decode, item.all_plain)

    def encode(value: Any) -> Plain:
        if type(value) is not list:
            value = narrowed(value, list, expected, kinds, travels)
        return encode_items(value)

    def decode(plain: Plain) -> list[Any]:
        if type(plain) is not list:
            raise ValueMismatch(expected, plain)
        return decode_items(plain)

    return Codec(expected, encode, decode, kinds, bounded=item.bounded)


def _tagged_items(plain: Plain, tag: str, expected: str) -> list[Plain]:
    items = untagged(plain, tag)
    if type(items) is not list:
        raise ValueMismatch(expected, plain)
    return items


def tuple_codec(item: Codec, travels: Travels) -> Codec:
    """``tuple[T, ...]``."""
    expected, kinds = f"tuple[{item.expected}, ...]", frozenset({tuple})
    encode_items, decode_items = each(item.encode, item.all_plain), each(item.decode, item.all_plain)

    def encode(value: Any) -> Plain:
        if type(value) is not tuple:
            value = narrowed(value, tuple, expected, kinds, travels)
        return tagged("tuple", encode_items(value))

    def decode(plain: Plain) -> tuple[Any, ...]:
        return tuple(decode_items(_tagged_items(plain, "tuple", expected)))

    return Codec(expected, encode, decode, kinds, bounded=item.bounded)


def deque_codec(item: Codec, travels: Travels) -> Codec:
    """The codec of ``deque[T]``, with its maximum length."""
    expected, kinds = f"deque[{item.expected}]", frozenset({deque})
    encode_items, decode_items = each(item.encode, item.all_plain), each(item.decode, item.all_plain)

    def encode(value: Any) -> Plain:
        if type(value) is not deque:
            value = narrowed(value, deque, expected, kinds, travels)
        plain = tagged("deque", encode_items(value))
        if value.maxlen is not None:
            plain["maxlen"] = value.maxlen
        return plain

    def decode(plain: Plain) -> deque[Any]:
        items = decode_items(_tagged_items(plain, "deque", expected))
        try:
            return deque(items, plain.get("maxlen"))
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueMismatch(expected, plain) from error

    return Codec(expected, encode, decode, kinds, bounded=item.bounded)


def _each_its_own(converts: list[Callable[[Any], Any]], items: Collection[Any]) -> list[Any]:
    converted: list[Any] = []
    try:
        # `extend` appends the items one by one, so the length is the index of the item that failed.
        converted.extend(convert(item) for convert, item in zip(converts, items, strict=True))
    except ValueMismatch as mismatch:
        mismatch.inside(f"[{len(converted)}]")
        raise
    return converted


def fixed_tuple_codec(members: list[Codec], travels: Travels) -> Codec:
    """The codec of ``tuple[A, B]`` and ``tuple[()]``."""
    expected = f"tuple[{', '.join(member.expected for member in members) or '()'}]"
    kinds = frozenset({tuple})
    encodes, decodes = [member.encode for member in members], [member.decode for member in members]

    def encode(value: Any) -> Plain:
        if type(value) is not tuple:
            value = narrowed(value, tuple, expected, kinds, travels)
        if len(value) != len(encodes):
            raise ValueMismatch(expected, value)
        return tagged("tuple", _each_its_own(encodes, value))

    def decode(plain: Plain) -> tuple[Any, ...]:
        items = _tagged_items(plain, "tuple", expected)
        if len(items) != len(decodes):
            raise ValueMismatch(expected, plain)
        return tuple(_each_its_own(decodes, items))

    return Codec(expected, encode, decode, kinds, bounded=all(member.bounded for member in members))


def _in_a_set(_index: int) -> str:
    return "{...}"


def set_codec(kind: type[set[Any] | frozenset[Any]], item: Codec, travels: Travels) -> Codec:
    """The codec of ``set[T]`` and ``frozenset[T]``. The plain form is sorted: hash seeds must not change it."""
    tag = kind.__name__
    expected, kinds = f"{tag}[{item.expected}]", frozenset({kind})
    encode_items, decode_items = each(item.encode, item.all_plain), each(item.decode, item.all_plain)

    def encode(value: Any) -> Plain:
        if type(value) is not kind:
            value = narrowed(value, kind, expected, kinds, travels)
        return tagged(tag, sorted(encode_items(value, _in_a_set), key=repr))

    def decode(plain: Plain) -> Any:
        items = decode_items(_tagged_items(plain, tag, expected), _in_a_set)
        try:
            return kind(items)
        except Exception as error:  # not hashable, or its __hash__ raised
            raise ValueMismatch(expected, plain) from error

    return Codec(expected, encode, decode, kinds, bounded=item.bounded)


def as_dict(keys: list[Plain], values: list[Plain]) -> Plain:
    """A dict as it is if all keys are plain texts without the reserved key; otherwise the tagged list of its pairs."""
    if all(type(key) is str for key in keys) and TAG not in keys:
        return dict(zip(keys, values, strict=True))
    return tagged("dict", [list(pair) for pair in zip(keys, values, strict=True)])


def pairs_of(plain: Plain, expected: str) -> tuple[list[Plain], list[Plain]]:
    """The plain keys and values of a dict's plain form."""
    if type(plain) is dict and TAG not in plain:
        return list(plain), list(plain.values())
    pairs = _tagged_items(plain, "dict", expected)
    if not all(type(pair) is list and len(pair) == 2 for pair in pairs):
        raise ValueMismatch(expected, plain)
    return [key for key, _ in pairs], [value for _, value in pairs]


def _convert_pairs(key: Codec, value: Codec, convert: Callable[[Codec], Convert]) -> Callable[..., tuple[Any, Any]]:
    convert_keys, convert_values = each(convert(key), key.all_plain), each(convert(value), value.all_plain)

    def convert_pairs(keys: Collection[Any], values: Collection[Any]) -> tuple[list[Any], list[Any]]:
        return (
            convert_keys(keys, ".keys()[{}]".format),
            convert_values(values, lambda index: f"[{shown(list(keys)[index])}]"),
        )

    return convert_pairs


def dict_codec(key: Codec, value: Codec, travels: Travels) -> Codec:
    """The codec of ``dict[K, V]``. It keeps the order of the items."""
    expected, kinds = f"dict[{key.expected}, {value.expected}]", frozenset({dict})
    encode_pairs = _convert_pairs(key, value, lambda codec: codec.encode)
    decode_pairs = _convert_pairs(key, value, lambda codec: codec.decode)

    def encode(value: Any) -> Plain:
        if type(value) is not dict:
            value = narrowed(value, dict, expected, kinds, travels)
        return as_dict(*encode_pairs(value.keys(), value.values()))

    def decode(plain: Plain) -> dict[Any, Any]:
        pairs = decode_pairs(*pairs_of(plain, expected))
        try:
            return dict(zip(*pairs, strict=True))
        except Exception as error:  # a key is not hashable, or its __hash__ raised
            raise ValueMismatch(expected, plain) from error

    return Codec(expected, encode, decode, kinds, bounded=key.bounded and value.bounded)
