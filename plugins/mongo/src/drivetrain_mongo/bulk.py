"""Many documents at once: read by id, written in short requests, and tried again after conflicting writes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError
from pymongo.operations import DeleteMany, InsertOne, UpdateOne

from drivetrain.contract import ServiceUnavailable, chunks
from drivetrain_mongo.connection import Collections, Document, latest
from drivetrain_mongo.errors import DUPLICATE_KEY

__all__ = ["CHUNK", "PAUSES_SECONDS", "Backoff", "BulkResult", "find", "find_records", "id_chunks", "write"]

#: Pauses before further reads of documents that a majority does not have yet: five seconds in all.
PAUSES_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0, 1.0, 1.0)

#: Ids in one request. A request has 16 MB at most, and an id may be any text.
_IDS = 1_000
#: Documents that one request deletes.
CHUNK = 1_000
#: Writes in one request. While a server is busy with a long one it seems to be away: the client checks it every ten
#: seconds, and then closes all connections.
_WRITES = 1_000

#: How often in a row a call may find its documents changed by others, and the longest pause in between, in seconds. All
#: pauses together take some seconds.
_CONFLICTS = 40
_LONGEST_PAUSE_SECONDS = 0.1


# Reading


def id_chunks(ids: Sequence[str]) -> Iterator[list[str]]:
    """The distinct ids, as many together as one request takes."""
    return (list(chunk) for chunk in chunks(list(dict.fromkeys(ids)), _IDS))


def find(
    collection: Collection[Document], ids: Sequence[str], fields: Mapping[str, int] | None = None
) -> Iterator[Document]:
    """The existing documents of these ids, in any order."""
    for chunk in id_chunks(ids):
        yield from collection.find({"_id": {"$in": chunk}}, fields, batch_size=_IDS)


def find_records(collections: Collections, ids: Sequence[str], fields: Mapping[str, int]) -> dict[str, Document]:
    """The documents of ``records`` with these ids, by id. A missing one does not exist.

    A new primary does not know at once which writes a majority has. A read of the majority then lacks states that were
    acknowledged before the failover. To call them unknown would be final, and wrong. The primary itself has them:
    this looks there for missing documents, and waits until the majority has those that it finds.

    Raises:
        ServiceUnavailable: after some seconds a majority still did not have one of them.
    """
    found = {document["_id"]: document for document in find(collections.records, ids, fields)}
    recent: list[str] = []
    for pause in PAUSES_SECONDS:
        missing = [each for each in ids if each not in found]
        recent = [document["_id"] for document in find(latest(collections.records), missing, {"_id": 1})]
        if not recent:
            return found
        threading.Event().wait(pause)
        found.update((document["_id"], document) for document in find(collections.records, recent, fields))
    raise ServiceUnavailable(f"a majority of the servers does not have the record of {recent[0]!r} yet; try again")


# Writing


@frozen
class BulkResult:
    """The result of a batch of writes."""

    #: How many updates found their document.
    matched: int
    inserted: int
    #: The positions of the writes whose document existed already.
    duplicates: Sequence[int]


def write(
    collection: Collection[Document], operations: Sequence[InsertOne[Document] | UpdateOne | DeleteMany]
) -> BulkResult:
    """Write all of them, in any order. A document that exists already stops none of the others.

    Raises:
        PyMongoError: one of them failed for another reason; some of them may have been written.
    """
    matched, inserted, duplicates = 0, 0, list[int]()
    for number, some in enumerate(chunks(operations, _WRITES)):
        try:
            result = collection.bulk_write(some, ordered=False)
        except BulkWriteError as error:
            failures = error.details["writeErrors"]
            if error.details["writeConcernErrors"] or any(one["code"] != DUPLICATE_KEY for one in failures):
                raise
            matched, inserted = matched + error.details["nMatched"], inserted + error.details["nInserted"]
            duplicates += [number * _WRITES + one["index"] for one in failures]
        else:
            matched, inserted = matched + result.matched_count, inserted + result.inserted_count
    return BulkResult(matched, inserted, duplicates)


class Backoff:
    """Pauses a call whose documents others keep changing, a little longer each time. Used by one thread."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def reset(self) -> None:
        """Note that a write succeeded."""
        self._in_a_row = 0

    def pause(self) -> None:
        """Note that every write failed, and pause: others finish, and a majority gets what they wrote.

        Raises:
            ServiceUnavailable: that happened too often in a row.
        """
        self._in_a_row += 1
        if self._in_a_row > _CONFLICTS:
            raise ServiceUnavailable(f"others have changed the same records {_CONFLICTS} times in a row; try again")
        threading.Event().wait(min(0.001 * 2 ** min(self._in_a_row, 10), _LONGEST_PAUSE_SECONDS))
