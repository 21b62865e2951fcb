"""The contract of a serializer: plain values to bytes and back."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, runtime_checkable

__all__ = ["Plain", "Serializer"]

#: None, bool, int (64-bit signed), finite float, str (no lone surrogates), and lists and str-keyed dicts of them.
#: Core turns all other values into these before a serializer gets them.
Plain: TypeAlias = Any


@runtime_checkable
class Serializer(Protocol):
    """Encodes plain values as bytes and decodes them exactly. Thread-safe. Decoding never runs or imports code."""

    @property
    def content_type(self) -> str:
        """The media type of the bytes: ``application/json``."""
        ...

    def dumps(self, value: Plain) -> bytes:
        """The bytes of a plain value.

        Raises:
            SerializationError: the format cannot hold the value.
        """
        ...

    def loads(self, data: bytes) -> Plain:
        """The plain value of bytes.

        Raises:
            SerializationError: the bytes are not in this format.
        """
        ...
