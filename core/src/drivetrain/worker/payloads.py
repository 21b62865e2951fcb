"""Payloads: plain values as bytes with their content type."""

from __future__ import annotations

from collections.abc import Callable

from drivetrain.contract import Plain, SerializationError, Serializer

__all__ = ["CONTENT_TYPE_HEADER", "Payloads"]

CONTENT_TYPE_HEADER = "content-type"


class Payloads:
    """Writes with one serializer, and reads with each serializer that the app accepts. Thread-safe."""

    def __init__(self, serializer: Serializer, reader: Callable[[str], Serializer]) -> None:
        """Make it.

        Args:
            serializer: writes values.
            reader: gives the accepted serializer of a content type, or raises UnknownContentType.
        """
        self.content_type = serializer.content_type
        self.dump_body = serializer.dumps
        self._load = serializer.loads
        self._reader = reader
        self._mark = serializer.content_type.encode() + b"\n"

    def load_body(self, content_type: str | None, body: bytes) -> Plain:
        """The plain value of a message's body.

        Raises:
            SerializationError: it cannot be read; UnknownContentType if it must not be.
        """
        if content_type == self.content_type:
            return self._load(body)
        if content_type is None:
            raise SerializationError(f"the message has no {CONTENT_TYPE_HEADER} header")
        return self._reader(content_type).loads(body)

    def dump(self, value: Plain) -> bytes:
        """A payload for a backend: the content type, a line feed, the bytes of the value."""
        return self._mark + self.dump_body(value)

    def load(self, payload: bytes) -> Plain:
        """The plain value of a payload.

        Raises:
            SerializationError: it cannot be read; UnknownContentType if it must not be.
        """
        content_type, mark, body = payload.partition(b"\n")
        if not mark:
            raise SerializationError("this payload of the backend does not begin with a content type")
        return self.load_body(content_type.decode("utf-8", "replace"), body)
