"""A place of a concurrency limit, as a task needs it."""

from __future__ import annotations

from attrs import frozen

__all__ = ["Place"]


@frozen
class Place:
    """A place that a task needs.

    Attributes:
        name: the name of the limit.
        key: its key.
        limit: how many places there are, as the code says.
    """

    name: str
    key: str
    limit: int
