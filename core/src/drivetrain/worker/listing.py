"""Listing unfinished tasks, page by page."""

from __future__ import annotations

from collections.abc import Iterator

from drivetrain.contract import Backend, TaskRecord

__all__ = ["PAGE", "unfinished_tasks"]

#: How many unfinished tasks are read in one call.
PAGE = 1000


def unfinished_tasks(backend: Backend, *, page: int = PAGE) -> Iterator[TaskRecord]:
    """All unfinished tasks, read by pages of up to ``page`` as they are needed; one may come twice."""
    found = backend.unfinished(limit=page)
    yield from found.records
    while found.cursor is not None:
        found = backend.unfinished(limit=page, cursor=found.cursor)
        yield from found.records
