"""Recording transitions: read, decide, and write what nobody else has changed meanwhile.

A batch takes two round trips, however long it is: one that reads all its documents, and one that writes those that
change, each on the condition that it is as it was read. Which of the writes found their document changed, a server does
not say; so each leaves a token in its document, and where the count is wrong the documents are read once more.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import define, field
from bson import Int64
from pymongo import InsertOne, UpdateOne

from drivetrain.contract import Outcome, ServiceUnavailable, TaskRecord, Transition, apply
from drivetrain_mongo.conflicts import Conflicts
from drivetrain_mongo.connection import Collections, Connection, Document
from drivetrain_mongo.documents import RECORD_FIELDS, changes, is_live, record_of, rounded
from drivetrain_mongo.dropping import drop
from drivetrain_mongo.reading import find
from drivetrain_mongo.writing import write

__all__ = ["record"]

#: How many of the last writers a document names. Who looks whether its own write is among the last must not be later.
_TAIL = 8


def record(connection: Connection, wishes: Sequence[Transition]) -> list[Outcome]:
    """Grant or refuse each transition, in order; what became of each. Members of groups are not looked at.

    Raises:
        ServiceUnavailable: others kept changing the same records; some of the batch may have been recorded.
    """
    outcomes: dict[int, Outcome] = {}
    waiting: dict[str, list[int]] = {}
    for place, wish in enumerate(wishes):
        waiting.setdefault(wish.task_id, []).append(place)
    conflicts = Conflicts()
    while waiting:
        answered = len(outcomes)
        with connection.write() as collections:
            plans = _plans(collections, wishes, waiting, connection.now())
            lost = _write(collections, [(plan, plan.after) for plan in plans if plan.after is not None])
        for plan in plans:
            if plan.task_id not in lost:
                outcomes.update(plan.outcomes)
                waiting[plan.task_id] = waiting[plan.task_id][len(plan.outcomes) :]
        waiting = {task_id: places for task_id, places in waiting.items() if places}
        if len(outcomes) > answered:
            conflicts.passed()
        else:
            conflicts.thwarted()
    return [outcomes[place] for place in range(len(wishes))]


@define
class _Plan:
    """What is to become of one document."""

    task_id: str
    #: As it was read; None where there was none.
    document: Document | None
    #: By their places in the batch.
    outcomes: dict[int, Outcome] = field(factory=dict)
    #: None: nothing changes.
    after: TaskRecord | None = None

    @property
    def version(self) -> int:
        """Of the document that was read."""
        return 0 if self.document is None else self.document["version"]

    def decide(self, wishes: Sequence[Transition], places: Iterable[int], now: float) -> None:
        """Do with the transitions at these places as `apply` does, as far as one document goes.

        Once the record has expired, those that are left are about another document, which comes in its place.
        """
        current = record_of(self.document)
        for place in places:
            if current is not None and current.expires_at is not None and current.expires_at <= now:
                break
            after = apply(current, wishes[place], now)
            self.outcomes[place] = Outcome(applied=after is not None, before=current)
            if after is not None:
                current = self.after = rounded(after)

    def operation(self, after: TaskRecord, token: Int64) -> InsertOne[Document] | UpdateOne:
        """The write by which the record is ``after``, on the condition that the document is as it was read."""
        document = self.document
        fields = changes(record_of(document), after)
        fields["version"] = self.version + 1
        if document is None:
            return InsertOne({"_id": self.task_id, **fields, "writers": [token]})
        fields["writers"] = [*document["writers"], token][-_TAIL:]
        # A lease may be renewed without a new version.
        as_read = {"version": document["version"], "leased_until": document["leased_until"]}
        return UpdateOne({"_id": self.task_id, **as_read}, {"$set": fields})

    def is_in(self, document: Mapping[str, Any] | None, token: Int64) -> bool:
        """Whether this write, made with ``token``, has taken effect.

        Raises:
            ServiceUnavailable: too many others have written since; nobody knows any more.
        """
        if document is None:
            return False  # whatever was written is gone: it is as if it were not
        if token in document["writers"]:
            return True
        if document["version"] > self.version + _TAIL:
            raise ServiceUnavailable(f"others have changed the record of task {self.task_id} too often; try again")
        return False


def _plans(
    collections: Collections, wishes: Sequence[Transition], waiting: Mapping[str, Sequence[int]], now: float
) -> list[_Plan]:
    found = {document["_id"]: document for document in find(collections.records, list(waiting), RECORD_FIELDS)}
    expired = [document for document in found.values() if not is_live(document, now)]
    if expired:
        drop(collections, expired, now)
        for document in expired:
            del found[document["_id"]]
    plans = [_Plan(task_id, found.get(task_id)) for task_id in waiting]
    for plan in plans:
        plan.decide(wishes, waiting[plan.task_id], now)
    return plans


def _write(collections: Collections, changed: Sequence[tuple[_Plan, TaskRecord]]) -> set[str]:
    """Write what changes; the ids of those whose documents were changed by others meanwhile."""
    if not changed:
        return set()
    token = Int64(secrets.randbits(63))
    told = write(collections.records, [plan.operation(after, token) for plan, after in changed])
    lost = {changed[place][0].task_id for place in told.duplicates}
    updates = [plan for plan, _ in changed if plan.document is not None]
    if told.matched < len(updates):
        fields = {"version": 1, "writers": 1}
        ids = [plan.task_id for plan in updates]
        found = {document["_id"]: document for document in find(collections.records, ids, fields)}
        lost.update(plan.task_id for plan in updates if not plan.is_in(found.get(plan.task_id), token))
    return lost
