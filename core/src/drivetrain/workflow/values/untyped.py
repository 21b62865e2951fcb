"""Values without annotations: encoded by their runtime type, decoded by their tag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from drivetrain.contract import Plain
from drivetrain.workflow.values.codec import TAG, Codec, Convert, all_plain_of_one_type, each
from drivetrain.workflow.values.containers import deque_codec, dict_codec, list_codec, pairs_of, set_codec, tuple_codec
from drivetrain.workflow.values.errors import ValueMismatch, advise
from drivetrain.workflow.values.models import is_model, old_model_advice
from drivetrain.workflow.values.narrowing import array_scalar
from drivetrain.workflow.values.scalars import (
    FLOAT,
    INT,
    PLAIN_SCALARS,
    STR,
    TAGGED_SCALARS,
    Travels,
    plain_scalar_codec,
    tagged_scalar_codec,
)

__all__ = ["Untyped"]

_EXPECTED: Final = "Any"
_THEMSELVES: Final = frozenset(scalar.kind for scalar in PLAIN_SCALARS)


class Untyped:
    """The codec of `Any`. It grows with the types that an app registers.

    It refuses to encode a class instance, which it could not rebuild. It decodes an instance that was encoded by an
    annotation of its class as the plain dict of its fields (an enum member as its name). So a program that does not
    know the class, such as the command line, can show it.
    """

    def __init__(self, travels: Travels) -> None:
        self.codec = Codec(_EXPECTED, self._encode, self._decode, all_plain=all_plain_of_one_type)
        self._travels = travels
        self._decode_items = each(self._decode, all_plain_of_one_type)
        self._encoders: dict[type, Convert] = {scalar.kind: scalar.encode for scalar in PLAIN_SCALARS}
        self._decoders: dict[str, Convert] = {}
        for scalar in (INT, FLOAT, STR):
            self._decoders[scalar.tag] = plain_scalar_codec(scalar, travels).decode
        for scalar in TAGGED_SCALARS:
            self.add(tagged_scalar_codec(scalar, travels), scalar.tag)
        self._add_containers()

    def add(self, codec: Codec, tag: str) -> None:
        """Encode values of this codec's types with it, and decode plain values with this tag with it."""
        self._encoders.update(dict.fromkeys(codec.kinds or (), codec.encode))
        self._decoders[tag] = codec.decode

    def add_custom(self, codecs: Mapping[type, Codec]) -> None:
        """Encode and decode the types that an app has registered with these codecs."""
        by_name = {codec.expected: codec.decode for codec in codecs.values()}
        for codec in codecs.values():
            self._encoders.update(dict.fromkeys(codec.kinds or (), codec.encode))

        def decode_custom(plain: Plain) -> Any:
            name = plain.get("t")
            decode = by_name.get(name) if type(name) is str else None
            return self._decode(plain.get("v")) if decode is None else decode(plain)

        self._decoders["custom"] = decode_custom

    def _add_containers(self) -> None:
        item, travels = self.codec, self._travels
        for codec in (
            list_codec(item, travels),
            set_codec(set, item, travels),
            set_codec(frozenset, item, travels),
            dict_codec(item, item, travels),
        ):
            self._encoders.update(dict.fromkeys(codec.kinds or (), codec.encode))
        self.add(tuple_codec(item, travels), "tuple")
        self.add(deque_codec(item, travels), "deque")
        self._decoders["set"] = lambda plain: self._decode_set(plain, set)
        self._decoders["frozenset"] = lambda plain: self._decode_set(plain, frozenset)
        self._decoders.update(dict=self._decode_dict, object=self._decode_object, enum=self._decode_member)

    def _encode(self, value: object) -> Plain:
        encode = self._encoders.get(type(value))
        if encode is None:
            if (number := array_scalar(value)) is not None:
                return self._encode(number)
            raise ValueMismatch(_EXPECTED, value, advice=self._advice(value))
        return encode(value)

    def _advice(self, value: object) -> str:
        kind = type(value)
        old = old_model_advice(kind) if is_model(kind) else ""
        return old or advise(value, _EXPECTED, travels=self._travels(kind))

    def _decode(self, plain: Plain) -> Any:
        kind = type(plain)
        if kind in _THEMSELVES:
            return plain
        if kind is list:
            return self._decode_items(plain)
        if kind is not dict:
            raise ValueMismatch(_EXPECTED, plain)
        tag = plain.get(TAG, "dict")
        decode = self._decoders.get(tag) if type(tag) is str else None
        if decode is None:
            raise ValueMismatch(_EXPECTED, plain, advice=f"unknown tag {tag!r}")
        return decode(plain)

    def _decode_set(self, plain: Plain, kind: type[set[Any] | frozenset[Any]]) -> Any:
        items = plain.get("v")
        if type(items) is not list:
            raise ValueMismatch(kind.__name__, plain)
        decoded = self._decode_items(items)
        try:
            return kind(decoded)
        except TypeError:  # an instance of a class is a dict here, which is not hashable
            return decoded

    def _decode_dict(self, plain: Plain) -> Any:
        keys, values = map(self._decode_items, pairs_of(plain, "dict"))
        pairs = list(zip(keys, values, strict=True))
        try:
            return dict(pairs)
        except TypeError:  # as with sets
            return [list(pair) for pair in pairs]

    def _decode_object(self, plain: Plain) -> Any:
        return self._decode_dict(plain.get("v"))

    def _decode_member(self, plain: Plain) -> Any:
        return self._decode(plain.get("v"))
