"""The ids of members' documents: the group's id, its opening, and the member's index. Pure.

They sort as the members of their group do, so the index on ``_id`` finds them in order. Each time that a group of this
id is opened, it gets a unique opening. So a group never takes members of an earlier one for its own.
"""

from __future__ import annotations

__all__ = ["between", "end", "index_of", "member_id", "opening_of"]

#: The character after the full stop in every collation by bytes.
_AFTER_STOP = "/"


def member_id(group_id: str, opening: str, index: int) -> str:
    """The id of a member."""
    return f"{_stem(group_id, opening)}.{index:019}"


def between(group_id: str, opening: str) -> dict[str, str]:
    """The condition on ``_id`` for all members of a group."""
    stem = _stem(group_id, opening)
    return {"$gte": f"{stem}.", "$lt": f"{stem}{_AFTER_STOP}"}


def end(group_id: str, opening: str) -> str:
    """An id that sorts after all members of a group, and before those of the next one."""
    return f"{_stem(group_id, opening)}{_AFTER_STOP}"


def opening_of(member: str) -> tuple[str, str]:
    """The group id and the opening in the id of a member."""
    group_id, _, rest = member.rpartition("\0")
    return group_id, rest.partition(".")[0]


def index_of(member: str) -> int:
    """The index in the id of a member."""
    return int(member.rpartition(".")[2])


def _stem(group_id: str, opening: str) -> str:
    return f"{group_id}\0{opening}"
