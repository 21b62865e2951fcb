"""Lists the versioned values under a prefix, page by page."""

from __future__ import annotations

from collections.abc import Iterator

from drivetrain.contract import VersionedValue, VersionedValues

__all__ = ["values_under"]

_PAGE = 200


def values_under(backend: VersionedValues, prefix: str) -> Iterator[tuple[str, VersionedValue]]:
    """The keys without the prefix, and their values.

    Raises:
        ServiceError: the backend could not be reached.
    """
    cursor = None
    while True:
        page = backend.list_values(prefix, limit=_PAGE, cursor=cursor)
        yield from ((key.removeprefix(prefix), stored) for key, stored in page.values)
        if (cursor := page.cursor) is None:
            return
