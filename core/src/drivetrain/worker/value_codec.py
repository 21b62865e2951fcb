"""The codec of core's versioned values: a struct of msgspec <-> bytes of JSON."""

from __future__ import annotations

import json
from typing import TypeVar

import msgspec
from msgspec import Struct

__all__ = ["decode", "encode"]

T = TypeVar("T", bound=Struct)


def encode(value: Struct) -> bytes:
    """The struct as bytes."""
    # Python's own JSON: texts may hold surrogates, which msgspec refuses.
    return json.dumps(msgspec.to_builtins(value), separators=(",", ":")).encode()


def decode(value: bytes, to: type[T]) -> T:
    """The struct of `encode`. Fields that a newer version of drivetrain has added are ignored.

    Args:
        value: the bytes.
        to: the type of the struct.

    Raises:
        ValueError: the bytes are not JSON, or they hold another struct, perhaps from another version of drivetrain.
    """
    try:
        return msgspec.convert(json.loads(value), to)
    except RecursionError as error:  # JSON that is nested too deep
        raise ValueError(f"cannot read a value of {len(value)} bytes as {to.__name__}: nested too deep") from error
