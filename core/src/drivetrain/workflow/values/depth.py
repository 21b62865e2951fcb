"""The nesting of a value, measured on its plain form."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from drivetrain.contract import Plain
from drivetrain.workflow.nesting import DEEPEST
from drivetrain.workflow.values.codec import TAG

__all__ = ["CONTAINERS", "is_nested_too_deep"]

#: The plain types that contain others.
CONTAINERS: Final = frozenset({list, dict})


def is_nested_too_deep(plain: Plain) -> bool:
    """Whether containers are nested deeper than allowed. An instance of a class is a container of its fields."""
    level = [plain] if type(plain) in CONTAINERS else []
    for _ in range(DEEPEST):
        if not level:
            return False
        level = [inner for container in level for inner in _containers_in(container)]
    return bool(level)


def _containers_in(container: list[Plain] | dict[str, Plain]) -> Collection[Plain]:
    items = _items(container)
    # Most containers hold no others, which this check finds fastest.
    return () if CONTAINERS.isdisjoint(map(type, items)) else [item for item in items if type(item) in CONTAINERS]


def _items(container: list[Plain] | dict[str, Plain]) -> Collection[Plain]:
    """The items of a container, without the tags of its plain form."""
    if isinstance(container, list):
        return container
    if TAG not in container:
        return container.values()
    inner: Plain = container.get("v")
    if container[TAG] == "dict":
        return [item for pair in inner for item in pair]
    if isinstance(inner, dict):
        return inner.values()
    return inner if isinstance(inner, list) else ()
