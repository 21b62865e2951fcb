"""The roles of viewers. Pure."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Role"]


class Role(StrEnum):
    """What a viewer may do. Each role may do what the roles before it may.

    Attributes:
        READ_ONLY: look at the pages. For such a viewer, the addresses of actions do not exist.
        OPERATOR: what can be undone, or loses nothing: cancel, retry and replay tasks, pause queues and schedules.
        ADMIN: what cannot be undone, or changes how the app works: purge, drop, remove, set limits.
    """

    READ_ONLY = "read-only"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Whether this role may do what ``other`` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)
