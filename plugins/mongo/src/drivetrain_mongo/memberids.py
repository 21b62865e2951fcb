"""The ids of members: a group's name, its opening, and the member's index. Pure.

They sort as the members of their group do, so that the index on ``_id`` finds them all in order. The opening is unique
for each time that a group of this name was opened: what is left of one that was forgotten is not taken for another's.
"""

from __future__ import annotations

__all__ = ["between", "end", "index_of", "member_id", "opening_of"]

#: The sign that follows the full stop in every collation by bytes.
_AFTER_STOP = "/"


def member_id(group_id: str, opening: str, index: int) -> str:
    """The id of a member."""
    return f"{_stem(group_id, opening)}.{index:019}"


def between(group_id: str, opening: str) -> dict[str, str]:
    """The condition on ``_id`` for all members of a group."""
    stem = _stem(group_id, opening)
    return {"$gte": f"{stem}.", "$lt": f"{stem}{_AFTER_STOP}"}


def end(group_id: str, opening: str) -> str:
    """What is behind all members of a group, and before those of the next."""
    return f"{_stem(group_id, opening)}{_AFTER_STOP}"


def opening_of(member: str) -> tuple[str, str]:
    """Group and opening of the id of a member."""
    group_id, _, rest = member.rpartition("\0")
    return group_id, rest.partition(".")[0]


def index_of(member: str) -> int:
    """The index in the id of a member."""
    return int(member.rpartition(".")[2])


def _stem(group_id: str, opening: str) -> str:
    return f"{group_id}\0{opening}"
