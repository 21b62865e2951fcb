"""Deletion of documents that have expired or were forgotten, and of members that a crash has left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import DeleteMany

from drivetrain_mongo import member_ids
from drivetrain_mongo.bulk import CHUNK, find, id_chunks, write
from drivetrain_mongo.codec import micros
from drivetrain_mongo.connection import Collections, Document, latest

__all__ = ["Orphans", "delete", "delete_expired", "forget"]

#: `expires` of a forgotten document.
_FORGOTTEN = micros(0.0)


def delete(collections: Collections, documents: Sequence[Mapping[str, Any]], now: float) -> int:
    """Delete expired documents; how many there were.

    Members go first: after a crash in between, their group is still there to be deleted again, and invisible.
    """
    opened = [(document["_id"], document["group"]["opening"]) for document in documents if "group" in document]
    _delete_members(collections, opened)
    # Only while they are expired: another process may have deleted one and written a new one.
    deleted = (
        collections.records.delete_many({"_id": {"$in": chunk}, "expires": {"$lte": micros(now)}}).deleted_count
        for chunk in id_chunks([document["_id"] for document in documents])
    )
    return sum(deleted)


def delete_expired(collections: Collections, now: float) -> int:
    """Delete some of the expired documents; how many."""
    expired = collections.records.find({"expires": {"$lte": micros(now)}}, {"group": 1}).sort("expires", 1)
    return delete(collections, list(expired.limit(CHUNK)), now)


def forget(collections: Collections, ids: Sequence[str], now: float) -> None:
    """Delete documents, whatever they hold.

    First it marks them as expired, which hides all of a document at once. Any process that then finds one deletes it.
    """
    for chunk in id_chunks(ids):
        mark = {"$set": {"expires": _FORGOTTEN}, "$inc": {"version": 1}}
        if collections.records.update_many({"_id": {"$in": chunk}}, mark).matched_count:
            expired = {"_id": {"$in": chunk}, "expires": {"$lte": micros(now)}}
            delete(collections, list(collections.records.find(expired, {"group": 1})), now)


class Orphans:
    """Finds and deletes members without a group. Used by one thread at a time.

    There are some if a group was completed and forgotten at the same instant, or if the server's own sweep has deleted
    a group. Each call reads a few members and continues where the last one ended.
    """

    def __init__(self) -> None:
        self._after = ""

    def delete(self, collections: Collections) -> None:
        """Read some members, and delete those without a group."""
        later = collections.members.find({"_id": {"$gt": self._after}}, {"_id": 1})
        ids = [found["_id"] for found in later.sort("_id", 1).limit(CHUNK)]
        openings = dict.fromkeys(member_ids.opening_of(member_id) for member_id in ids)
        # A group is opened before its first member is stored. So if the group is missing now, nobody needs its members.
        groups: dict[str, Document] = {
            document["_id"]: document
            for document in find(latest(collections.records), [group_id for group_id, _ in openings], {"group": 1})
        }
        orphaned = [
            (group_id, opening)
            for group_id, opening in openings
            if groups.get(group_id, {}).get("group", {}).get("opening") != opening
        ]
        _delete_members(collections, orphaned)
        self._after = member_ids.end(*list(openings)[-1]) if len(ids) == CHUNK else ""


def _delete_members(collections: Collections, openings: Sequence[tuple[str, str]]) -> None:
    of_each = (member_ids.between(group_id, opening) for group_id, opening in openings)
    write(collections.members, [DeleteMany({"_id": between}) for between in of_each])
