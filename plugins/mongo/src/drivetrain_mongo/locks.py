"""Locks with an end and a growing token: one document for each name.

``now`` is Unix seconds by the server's clock.
"""

from __future__ import annotations

from bson import Int64
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from drivetrain_mongo.codec import micros
from drivetrain_mongo.connection import Collections

__all__ = ["acquire", "held", "release", "renew", "sweep"]

#: How long ago a released lock ended, in seconds: more than the clocks of two processes may differ.
_RELEASED_SECONDS = 60.0
#: How long the document of a lock outlives its hold, in seconds. A new document begins with a token that is the time in
#: milliseconds, and each holder adds one: a token repeats only if a lock is taken a thousand times a second.
_TOKEN_SECONDS = 86_400.0


def acquire(collections: Collections, name: str, seconds: float, now: float) -> int | None:
    """Take a lock; its token, or None while another token holds it."""
    ends = micros(now + seconds)
    taken = collections.locks.find_one_and_update(
        {"_id": name, "ends": {"$lte": micros(now)}},
        {"$set": {"ends": ends}, "$inc": {"token": 1}},
        return_document=ReturnDocument.AFTER,
    )
    if taken is not None:
        return int(taken["token"])
    first = Int64(now * 1_000)
    try:
        collections.locks.insert_one({"_id": name, "token": first, "ends": ends})
    except DuplicateKeyError:
        return None
    return int(first)


def renew(collections: Collections, name: str, token: int, seconds: float, now: float) -> bool:
    """Let the hold end ``seconds`` from now; False if this token does not hold the lock."""
    update = {"$set": {"ends": micros(now + seconds)}}
    return collections.locks.update_one(_held_by(name, token, now), update).matched_count == 1


def release(collections: Collections, name: str, token: int, now: float) -> bool:
    """End the hold; False if this token does not hold the lock. The document stays, so that tokens grow."""
    update = {"$set": {"ends": micros(now - _RELEASED_SECONDS)}}
    return collections.locks.update_one(_held_by(name, token, now), update).matched_count == 1


def sweep(collections: Collections, now: float) -> None:
    """Delete the documents of locks that nobody has held for a day."""
    collections.locks.delete_many({"ends": {"$lte": micros(now - _TOKEN_SECONDS)}})


def held(collections: Collections, now: float) -> int:
    """How many locks are held."""
    return collections.locks.count_documents({"ends": {"$gt": micros(now)}})


def _held_by(name: str, token: int, now: float) -> dict[str, object]:
    return {"_id": name, "token": Int64(token), "ends": {"$gt": micros(now)}}
