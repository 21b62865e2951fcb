"""A member's payload as an item. Pure."""

from __future__ import annotations

__all__ = ["dump", "failed", "payload"]

_FAILED, _FINE = b"f", b"v"


def dump(payload: bytes, *, failed: bool) -> bytes:
    """As bytes."""
    return (_FAILED if failed else _FINE) + payload


def failed(data: bytes) -> bool:
    """Whether the member ended without success."""
    return data.startswith(_FAILED)


def payload(data: bytes) -> bytes:
    """What it gave."""
    return data[1:]
