"""The contract of a serializer: plain values to bytes and back."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, runtime_checkable

__all__ = ["Plain", "Serializer"]

#: None, bool, int (64-bit signed), finite float, str (no lone surrogates), and lists and str-keyed dicts of them.
#: Core turns every richer value into these before a serializer sees it.
Plain: TypeAlias = Any


@runtime_checkable
class Serializer(Protocol):
    """Plain values to bytes and back, exactly. Thread-safe; pure; decoding never executes or imports anything."""

    @property
    def content_type(self) -> str:
        """The media type that marks the bytes (``application/json``)."""
        ...

    def dumps(self, value: Plain) -> bytes:
        """The bytes of a plain value."""
        ...

    def loads(self, data: bytes) -> Plain:
        """The plain value of bytes.

        Raises:
            SerializationError: these bytes are not of this format.
        """
        ...
