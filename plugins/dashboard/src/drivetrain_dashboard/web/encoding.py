"""JSON of view-models. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["encode"]


def encode(value: Any) -> bytes:
    """JSON of a view-model. A lone surrogate, which UTF-8 cannot hold and a task's name may have, is escaped."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_encodable(msgspec.to_builtins(value)))


def _encodable(plain: Any) -> Any:
    if isinstance(plain, str):
        return plain.encode("utf-8", "backslashreplace").decode()
    if isinstance(plain, dict):
        return {_encodable(name): _encodable(item) for name, item in plain.items()}
    if isinstance(plain, (list, tuple)):
        return [_encodable(item) for item in plain]
    return plain
