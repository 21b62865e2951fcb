"""Copies of records with some fields changed."""

from __future__ import annotations

from typing import Any, TypeVar

import attrs
from msgspec import Struct
from msgspec.structs import replace

__all__ = ["evolve"]

T = TypeVar("T")


def evolve(value: T, /, **changes: Any) -> T:
    """A copy of ``value`` with ``changes`` to its fields, for every record of this contract.

    Records that are made for every message or transition are structs of msgspec, for speed. The others are attrs
    classes.
    """
    if isinstance(value, Struct):
        return replace(value, **changes)
    return attrs.evolve(value, **changes)  # type: ignore[misc]
