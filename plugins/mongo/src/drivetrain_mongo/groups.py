"""Groups: opened, completed by the identity of their members, and read."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import define, field
from bson import Int64
from pymongo import InsertOne, UpdateOne
from pymongo.errors import BulkWriteError

from drivetrain.contract import Completion, Group, GroupProgress, GroupRecord, ServiceRefused
from drivetrain_mongo import bitmap, memberids
from drivetrain_mongo.conflicts import Conflicts
from drivetrain_mongo.connection import Collections, Document
from drivetrain_mongo.documents import FOREVER, is_live, micros
from drivetrain_mongo.dropping import drop
from drivetrain_mongo.errors import DUPLICATE_KEY
from drivetrain_mongo.reading import find

__all__ = ["complete", "open_groups", "read_groups", "read_members"]

#: What tells how a group stands; what goes on after it may be large, and is left out.
_STANDING = {"group": 1, "done": 1, "expires": 1}


def open_groups(collections: Collections, groups: Iterable[Group], now: float) -> None:
    """Open groups; those that are open stay as they are.

    Raises:
        ServiceUnavailable: others kept changing documents of the same ids; some groups may be open.
    """
    waiting: dict[str, Group] = {}
    for group in groups:
        waiting.setdefault(group.group_id, group)  # the first stands
    conflicts = Conflicts()
    while waiting:
        found = {document["_id"]: document for document in find(collections.records, list(waiting), _STANDING)}
        expired = [document for document in found.values() if not is_live(document, now)]
        if expired:
            drop(collections, expired, now)
        known = {group_id for group_id, document in found.items() if is_live(document, now)}
        opened = {group_id for group_id in known if "group" in found[group_id]}
        operations = [
            _opening(group, now, recorded=group_id in known)
            for group_id, group in waiting.items()
            if group_id not in opened
        ]
        if not operations or _all_opened(collections, operations):
            return
        # Somebody was faster with some of them: with the group, or with a record of its id.
        conflicts.thwarted()
        waiting = {group_id: group for group_id, group in waiting.items() if group_id not in opened}


def _opening(group: Group, now: float, *, recorded: bool) -> InsertOne[Document] | UpdateOne:
    fields = {
        "group": {
            "opening": uuid.uuid4().hex,
            "size": Int64(group.size),
            "collect": group.collect,
            "failed": False,
            "version": 0,
        },
        "done": {},
        "continuation": group.continuation,
    }
    if recorded:
        unopened = {"_id": group.group_id, "group": {"$exists": False}, "expires": {"$gt": micros(now)}}
        return UpdateOne(unopened, {"$set": fields})
    # As for a document that was read before its first record: see `recording`.
    blank: Document = {"version": 0, "leased_until": None, "writers": [], "expires": FOREVER}
    return InsertOne({"_id": group.group_id, **blank, **fields})


def _all_opened(collections: Collections, operations: Sequence[Any]) -> bool:
    try:
        told = collections.records.bulk_write(operations, ordered=False)
    except BulkWriteError as error:
        _raise_unless_duplicates(error)
        return False
    return told.matched_count + told.inserted_count == len(operations)


def _raise_unless_duplicates(error: BulkWriteError) -> None:
    failures = error.details["writeErrors"]
    if error.details["writeConcernErrors"] or any(failure["code"] != DUPLICATE_KEY for failure in failures):
        raise error


def complete(collections: Collections, completions: Sequence[Completion], now: float) -> list[GroupProgress | None]:
    """Mark members complete, in order; how each group stands afterwards, None where it is not known.

    The payload of a member is kept first, in a document of its own that one only can insert: whose payload stands, and
    whether it is a failure, is decided there. Then its bit is set, and the words of bits before that step tell how many
    there were. Both may be done again, by anybody, so that a crash between them needs no repair.
    """
    ids = list(dict.fromkeys(completion.member.group_id for completion in completions))
    standings = {
        document["_id"]: _Standing(document)
        for document in find(collections.records, ids, _STANDING)
        if "group" in document and is_live(document, now)
    }
    for completion in completions:
        if (standing := standings.get(completion.member.group_id)) is not None:
            standing.take(completion)
    busy = [standing for standing in standings.values() if standing.new]
    if busy:
        _keep_payloads(collections, busy)
        _set_bits(collections, busy, now)
    return [_progress(standings.get(completion.member.group_id), completion.member.index) for completion in completions]


@define
class _Standing:
    """A group, and what is to be done with it."""

    document: Document
    #: Those that come to it, by index: the first of each counts.
    new: dict[int, Completion] = field(factory=dict)
    #: Whether each of those has failed, as the payload that stands says.
    failures: dict[int, bool] = field(factory=dict)
    #: Those whose bits were set here, and by nobody before.
    fresh: set[int] = field(factory=set)
    #: How it stands without the fresh ones, to which they are added while the answers are made.
    done: int = 0
    failed: bool = False
    gone: bool = False

    def __attrs_post_init__(self) -> None:
        self.was(self.document, ())

    @property
    def group_id(self) -> str:
        return str(self.document["_id"])

    @property
    def opening(self) -> str:
        return str(self.document["group"]["opening"])

    @property
    def version(self) -> int:
        return int(self.document["group"]["version"])

    def take(self, completion: Completion) -> None:
        """Add a completion, unless its member is complete already or there is no such member."""
        index = completion.member.index
        if 0 <= index < self.document["group"]["size"] and not bitmap.contains(self.document["done"], index):
            self.new.setdefault(index, completion)

    def conditions(self, now: float) -> Document:
        """That the group is still there, and still the same."""
        return {"_id": self.group_id, "group.opening": self.opening, "expires": {"$gt": micros(now)}}

    def update(self, indexes: Iterable[int]) -> Document:
        """The step in which these members are complete."""
        members = list(indexes)
        update: Document = {"$bit": bitmap.operation("done", members), "$inc": {"group.version": 1}}
        failed = any(self.failures[index] for index in members)
        return {**update, "$set": {"group.failed": True}} if failed else update

    def was(self, before: Document | None, indexes: Iterable[int]) -> None:
        """The step was done for these members, on this document; None: there was none any more."""
        if before is None:
            self.gone = True
            return
        # All that is fresh counts as if it came now, behind what others have done meanwhile: so that whoever does the
        # last step of all knows that the group is complete.
        group, mine = before["group"], any(self.failures[index] for index in self.fresh)
        self.failed = self.failed or (bool(group["failed"]) and not group["collect"] and not mine)
        self.done = bitmap.count(before["done"]) - len(self.fresh)
        self.fresh.update(index for index in indexes if not bitmap.contains(before["done"], index))

    def answer(self, index: int) -> GroupProgress:
        """How the group stands after the next completion."""
        group = self.document["group"]
        if index in self.fresh:
            self.fresh.discard(index)
            self.done += 1
            self.failed = self.failed or (self.failures[index] and not group["collect"])
        return GroupProgress(size=int(group["size"]), done=self.done, failed=self.failed)


def _progress(standing: _Standing | None, index: int) -> GroupProgress | None:
    return None if standing is None or standing.gone else standing.answer(index)


def _keep_payloads(collections: Collections, standings: Sequence[_Standing]) -> None:
    documents: list[Document] = [
        {
            "_id": memberids.member_id(standing.group_id, standing.opening, index),
            "payload": completion.payload,
            "failed": completion.failed,
        }
        for standing in standings
        for index, completion in standing.new.items()
    ]
    failures = {document["_id"]: document["failed"] for document in documents}
    try:
        collections.members.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        _raise_unless_duplicates(error)
        others = [documents[failure["index"]]["_id"] for failure in error.details["writeErrors"]]
        # A majority may not have it yet; it will, before it has the bit that is set after this.
        for found in find(collections.latest_members, others, {"failed": 1}):
            failures[found["_id"]] = bool(found["failed"])
    for standing in standings:
        standing.failures = {
            index: failures[memberids.member_id(standing.group_id, standing.opening, index)] for index in standing.new
        }


def _set_bits(collections: Collections, standings: Sequence[_Standing], now: float) -> None:
    if len(standings) > 1 and _set_together(collections, standings, now):
        return
    # Also for those whose bits were set together with others': setting them again only tells how their groups stand.
    for standing in standings:
        for part in bitmap.parts(standing.new):
            _set_some(collections, standing, part, now)


def _set_some(collections: Collections, standing: _Standing, indexes: Sequence[int], now: float) -> None:
    before = collections.records.find_one_and_update(standing.conditions(now), standing.update(indexes), _STANDING)
    standing.was(before, indexes)
    if before is None:  # nothing may be left of a group that is gone
        members = memberids.between(standing.group_id, standing.opening)
        collections.members.delete_many({"_id": members})


def _set_together(collections: Collections, standings: Sequence[_Standing], now: float) -> bool:
    """Set the bits of several groups in one request, if nobody else changes any of them; whether that was so."""
    if any(len(bitmap.parts(standing.new)) > 1 for standing in standings):
        return False
    told = collections.records.bulk_write(
        [
            UpdateOne(
                {**standing.conditions(now), "group.version": standing.version},
                standing.update(standing.new),
            )
            for standing in standings
        ],
        ordered=False,
    )
    if told.matched_count < len(standings):
        return False
    for standing in standings:
        standing.was(standing.document, standing.new)
    return True


def read_groups(collections: Collections, group_ids: Sequence[str], now: float) -> list[GroupRecord | None]:
    """The groups that are known, in the order asked for."""
    fields = {**_STANDING, "continuation": 1}
    found = {
        document["_id"]: _record(document)
        for document in find(collections.records, group_ids, fields)
        if "group" in document and is_live(document, now)
    }
    return [found.get(group_id) for group_id in group_ids]


def _record(document: Mapping[str, Any]) -> GroupRecord:
    group = document["group"]
    return GroupRecord(
        group_id=document["_id"],
        size=int(group["size"]),
        collect=bool(group["collect"]),
        continuation=document["continuation"],
        done=bitmap.count(document["done"]),
        failed=bool(group["failed"]) and not group["collect"],
    )


def read_members(collections: Collections, group_id: str, now: float) -> list[bytes | None]:
    """The payloads of all members in order; none where the group is not known.

    Raises:
        ServiceRefused: payloads of complete members are missing, which nothing that this driver does leads to.
    """
    document = _head(collections, group_id, now)
    while document is not None:
        members = collections.members.find({"_id": memberids.between(group_id, document["group"]["opening"])})
        payloads = {memberids.index_of(member["_id"]): member["payload"] for member in members}
        done = bitmap.indexes(document["done"])
        if done <= payloads.keys():
            return [payloads[index] if index in done else None for index in range(document["group"]["size"])]
        again = _head(collections, group_id, now)
        if again is not None and again["group"]["opening"] == document["group"]["opening"]:
            raise ServiceRefused(
                f"{len(done - payloads.keys())} members of group {group_id} are complete and their payloads are not "
                f"there: somebody has dropped documents of {collections.members.full_name}"
            )
        document = again  # it was forgotten, and opened anew
    return []


def _head(collections: Collections, group_id: str, now: float) -> Document | None:
    document = collections.records.find_one({"_id": group_id}, _STANDING)
    return document if document is not None and "group" in document and is_live(document, now) else None
