"""Versioned values: one document for each key.

A document outlives its value by a day, so that versions grow. A new document begins with the time in microseconds,
which is larger than every version before. `ends` says when the value expires, and later when the document goes. A
document with a value has it in `value`, and its id in `key` once more: an index on `key` lists values only.

A batch takes two round trips: one reads its documents, the other writes those that change. A write of an existing
document is an upsert with the condition that it has the version that was read. If the version is another one, the
server tries to insert a second document of this key, and reports a duplicate. So the driver knows which writes failed.

Reads show what the primary has. A new primary has all that was acknowledged, but does not know at once what a majority
has. A value that a majority never gets may be shown, and taken back by a failover. No write on it is acknowledged.

``now`` is Unix seconds by the server's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bson import Int64
from pymongo import ASCENDING, InsertOne, UpdateOne
from pymongo.collection import Collection

from drivetrain.contract import ValueOutcome, ValuePage, ValueWrite, VersionedValue, takes_effect, utf8
from drivetrain_mongo.bulk import CHUNK, Backoff, find, id_chunks, write
from drivetrain_mongo.codec import FOREVER, micros
from drivetrain_mongo.connection import Collections, Connection, Document, latest
from drivetrain_mongo.waiting import Wanted

__all__ = ["ValueWatch", "count", "ids_of", "list_values", "read_values", "sweep", "wanted", "write_values"]

#: How long the document of a value outlives it, in seconds.
_VERSION_SECONDS = 86_400.0
#: Larger than every character of an id.
_LARGEST = "\xff"


#: All changes of values, with the id only. What wakes nobody is rare: a sweep, and the deletion of an old document.
_CHANGES: Sequence[Mapping[str, Any]] = ({"$project": {"operationType": 1, "documentKey": 1}},)


class ValueWatch:
    """Waiting for changes of values; see `drivetrain_mongo.waiting.Watched`.

    Args:
        connection: the connection to the service.
    """

    longest_pause_seconds = 0.5

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        #: What the poll before has found: versions by id.
        self._versions: dict[str, int] = {}

    def changes(self) -> Sequence[Mapping[str, Any]]:
        """See `Watched.changes`."""
        return _CHANGES

    def collection(self, collections: Collections) -> Collection[Document]:
        """See `Watched.collection`."""
        return collections.values

    def poll(self, wanted: Sequence[Wanted]) -> Iterable[str]:
        """See `Watched.poll`."""
        before, now = self._versions, {}
        with self._connection.use() as collections:
            stored = latest(collections.values)
            for ids in id_chunks(list(frozenset().union(*(each.ids for each in wanted)))):
                now.update(_versions(stored, {"_id": {"$in": ids}}))
            for prefix in {each.prefix for each in wanted if each.prefix is not None}:
                now.update(_versions(stored, {"key": {"$gte": prefix, "$lt": prefix + _LARGEST}}))
        self._versions = now
        return [each for each in before.keys() | now.keys() if before.get(each) != now.get(each)]


def wanted(keys: Iterable[str], prefix: str | None) -> Wanted:
    """The documents of these keys, and of all that start with the prefix."""
    return Wanted(frozenset(ids_of(keys)), None if prefix is None else _id(prefix))


def ids_of(keys: Iterable[str]) -> list[str]:
    """The ids of the documents of these keys."""
    return [_id(key) for key in keys]


def read_values(collections: Collections, keys: Sequence[str], now: float) -> list[VersionedValue | None]:
    """The values of these keys, in order; None where nothing is stored."""
    ids = [_id(key) for key in keys]
    found = _find(collections, ids)
    return [_current(found.get(each), now) for each in ids]


def write_values(connection: Connection, writes: Sequence[ValueWrite]) -> list[ValueOutcome]:
    """Write or remove values, the writes of one key in order; the outcomes in order.

    Raises:
        ServiceUnavailable: others kept changing the same values; some of the batch may have been written.
    """
    by_id: dict[str, list[ValueWrite]] = {}
    for each in writes:
        by_id.setdefault(_id(each.key), []).append(each)
    outcomes: dict[str, list[ValueOutcome]] = {}
    backoff = Backoff()
    while waiting := {each: some for each, some in by_id.items() if each not in outcomes}:
        decided = _try(connection, waiting)
        outcomes.update(decided)
        if decided:
            backoff.reset()
        else:
            backoff.pause()
    ordered = {each: iter(some) for each, some in outcomes.items()}
    return [next(ordered[_id(each.key)]) for each in writes]


def list_values(collections: Collections, prefix: str, limit: int, cursor: str | None, now: float) -> ValuePage:
    """A page of values, in the order of their keys; the cursor is the last id, also of a value that has expired."""
    first = _id(prefix)
    wanted = {"$gte": first, "$lt": first + _LARGEST, **({} if cursor is None else {"$gt": cursor})}
    listed = latest(collections.values).find({"key": wanted}, batch_size=limit).sort("key", ASCENDING)
    found = list(listed.limit(limit))
    current = [(document["_id"], _current(document, now)) for document in found]
    return ValuePage(
        values=[(_key(each), value) for each, value in current if value is not None],
        cursor=found[-1]["_id"] if len(found) == limit else None,
    )


def sweep(collections: Collections, now: float) -> None:
    """Remove some of the expired values, and delete some of the documents that have outlived theirs for a day."""
    ended = {"ends": {"$lte": micros(now)}}
    found = list(collections.values.find(ended, {"key": 1}).sort("ends", ASCENDING).limit(CHUNK))
    for chunk in id_chunks([document["_id"] for document in found if "key" not in document]):
        collections.values.delete_many({"_id": {"$in": chunk}, "key": {"$exists": False}, **ended})
    for chunk in id_chunks([document["_id"] for document in found if "key" in document]):
        removal = _update({"ends": micros(now + _VERSION_SECONDS)})
        collections.values.update_many({"_id": {"$in": chunk}, "key": {"$exists": True}, **ended}, removal)


def count(collections: Collections, now: float) -> int:
    """How many values are stored."""
    return collections.values.count_documents({"key": {"$exists": True}, "ends": {"$gt": micros(now)}})


def _versions(collection: Collection[Document], condition: Mapping[str, Any]) -> dict[str, int]:
    """The versions of the documents that fulfil a condition, by id."""
    return {document["_id"]: int(document["version"]) for document in collection.find(condition, {"version": 1})}


def _find(collections: Collections, ids: Sequence[str]) -> dict[str, Document]:
    """The documents of these ids, by id; without missing ones."""
    return {document["_id"]: document for document in find(latest(collections.values), ids)}


def _try(connection: Connection, writes: Mapping[str, Sequence[ValueWrite]]) -> dict[str, list[ValueOutcome]]:
    """Try the writes of each id once; the outcomes, without ids whose document others have changed meanwhile."""
    with connection.write() as collections:
        found = _find(collections, list(writes))
        now = connection.now()
        decided = {each: _decide(each, found.get(each), some, now) for each, some in writes.items()}
        operations = {
            each: _operation(each, found.get(each), after)
            for each, (after, _) in decided.items()
            if after is not None and after is not found.get(each)
        }
        ids = list(operations)
        lost = {ids[position] for position in write(collections.values, list(operations.values())).duplicates}
    return {each: outcomes for each, (_, outcomes) in decided.items() if each not in lost}


def _decide(
    document_id: str, document: Document | None, writes: Sequence[ValueWrite], now: float
) -> tuple[Document | None, list[ValueOutcome]]:
    """What the writes of one key, in order, make of its document: the same object if nothing changes; the outcomes."""
    outcomes = []
    for each in writes:
        stored = _current(document, now)
        if not takes_effect(each, stored):
            outcomes.append(ValueOutcome(written=False, current=stored))
            continue
        # A removal has a version too: otherwise a write after it could take the document for the one it has read.
        version = max(int(micros(now)), 1 + (0 if document is None else int(document["version"])))
        if each.value is not None:
            seconds = each.expires_in_seconds
            ends = FOREVER if seconds is None else micros(now + seconds)
            document = {"version": Int64(version), "ends": ends, "key": document_id, "value": each.value}
            stored = VersionedValue(value=each.value, version=version, expires_in_seconds=seconds)
        elif stored is not None:
            ends = micros(now + _VERSION_SECONDS)
            document, stored = {"version": Int64(version), "ends": ends}, None
        outcomes.append(ValueOutcome(written=True, current=stored))
    return document, outcomes


def _operation(document_id: str, before: Document | None, after: Document) -> InsertOne[Document] | UpdateOne:
    if before is None:
        return InsertOne({"_id": document_id, **after})
    return UpdateOne({"_id": document_id, "version": before["version"]}, _update(after), upsert=True)


def _update(after: Document) -> Document:
    """The update that sets these fields, and removes the value that they lack."""
    lacking = {name: "" for name in ("key", "value") if name not in after}
    return {"$set": after, **({"$unset": lacking} if lacking else {})}


def _current(document: Mapping[str, Any] | None, now: float) -> VersionedValue | None:
    """The value in a document; None if there is none, or it has expired."""
    if document is None or "value" not in document or document["ends"] <= micros(now):
        return None
    ends = document["ends"]
    return VersionedValue(
        value=document["value"],
        version=int(document["version"]),
        expires_in_seconds=None if ends >= FOREVER else ends / 1e6 - now,
    )


def _id(key: str) -> str:
    """The `_id` for a key, in the same order: a character for each byte, two for the bytes 0 and 1.

    BSON has no half surrogate pairs. Not every compatible service can compare texts with a NUL.
    """
    return utf8(key).decode("latin-1").replace("\1", "\1\2").replace("\0", "\1\1")


def _key(document_id: str) -> str:
    plain = document_id.replace("\1\1", "\0").replace("\1\2", "\1")
    return plain.encode("latin-1").decode("utf-8", "surrogatepass")
