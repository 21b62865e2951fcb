"""Reading many documents by their ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pymongo.collection import Collection

from drivetrain_mongo.connection import Document

__all__ = ["chunks", "find"]

#: Ids in one request: a request has 16 MB at most, and ids are any text.
_CHUNK = 1_000


def chunks(ids: Sequence[str]) -> Iterator[list[str]]:
    """The ids, each once, as many together as one request takes."""
    distinct = list(dict.fromkeys(ids))
    for first in range(0, len(distinct), _CHUNK):
        yield distinct[first : first + _CHUNK]


def find(
    collection: Collection[Document], ids: Sequence[str], fields: Mapping[str, int] | None = None
) -> Iterator[Document]:
    """The documents of these ids that are there, in any order."""
    for chunk in chunks(ids):
        yield from collection.find({"_id": {"$in": chunk}}, fields, batch_size=_CHUNK)
