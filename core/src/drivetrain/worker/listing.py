"""Listing tasks, page by page."""

from __future__ import annotations

from collections.abc import Iterator

from drivetrain.contract import Backend, TaskReach, TaskRecord

__all__ = ["PAGE", "unfinished_tasks"]

#: How many unfinished tasks are read in one call.
PAGE = 1000


def unfinished_tasks(backend: Backend, *, page: int = PAGE) -> Iterator[TaskRecord]:
    """All unfinished tasks, read by pages of up to ``page`` as they are needed; one may come twice."""
    states = TaskReach.UNFINISHED.states
    found = backend.list_tasks(states, limit=page)
    yield from found.records
    while found.cursor is not None:
        found = backend.list_tasks(states, limit=page, cursor=found.cursor)
        yield from found.records
