"""Selections: the tasks of an operation, by ids or by a filter."""

from __future__ import annotations

from collections.abc import Sequence

from drivetrain.app.bulk.operation_store import OperationStore

__all__ = ["PAGE", "IdSelection"]

#: How many tasks an operation acts on between two writes of its progress.
PAGE = 100


class IdSelection:
    """The ids that were given to an operation. The cursor is the number of the next one."""

    def __init__(self, store: OperationStore, operation_id: str, count: int) -> None:
        self._store = store
        self._operation_id = operation_id
        self._count = count

    def total(self) -> tuple[int, bool]:
        """See `Selection.total`."""
        return self._count, True

    def ids(self, cursor: str) -> tuple[Sequence[str], str | None]:
        """See `Selection.ids`."""
        first = int(cursor or "0")
        found = self._store.ids(self._operation_id, first, PAGE)
        following = first + PAGE
        return found, str(following) if following < self._count else None
