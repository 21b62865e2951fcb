"""Comparing what is long: pytest would look for the difference of two lists of thousands for minutes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

__all__ = ["assert_same"]

_NOTHING = object()


def assert_same(found: Sequence[object], expected: Sequence[object], what: str) -> None:
    """Assert that two sequences are equal; otherwise tell the first place where they differ.

    Args:
        found: what there is.
        expected: what there should be.
        what: whose items these are, in a few words.
    """
    for place, (one, other) in enumerate(zip_longest(found, expected, fillvalue=_NOTHING)):
        if one != other:
            there, wanted = ("nothing" if each is _NOTHING else f"{each!r:.80}" for each in (one, other))
            counts = f"{len(found)} and should be {len(expected)}"
            raise AssertionError(f"{what}: at place {place} is {there} and should be {wanted}; they are {counts}")
