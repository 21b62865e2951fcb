"""Plain values: drawing them, telling whether something is one, and comparing them exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

__all__ = ["EDGES", "differences", "misfits", "plain_values"]

_INT64 = 2**63

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-_INT64, _INT64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXTS
)

#: What serializers stumble over, whatever is drawn.
EDGES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.0, -0.0, 1.0, 1e16, 1e22, 5e-324, 1.7976931348623157e308, 0.1 + 0.2,
    2**31, 2**32, 2**53, 2**53 + 1, _INT64 - 1, -_INT64, "", "\x00", "a\x00b", "\ufeff", "\u2028", "\U0001f600",
    "e\u0301", "\xe9", "1", "true", "null", "1e5", "2020-01-01", "2020-01-01T00:00:00Z", "\r\n", " x ", "\x7f\x1b[0m",
    [], {}, [[]], [{}], {"": None}, {"a": {}}, [None], [1, 1.0, True, "1"], {"1": 1, "01": 2}, {"b": 1, "a": 2},
    {"\xe9": 1, "e\u0301": 2}, {"null": "null", "true": True}, {"__proto__": {}, "$ref": "#", "@type": "x"},
)  # fmt: skip


def plain_values() -> SearchStrategy[Any]:
    """Any plain value."""
    return st.recursive(_LEAVES, lambda inner: st.lists(inner) | st.dictionaries(_TEXTS, inner), max_leaves=20)


def differences(expected: Any, found: Any, path: str = "value") -> Iterator[str]:
    """In what two plain values differ: types, the sign of a zero and the order of keys count."""
    if type(expected) is not type(found):
        yield f"{path} was {expected!r:.60} ({type(expected).__name__}) and is {found!r:.60} ({type(found).__name__})"
    elif isinstance(expected, dict):
        yield from _dict_differences(expected, found, path)
    elif isinstance(expected, list):
        yield from _list_differences(expected, found, path)
    elif repr(expected) != repr(found):  # of floats, the shortest text that names this very one
        yield f"{path} was {expected!r:.60} and is {found!r:.60}"


def _dict_differences(expected: dict[str, Any], found: dict[str, Any], path: str) -> Iterator[str]:
    if list(expected) != list(found):
        yield f"{path} had the keys {list(expected)!r:.80} and has {list(found)!r:.80}"
        return
    for key, value in expected.items():
        yield from differences(value, found[key], f"{path}[{key!r:.30}]")


def _list_differences(expected: list[Any], found: list[Any], path: str) -> Iterator[str]:
    if len(expected) != len(found):
        yield f"{path} had {len(expected)} items and has {len(found)}"
    for index, (one, other) in enumerate(zip(expected, found, strict=False)):
        yield from differences(one, other, f"{path}[{index}]")


def misfits(value: Any, path: str = "value") -> Iterator[str]:
    """What is not plain in a value. Integers may be of any size: Python's own formats do not bound them."""
    if type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                yield f"{path} has the key {key!r:.40} ({type(key).__name__})"
            yield from misfits(key, f"a key of {path}") if type(key) is str else ()
            yield from misfits(item, f"{path}[{key!r:.30}]")
    elif type(value) is list:
        for index, item in enumerate(value):
            yield from misfits(item, f"{path}[{index}]")
    else:
        yield from _leaf_misfits(value, path)


def _leaf_misfits(value: Any, path: str) -> Iterator[str]:
    if type(value) is float and not math.isfinite(value):
        yield f"{path} is {value}"
    elif type(value) is str and any("\ud800" <= sign <= "\udfff" for sign in value):
        yield f"{path} holds half a surrogate pair"
    elif value is not None and type(value) not in {bool, int, float, str}:
        yield f"{path} is of type {type(value).__name__}"
