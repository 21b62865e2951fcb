"""Reading many documents by their ids."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence

from pymongo.collection import Collection

from drivetrain.contract import ServiceUnavailable
from drivetrain_mongo.connection import Collections, Document

__all__ = ["PAUSES_SECONDS", "chunks", "find", "find_records"]

#: Before each further look at what a majority does not have yet: five seconds in all.
PAUSES_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0, 1.0, 1.0)

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


def find_records(collections: Collections, ids: Sequence[str], fields: Mapping[str, int]) -> dict[str, Document]:
    """The documents of ``records`` with these ids, by id, such that what is missing is really not there.

    What a majority has, a new primary may not know to be so in its first instant: what was acknowledged before the
    failover is missing then, and to say that it is gone would be wrong for ever. The primary itself has it, so that
    what is missing is looked for there, and waited for if it is found.

    Raises:
        ServiceUnavailable: a majority still did not have some of it after some seconds.
    """
    found = {document["_id"]: document for document in find(collections.records, ids, fields)}
    for pause in PAUSES_SECONDS:
        missing = [each for each in ids if each not in found]
        young = [document["_id"] for document in find(collections.latest_records, missing, {"_id": 1})]
        if not young:
            return found
        threading.Event().wait(pause)
        found.update((document["_id"], document) for document in find(collections.records, young, fields))
    raise ServiceUnavailable(f"the record of {young[0]!r} is not with a majority yet; try again")
