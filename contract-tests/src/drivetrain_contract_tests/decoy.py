"""A module that hostile bytes name. No code of the suite imports it: only a loader that obeys its input does."""

from __future__ import annotations

__all__ = ["Bait", "sprung"]

#: What was done with this module, one entry for each time.
sprung: list[str] = []


class Bait:
    """A class that notes when it is made or restored."""

    def __init__(self, *_args: object, **_named: object) -> None:
        sprung.append("made")

    def __setstate__(self, _state: object) -> None:
        sprung.append("restored")


def spring(*_args: object) -> str:
    """Note that this function was called."""
    sprung.append("called")
    return "sprung"
