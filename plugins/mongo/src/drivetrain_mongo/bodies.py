"""Bodies that are too large for the broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pymongo import UpdateOne

from drivetrain.contract import ServiceUnavailable
from drivetrain_mongo.connection import Collections
from drivetrain_mongo.reading import chunks, find
from drivetrain_mongo.writing import write

__all__ = ["drop", "load", "store"]

#: How often what others have inserted at the same instant is tried again; each time it is found to be there.
_TRIES = 3


def store(collections: Collections, bodies: Mapping[str, bytes]) -> None:
    """Keep bodies by key; those that are there already are replaced."""
    operations = [UpdateOne({"_id": key}, {"$set": {"body": body}}, upsert=True) for key, body in bodies.items()]
    for _ in range(_TRIES):
        # Of two who upsert one key at once, one may be told that the other has inserted it: nothing is amiss.
        operations = [operations[place] for place in write(collections.bodies, operations).duplicates]
        if not operations:
            return
    raise ServiceUnavailable(f"{len(operations)} bodies are stored and dropped by others all the time; try again")


def load(collections: Collections, keys: Sequence[str]) -> list[bytes | None]:
    """The bodies, in the order asked for; None where there is none."""
    found: dict[str, bytes] = {document["_id"]: document["body"] for document in find(collections.bodies, keys)}
    return [found.get(key) for key in keys]


def drop(collections: Collections, keys: Sequence[str]) -> None:
    """Drop bodies; unknown keys do no harm."""
    for chunk in chunks(keys):
        collections.bodies.delete_many({"_id": {"$in": chunk}})
