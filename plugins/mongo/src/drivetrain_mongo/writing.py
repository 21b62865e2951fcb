"""Writing many documents: in as many requests as keep each of them short."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from attrs import frozen
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError
from pymongo.operations import DeleteMany, InsertOne, UpdateOne

from drivetrain_mongo.connection import Document
from drivetrain_mongo.errors import DUPLICATE_KEY

__all__ = ["Told", "portions", "write"]

T = TypeVar("T")

#: Writes in one request. A server that is busy with one request for long seems to be away: the client, which asks it
#: every ten seconds how it is, then cuts off whatever it does.
_AT_ONCE = 1_000


@frozen
class Told:
    """What a server says of a batch of writes."""

    #: How many updates found their document.
    matched: int
    inserted: int
    #: The places of those whose document was there already.
    duplicates: Sequence[int]


def portions(several: Sequence[T]) -> Iterator[tuple[int, Sequence[T]]]:
    """As many of them as one request takes, with the place of the first."""
    for first in range(0, len(several), _AT_ONCE):
        yield first, several[first : first + _AT_ONCE]


def write(collection: Collection[Document], operations: Sequence[InsertOne[Document] | UpdateOne | DeleteMany]) -> Told:
    """Write all of them, in any order; that a document is there already is told, and stops none of the others.

    Raises:
        PyMongoError: something else stood in the way; some of it may have been written.
    """
    matched, inserted, duplicates = 0, 0, list[int]()
    for first, some in portions(operations):
        try:
            told = collection.bulk_write(some, ordered=False)
        except BulkWriteError as error:
            failures = error.details["writeErrors"]
            if error.details["writeConcernErrors"] or any(one["code"] != DUPLICATE_KEY for one in failures):
                raise
            matched, inserted = matched + error.details["nMatched"], inserted + error.details["nInserted"]
            duplicates += [first + one["index"] for one in failures]
        else:
            matched, inserted = matched + told.matched_count, inserted + told.inserted_count
    return Told(matched, inserted, duplicates)
