"""Dropping what has expired or was forgotten, and what a crash has left behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import DeleteMany

from drivetrain_mongo import memberids
from drivetrain_mongo.connection import Collections, Document
from drivetrain_mongo.documents import micros
from drivetrain_mongo.reading import chunks, find
from drivetrain_mongo.writing import write

__all__ = ["CHUNK", "Orphans", "drop", "drop_expired", "forget"]

#: `expires` of what was forgotten.
_FORGOTTEN = micros(0.0)
#: How many documents are dropped by one request.
CHUNK = 1_000


def drop(collections: Collections, documents: Sequence[Mapping[str, Any]], now: float) -> int:
    """Drop documents whose time has come; how many there were.

    Members go first: if this ends in the middle, their group is still there to be dropped again, and nobody sees it.
    """
    opened = [(document["_id"], document["group"]["opening"]) for document in documents if "group" in document]
    if opened:
        of_each = (memberids.between(group_id, opening) for group_id, opening in opened)
        write(collections.members, [DeleteMany({"_id": between}) for between in of_each])
    ids = [document["_id"] for document in documents]
    # On the condition that they are still over: somebody may have dropped one and begun anew.
    deleted = (
        collections.records.delete_many({"_id": {"$in": chunk}, "expires": {"$lte": micros(now)}}).deleted_count
        for chunk in chunks(ids)
    )
    return sum(deleted)


def drop_expired(collections: Collections, now: float) -> int:
    """Drop some of what has expired; how many documents."""
    over = collections.records.find({"expires": {"$lte": micros(now)}}, {"group": 1}).sort("expires", 1)
    return drop(collections, list(over.limit(CHUNK)), now)


def forget(collections: Collections, ids: Sequence[str], now: float) -> None:
    """Drop documents, whatever they hold.

    First they are marked as over, which takes all of a document from everybody at once; who finds them so drops them.
    """
    for chunk in chunks(ids):
        marked = {"$set": {"expires": _FORGOTTEN}, "$inc": {"version": 1}}
        if collections.records.update_many({"_id": {"$in": chunk}}, marked).matched_count:
            over = {"_id": {"$in": chunk}, "expires": {"$lte": micros(now)}}
            drop(collections, list(collections.records.find(over, {"group": 1})), now)


class Orphans:
    """Members whose group is gone.

    There are some where a group was completed and forgotten at the same instant, and where the server's own sweep has
    dropped a group. Each call looks at a few, and so comes round to all.
    """

    def __init__(self) -> None:
        self._after = ""

    def drop(self, collections: Collections) -> None:
        """Drop some that are found."""
        ids = [
            found["_id"]
            for found in collections.members.find({"_id": {"$gt": self._after}}, {"_id": 1}).sort("_id", 1).limit(CHUNK)
        ]
        openings = dict.fromkeys(memberids.opening_of(member_id) for member_id in ids)
        # What is opened is opened before its first member comes, so that a group that is not there now has no heirs.
        heads: dict[str, Document] = {
            head["_id"]: head
            for head in find(collections.latest_records, [group_id for group_id, _ in openings], {"group": 1})
        }
        gone = [
            (group_id, opening)
            for group_id, opening in openings
            if heads.get(group_id, {}).get("group", {}).get("opening") != opening
        ]
        if gone:
            between = [memberids.between(group_id, opening) for group_id, opening in gone]
            write(collections.members, [DeleteMany({"_id": one}) for one in between])
        self._after = memberids.end(*list(openings)[-1]) if len(ids) == CHUNK else ""
