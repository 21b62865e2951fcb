"""Groups: opened, completed by the identity of their members, and read."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import define, field
from bson import Int64
from pymongo import InsertOne, UpdateOne

from drivetrain.contract import Completion, Group, GroupProgress, GroupRecord
from drivetrain_mongo import bitmap, memberids
from drivetrain_mongo.conflicts import Conflicts
from drivetrain_mongo.connection import Collections, Document
from drivetrain_mongo.documents import FOREVER, is_live, micros
from drivetrain_mongo.dropping import drop
from drivetrain_mongo.reading import PAUSES_SECONDS, find, find_records
from drivetrain_mongo.writing import write

__all__ = ["complete", "open_groups", "read_groups", "read_members"]

#: What tells how a group stands; what goes on after it may be large, and is left out.
_STANDING = {"group": 1, "done": 1, "expires": 1}

#: Payloads in one reply, if so many fit.
_AT_ONCE = 1_000


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
    told = write(collections.records, operations)
    return told.matched + told.inserted == len(operations)


def complete(collections: Collections, completions: Sequence[Completion], now: float) -> list[GroupProgress | None]:
    """Mark members complete, in order; how each group stands afterwards, None where it is not known.

    The payload of a member is kept first, in a document of its own that one only can insert: whose payload stands, and
    whether it is a failure, is decided there. Then its bit is set, and the words of bits before that step tell how many
    there were. Both may be done again, by anybody, so that a crash between them needs no repair.
    """
    ids = list(dict.fromkeys(completion.member.group_id for completion in completions))
    standings = {
        group_id: _Standing(document)
        for group_id, document in find_records(collections, ids, _STANDING).items()
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
    told = write(collections.members, [InsertOne(document) for document in documents])
    if told.duplicates:
        others = [documents[place]["_id"] for place in told.duplicates]
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
    told = write(
        collections.records,
        [
            UpdateOne(
                {**standing.conditions(now), "group.version": standing.version},
                standing.update(standing.new),
            )
            for standing in standings
        ],
    )
    if told.matched < len(standings):
        return False
    for standing in standings:
        standing.was(standing.document, standing.new)
    return True


def read_groups(collections: Collections, group_ids: Sequence[str], now: float) -> list[GroupRecord | None]:
    """The groups that are known, in the order asked for."""
    fields = {**_STANDING, "continuation": 1}
    found = {
        group_id: _record(document)
        for group_id, document in find_records(collections, group_ids, fields).items()
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
    """The payloads of all members in order, None also for those that somebody has dropped; none of an unknown group.

    Payloads are there before the bits that say so. Where they are not seen, a failover may have come in between, so
    they are looked for a while: to say that they are lost is for ever.
    """
    document, payloads = _members(collections, group_id, now)
    for pause in PAUSES_SECONDS:
        if document is None or bitmap.indexes(document["done"]) <= payloads.keys():
            break
        threading.Event().wait(pause)
        document, payloads = _members(collections, group_id, now)
    if document is None:
        return []
    done = document["done"]
    indexes = range(document["group"]["size"])
    return [payloads.get(index) if bitmap.contains(done, index) else None for index in indexes]


def _members(collections: Collections, group_id: str, now: float) -> tuple[Document | None, dict[int, bytes]]:
    """A group, if it is known, and all payloads that are kept for it."""
    document = find_records(collections, [group_id], _STANDING).get(group_id)
    if document is None or "group" not in document or not is_live(document, now):
        return None, {}
    of_group = {"_id": memberids.between(group_id, document["group"]["opening"])}
    members = collections.members.find(of_group, batch_size=_AT_ONCE)
    return document, {memberids.index_of(member["_id"]): member["payload"] for member in members}
