"""Task records: read, decide, and write what nobody else has changed meanwhile; and message bodies.

A batch takes two round trips, however long it is: one reads all its documents, the other writes those that change. Each
write has the condition that its document is as it was read. A server does not say which of the conditions failed.
Therefore each write leaves a token in its document; where the count is too low, the documents are read once more.

``now`` is Unix seconds by the server's clock.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from attrs import define, field, frozen
from bson import Int64
from pymongo import ASCENDING, DESCENDING, InsertOne, UpdateOne

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
    "list_page",
    "load_bodies",
    "read",
    "record",
    "renew",
    "shorten_retention",
    "store_bodies",
]

#: How many of the last writers a document names. A process that checks for its own write must not be later than that.
_WRITERS = 8
#: How many documents one page passes at most, or as many as it may have records.
_PASSED = 1_000
#: How often to repeat writes of bodies that other processes inserted at the same instant.
_TRIES = 3


# Recording


def record(connection: Connection, transitions: Sequence[Transition], indexed: AbstractSet[State]) -> list[Outcome]:
    """Apply transitions in order; the outcome of each. It completes no members of groups.

    Args:
        connection: the connection.
        transitions: the transitions.
        indexed: the states in which a record gets a place in the index ``listed``.

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
            now = connection.now()
            plans = _plans(collections, transitions, waiting, now)
            for number, plan in enumerate(plans):
                plan.index(indexed, f"{micros(now) + number:016x}{secrets.randbits(64):016x}")
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
    #: The new place of the record in the index ``listed``; empty: it keeps the one that it has, or has none.
    listed: str = ""
    #: Whether it loses its place.
    unlisted: bool = False

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

    def index(self, indexed: AbstractSet[State], newest: str) -> None:
        """Decide on the place in the index ``listed``, a text: larger ones are newer, and no two are the same.

        Args:
            indexed: the states in which a record has a place.
            newest: the place of a record that ends now, or is to be tried again for the first time.
        """
        if self.after is None:
            return
        has_one = self.document is not None and "listed" in self.document
        terminal = self.after.state.terminal
        if self.after.state in indexed:
            self.listed = newest if terminal or not has_one else ""
        else:
            self.unlisted = terminal and has_one

    def operation(self, after: TaskRecord, token: Int64) -> InsertOne[Document] | UpdateOne:
        """The write that makes the record ``after``, if the document is as it was read."""
        document = self.document
        fields = changes(record_of(document), after)
        fields["version"] = self.version + 1
        if self.listed:
            fields["listed"] = self.listed
        if document is None:
            return InsertOne({"_id": self.task_id, **fields, "writers": [token]})
        fields["writers"] = [*document["writers"], token][-_WRITERS:]
        # A renewal changes the lease without a new version.
        as_read = {"version": document["version"], "leased_until": document["leased_until"]}
        return UpdateOne(
            {"_id": self.task_id, **as_read}, {"$set": fields, **({"$unset": {"listed": ""}} if self.unlisted else {})}
        )

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


def list_page(
    collections: Collections, states: AbstractSet[State], limit: int, cursor: str | None, now: float
) -> TaskPage:
    """A page of records in these states: first those of the index ``listed``, newest first; then unfinished ones by id.

    The cursor is "l" and the last place in the index, or "u" and the last id.
    """
    ended = frozenset(state for state in states if state.terminal)
    # A search for other unfinished tasks finds those in RETRY too.
    by_index = ended | {State.RETRY} if states - ended == {State.RETRY} else ended
    by_id = states - by_index
    kind, after = ("l" if by_index else "u", "") if cursor is None else (cursor[0], cursor[1:])
    if kind == "l":
        window = _Window("listed", DESCENDING, {"listed": {"$lt": after} if after else {"$gt": ""}})
        records, last = window.read(collections, by_index, limit, now)
        following = "u" if by_id else None
    else:
        wanted = {"expires": UNFINISHED, **({"_id": {"$gt": after}} if after else {})}
        records, last = _Window("_id", ASCENDING, wanted).read(collections, by_id, limit, now)
        following = None
    return TaskPage(records=records, cursor=following if last is None else f"{kind}{last}")


@frozen
class _Window:
    """Documents in the order of an index: those that one page passes."""

    #: The field of the index, and its order.
    key: str
    order: int
    #: The condition of the documents.
    wanted: Mapping[str, Any]

    def read(
        self, collections: Collections, states: AbstractSet[State], limit: int, now: float
    ) -> tuple[list[TaskRecord], str | None]:
        """Up to ``limit`` records in these states; and the key of the last document that was passed, if more follow."""
        most = max(limit, _PASSED)
        found = collections.records.find(self.wanted, {"state": 1, self.key: 1})
        passed = list(found.sort(self.key, self.order).limit(most))
        names = {state.value for state in states}
        chosen = [document for document in passed if document.get("state") in names]
        last: str | None = passed[-1][self.key] if len(passed) == most else None
        if len(chosen) >= limit:
            last = chosen[limit - 1][self.key]
        ids = [document["_id"] for document in chosen[:limit]]
        # A document may have changed since: it is read as a whole, as `read` reads it.
        records = read(collections, ids, now) if ids else []
        return [record for record in records if record is not None and record.state in states], last


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
