"""Bodies that are too large for the broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pymongo import UpdateOne

from drivetrain_mongo.connection import Collections
from drivetrain_mongo.reading import chunks, find

__all__ = ["drop", "load", "store"]


def store(collections: Collections, bodies: Mapping[str, bytes]) -> None:
    """Keep bodies by key; those that are there already are replaced."""
    operations = [UpdateOne({"_id": key}, {"$set": {"body": body}}, upsert=True) for key, body in bodies.items()]
    collections.bodies.bulk_write(operations, ordered=False)


def load(collections: Collections, keys: Sequence[str]) -> list[bytes | None]:
    """The bodies, in the order asked for; None where there is none."""
    found: dict[str, bytes] = {document["_id"]: document["body"] for document in find(collections.bodies, keys)}
    return [found.get(key) for key in keys]


def drop(collections: Collections, keys: Sequence[str]) -> None:
    """Drop bodies; unknown keys do no harm."""
    for chunk in chunks(keys):
        collections.bodies.delete_many({"_id": {"$in": chunk}})
