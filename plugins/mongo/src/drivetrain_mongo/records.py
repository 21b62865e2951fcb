"""Task records: read, decide, and write what nobody else has changed meanwhile; and message bodies.

A batch takes two round trips, however long it is: one reads all its documents, the other writes those that change. Each
write has the condition that its document is as it was read. A server does not say which of the conditions failed.
Therefore each write leaves a token in its document; where the count is too low, the documents are read once more.

``now`` is Unix seconds by the server's clock.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import define, field
from bson import Int64
from pymongo import ASCENDING, InsertOne, UpdateOne

from drivetrain.contract import (
    Outcome,
    Renewal,
    RunLease,
    ServiceUnavailable,
    State,
    TaskPage,
    TaskRecord,
    Transition,
    apply,
    is_expired,
)
from drivetrain_mongo.bulk import Backoff, find, find_records, id_chunks, write
from drivetrain_mongo.codec import (
    RECORD_FIELDS,
    TERMINAL,
    UNFINISHED,
    changes,
    delete_at,
    is_live,
    micros,
    record_of,
    rounded,
)
from drivetrain_mongo.connection import Collections, Connection, Document
from drivetrain_mongo.deletion import delete

__all__ = [
    "drop_bodies",
    "load_bodies",
    "read",
    "record",
    "renew",
    "shorten_retention",
    "store_bodies",
    "unfinished",
]

#: How many of the last writers a document names. A process that checks for its own write must not be later than that.
_WRITERS = 8
#: How often to repeat writes of bodies that other processes inserted at the same instant.
_TRIES = 3


# Recording


def record(connection: Connection, transitions: Sequence[Transition]) -> list[Outcome]:
    """Apply transitions in order; the outcome of each. It completes no members of groups.

    Raises:
        ServiceUnavailable: others kept changing the same records; some of the batch may have been recorded.
    """
    outcomes: dict[int, Outcome] = {}
    waiting: dict[str, list[int]] = {}
    for position, transition in enumerate(transitions):
        waiting.setdefault(transition.task_id, []).append(position)
    backoff = Backoff()
    while waiting:
        answered = len(outcomes)
        with connection.write() as collections:
            plans = _plans(collections, transitions, waiting, connection.now())
            lost = _write(collections, [(plan, plan.after) for plan in plans if plan.after is not None])
        for plan in plans:
            if plan.task_id not in lost:
                outcomes.update(plan.outcomes)
                waiting[plan.task_id] = waiting[plan.task_id][len(plan.outcomes) :]
        waiting = {task_id: positions for task_id, positions in waiting.items() if positions}
        if len(outcomes) > answered:
            backoff.reset()
        else:
            backoff.pause()
    return [outcomes[position] for position in range(len(transitions))]


@define
class _Plan:
    """The planned change of one document."""

    task_id: str
    #: As it was read; None if it did not exist.
    document: Document | None
    #: By their positions in the batch.
    outcomes: dict[int, Outcome] = field(factory=dict)
    #: The record to write; None: nothing changes.
    after: TaskRecord | None = None

    @property
    def version(self) -> int:
        """The version of the document that was read."""
        return 0 if self.document is None else self.document["version"]

    def decide(self, transitions: Sequence[Transition], positions: Iterable[int], now: float) -> None:
        """Apply the transitions at these positions, as far as they concern this document.

        Once the record has expired, the rest of them concerns another document, which takes its place.
        """
        current = record_of(self.document)
        for position in positions:
            if current is not None and is_expired(current, now):
                break
            after = apply(current, transitions[position], now)
            self.outcomes[position] = Outcome(applied=after is not None, before=current)
            if after is not None:
                current = self.after = rounded(after)

    def operation(self, after: TaskRecord, token: Int64) -> InsertOne[Document] | UpdateOne:
        """The write that makes the record ``after``, if the document is as it was read."""
        document = self.document
        fields = changes(record_of(document), after)
        fields["version"] = self.version + 1
        if document is None:
            return InsertOne({"_id": self.task_id, **fields, "writers": [token]})
        fields["writers"] = [*document["writers"], token][-_WRITERS:]
        # A renewal changes the lease without a new version.
        as_read = {"version": document["version"], "leased_until": document["leased_until"]}
        return UpdateOne({"_id": self.task_id, **as_read}, {"$set": fields})

    def is_in(self, document: Mapping[str, Any] | None, token: Int64) -> bool:
        """Whether this write, made with ``token``, took effect.

        Raises:
            ServiceUnavailable: too many others have written since, so the document does not show it any more.
        """
        if document is None:
            return False  # the document is gone, with whatever was written
        if token in document["writers"]:
            return True
        if document["version"] > self.version + _WRITERS:
            raise ServiceUnavailable(f"others have changed the record of task {self.task_id} too often; try again")
        return False


def _plans(
    collections: Collections, transitions: Sequence[Transition], waiting: Mapping[str, Sequence[int]], now: float
) -> list[_Plan]:
    found = {document["_id"]: document for document in find(collections.records, list(waiting), RECORD_FIELDS)}
    expired = [document for document in found.values() if not is_live(document, now)]
    if expired:
        delete(collections, expired, now)
        for document in expired:
            del found[document["_id"]]
    plans = [_Plan(task_id, found.get(task_id)) for task_id in waiting]
    for plan in plans:
        plan.decide(transitions, waiting[plan.task_id], now)
    return plans


def _write(collections: Collections, changed: Sequence[tuple[_Plan, TaskRecord]]) -> set[str]:
    """Write the changes; the ids of documents that others changed meanwhile."""
    if not changed:
        return set()
    token = Int64(secrets.randbits(63))
    result = write(collections.records, [plan.operation(after, token) for plan, after in changed])
    lost = {changed[position][0].task_id for position in result.duplicates}
    updates = [plan for plan, _ in changed if plan.document is not None]
    if result.matched < len(updates):
        fields = {"version": 1, "writers": 1}
        ids = [plan.task_id for plan in updates]
        found = {document["_id"]: document for document in find(collections.records, ids, fields)}
        lost.update(plan.task_id for plan in updates if not plan.is_in(found.get(plan.task_id), token))
    return lost


# Reading


def read(collections: Collections, task_ids: Sequence[str], now: float) -> list[TaskRecord | None]:
    """The records of these tasks, in order; None for an unknown one."""
    documents = find_records(collections, task_ids, RECORD_FIELDS)
    live = {task_id: record_of(document) for task_id, document in documents.items() if is_live(document, now)}
    return [live.get(task_id) for task_id in task_ids]


def unfinished(collections: Collections, limit: int, cursor: str | None) -> TaskPage:
    """A page of unfinished records, in the order of their ids; the cursor is the last id."""
    wanted = {"expires": UNFINISHED, **({} if cursor is None else {"_id": {"$gt": cursor}})}
    found = list(collections.records.find(wanted, RECORD_FIELDS).sort("_id", ASCENDING).limit(limit))
    return TaskPage(
        records=[task for document in found if (task := record_of(document)) is not None],
        cursor=found[-1]["_id"] if len(found) == limit else None,
    )


# Leases and retention


def renew(collections: Collections, leases: Sequence[RunLease], now: float) -> list[Renewal]:
    """Renew the leases of runs that still hold their task; the answer to each, in order."""
    write(collections.records, [_renewing(lease, now) for lease in leases])
    fields = {"state": 1, "run": 1, "expires": 1}
    found = {
        document["_id"]: document
        for document in find(collections.records, [lease.task_id for lease in leases], fields)
        if is_live(document, now)
    }
    return [_renewal(lease, found.get(lease.task_id, {})) for lease in leases]


def _renewing(lease: RunLease, now: float) -> UpdateOne:
    held = {"_id": lease.task_id, "state": State.STARTED.value, "run": lease.run, "expires": UNFINISHED}
    return UpdateOne(held, {"$set": {"leased_until": micros(now + lease.seconds)}})


def _renewal(lease: RunLease, document: Mapping[str, object]) -> Renewal:
    state = None if "state" not in document else State(str(document["state"]))
    return Renewal(held=state is State.STARTED and document["run"] == lease.run, state=state)


def shorten_retention(collections: Collections, task_ids: Sequence[str], seconds: float, now: float) -> None:
    """Let terminal records expire ``seconds`` from now, if they would expire later."""
    expires = micros(now + seconds)
    fields = {"expires": expires, **({} if (date := delete_at(expires)) is None else {"delete_at": date})}
    for chunk in id_chunks(task_ids):
        longer = {"state": {"$in": TERMINAL}, "expires": {"$gt": max(expires, micros(now))}}
        collections.records.update_many({"_id": {"$in": chunk}, **longer}, {"$set": fields})


# Bodies


def store_bodies(collections: Collections, bodies: Mapping[str, bytes]) -> None:
    """Store message bodies by key; each replaces an earlier one.

    Raises:
        ServiceUnavailable: others stored and dropped the same bodies at each attempt.
    """
    operations = [UpdateOne({"_id": key}, {"$set": {"body": body}}, upsert=True) for key, body in bodies.items()]
    for _ in range(_TRIES):
        # Of two upserts of one key at the same instant, the server may refuse one as a duplicate.
        operations = [operations[position] for position in write(collections.bodies, operations).duplicates]
        if not operations:
            return
    raise ServiceUnavailable(f"others stored and dropped {len(operations)} bodies at each attempt; try again")


def load_bodies(collections: Collections, keys: Sequence[str]) -> list[bytes | None]:
    """The bodies of these keys, in order; None for an unknown one."""
    found: dict[str, bytes] = {document["_id"]: document["body"] for document in find(collections.bodies, keys)}
    return [found.get(key) for key in keys]


def drop_bodies(collections: Collections, keys: Sequence[str]) -> None:
    """Delete bodies; unknown keys are ignored."""
    for chunk in id_chunks(keys):
        collections.bodies.delete_many({"_id": {"$in": chunk}})
