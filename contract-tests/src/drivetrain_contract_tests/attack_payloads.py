"""What hostile bytes name. Nobody has a reason to import this module, or to call what is in it."""

from __future__ import annotations

__all__ = ["Bait", "sprung"]

#: One entry for every time that somebody was lured.
sprung: list[str] = []


class Bait:
    """Making one, or restoring its state, is being lured."""

    def __init__(self, *_args: object, **_named: object) -> None:
        sprung.append("made")

    def __setstate__(self, _state: object) -> None:
        sprung.append("restored")


def spring(*_args: object) -> str:
    """Being called is being lured."""
    sprung.append("called")
    return "sprung"
