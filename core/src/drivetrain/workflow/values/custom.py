"""The codec of types that an app registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from drivetrain.contract import Plain
from drivetrain.workflow.values.codec import TAG, Codec
from drivetrain.workflow.values.errors import ValueMismatch, shown
from drivetrain.workflow.values.scalars import Travels, refuse

__all__ = ["Custom", "custom_codec"]


@frozen
class Custom:
    """The encoder and the decoder of a registered type."""

    encode: Callable[[Any], object]
    decode: Callable[[Any], Any]


def custom_codec(kind: type, converters: Custom, untyped: Codec, travels: Travels) -> Codec:
    """The codec of a registered type: its name, and the value that its encoder returns."""
    expected, kinds = kind.__qualname__, frozenset({kind})

    def encode(value: Any) -> Plain:
        if type(value) is not kind:
            raise refuse(value, expected, kinds, travels)
        try:
            encoded = converters.encode(value)
        except Exception as error:
            raise ValueMismatch(expected, value, advice=f"its encoder raised {shown(error)}") from error
        return {TAG: "custom", "t": expected, "v": untyped.encode(encoded)}

    def decode(plain: Plain) -> Any:
        if type(plain) is not dict or plain.get(TAG) != "custom" or plain.get("t") != expected:
            raise ValueMismatch(expected, plain)
        inner = untyped.decode(plain.get("v"))
        try:
            return converters.decode(inner)
        except Exception as error:
            raise ValueMismatch(expected, plain, advice=f"its decoder raised {shown(error)}") from error

    return Codec(expected, encode, decode, kinds)
