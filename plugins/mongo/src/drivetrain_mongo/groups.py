"""Groups: opened, completed by the identity of their members, and read.

``now`` is Unix seconds by the server's clock.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import define, field
from bson import Int64
from pymongo import InsertOne, UpdateOne

from drivetrain.contract import Completion, Group, GroupProgress, GroupRecord
from drivetrain_mongo import bitmap, member_ids
from drivetrain_mongo.bulk import PAUSES_SECONDS, Backoff, find, find_records, write
from drivetrain_mongo.codec import FOREVER, is_live, micros
from drivetrain_mongo.connection import Collections, Document, latest
from drivetrain_mongo.deletion import delete

__all__ = ["complete", "open_groups", "read_groups", "read_members"]

#: The fields for a group's progress. Its continuation may be large, and is not among them.
_PROGRESS = {"group": 1, "done": 1, "expires": 1}

#: Payloads in one reply, if so many fit.
_PAYLOADS = 1_000


def open_groups(collections: Collections, groups: Iterable[Group], now: float) -> None:
    """Open groups; a group that is open already stays as it is.

    Raises:
        ServiceUnavailable: others kept changing documents of the same ids; some groups may be open.
    """
    waiting: dict[str, Group] = {}
    for group in groups:
        waiting.setdefault(group.group_id, group)  # the first one counts
    backoff = Backoff()
    while waiting:
        found = {document["_id"]: document for document in find(collections.records, list(waiting), _PROGRESS)}
        expired = [document for document in found.values() if not is_live(document, now)]
        if expired:
            delete(collections, expired, now)
        known = {group_id for group_id, document in found.items() if is_live(document, now)}
        opened = {group_id for group_id in known if "group" in found[group_id]}
        operations = [
            _opening(group, now, recorded=group_id in known)
            for group_id, group in waiting.items()
            if group_id not in opened
        ]
        if not operations or _all_opened(collections, operations):
            return
        # Another process was faster with some of them: with the group, or with a record of its id.
        backoff.pause()
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
    # The fields that `records` expects of a document without a record.
    blank: Document = {"version": 0, "leased_until": None, "writers": [], "expires": FOREVER}
    return InsertOne({"_id": group.group_id, **blank, **fields})


def _all_opened(collections: Collections, operations: Sequence[Any]) -> bool:
    result = write(collections.records, operations)
    return result.matched + result.inserted == len(operations)


def complete(collections: Collections, completions: Sequence[Completion], now: float) -> list[GroupProgress | None]:
    """Complete members, in order; the progress of each one's group afterwards, None for an unknown group.

    First each payload is inserted, in a document of its own. Only one process can insert it, which decides whose
    payload counts and whether the member has failed. Then the member's bit is set, and the words of bits before that
    step give the count. Any process may repeat both steps, so a crash between them needs no repair.
    """
    ids = list(dict.fromkeys(completion.member.group_id for completion in completions))
    updates = {
        group_id: _GroupUpdate(document)
        for group_id, document in find_records(collections, ids, _PROGRESS).items()
        if "group" in document and is_live(document, now)
    }
    for completion in completions:
        if (update := updates.get(completion.member.group_id)) is not None:
            update.add(completion)
    busy = [update for update in updates.values() if update.new]
    if busy:
        _insert_payloads(collections, busy)
        _set_bits(collections, busy, now)
    return [_progress(updates.get(completion.member.group_id), completion.member.index) for completion in completions]


@define
class _GroupUpdate:
    """A group, the members that a batch completes, and the progress of the group."""

    document: Document
    #: The first completion of each member that is not complete yet, by index.
    new: dict[int, Completion] = field(factory=dict)
    #: For each of those, whether it has failed, by the payload that counts.
    failures: dict[int, bool] = field(factory=dict)
    #: The members whose bits this batch set first.
    fresh: set[int] = field(factory=set)
    #: The progress without the fresh members; `answer` adds them one by one.
    done: int = 0
    failed: bool = False
    gone: bool = False

    def __attrs_post_init__(self) -> None:
        self.applied(self.document, ())

    @property
    def group_id(self) -> str:
        return str(self.document["_id"])

    @property
    def opening(self) -> str:
        return str(self.document["group"]["opening"])

    @property
    def version(self) -> int:
        return int(self.document["group"]["version"])

    def add(self, completion: Completion) -> None:
        """Add a completion, unless its member is complete already or there is no such member."""
        index = completion.member.index
        if 0 <= index < self.document["group"]["size"] and not bitmap.contains(self.document["done"], index):
            self.new.setdefault(index, completion)

    def conditions(self, now: float) -> Document:
        """The conditions by which the group is still there, and the same one."""
        return {"_id": self.group_id, "group.opening": self.opening, "expires": {"$gt": micros(now)}}

    def operation(self, indexes: Iterable[int]) -> Document:
        """The update of the document that completes these members."""
        members = list(indexes)
        update: Document = {"$bit": bitmap.operation("done", members), "$inc": {"group.version": 1}}
        failed = any(self.failures[index] for index in members)
        return {**update, "$set": {"group.failed": True}} if failed else update

    def applied(self, before: Document | None, indexes: Iterable[int]) -> None:
        """Note that the update of these members was applied to ``before``; None: the group was gone."""
        if before is None:
            self.gone = True
            return
        # All fresh members count as if they came now, after those that others have completed meanwhile. So the process
        # that makes the last update of all reports the group as complete.
        group, mine = before["group"], any(self.failures[index] for index in self.fresh)
        self.failed = self.failed or (bool(group["failed"]) and not group["collect"] and not mine)
        self.done = bitmap.count(before["done"]) - len(self.fresh)
        self.fresh.update(index for index in indexes if not bitmap.contains(before["done"], index))

    def answer(self, index: int) -> GroupProgress:
        """The progress of the group after the next completion, which is of this member."""
        group = self.document["group"]
        if index in self.fresh:
            self.fresh.discard(index)
            self.done += 1
            self.failed = self.failed or (self.failures[index] and not group["collect"])
        return GroupProgress(size=int(group["size"]), done=self.done, failed=self.failed)


def _progress(update: _GroupUpdate | None, index: int) -> GroupProgress | None:
    return None if update is None or update.gone else update.answer(index)


def _insert_payloads(collections: Collections, updates: Sequence[_GroupUpdate]) -> None:
    documents: list[Document] = [
        {
            "_id": member_ids.member_id(update.group_id, update.opening, index),
            "payload": completion.payload,
            "failed": completion.failed,
        }
        for update in updates
        for index, completion in update.new.items()
    ]
    failures = {document["_id"]: document["failed"] for document in documents}
    result = write(collections.members, [InsertOne(document) for document in documents])
    if result.duplicates:
        others = [documents[position]["_id"] for position in result.duplicates]
        # A majority may not have them yet; it will before it has the bits that are set after this.
        for found in find(latest(collections.members), others, {"failed": 1}):
            failures[found["_id"]] = bool(found["failed"])
    for update in updates:
        update.failures = {
            index: failures[member_ids.member_id(update.group_id, update.opening, index)] for index in update.new
        }


def _set_bits(collections: Collections, updates: Sequence[_GroupUpdate], now: float) -> None:
    if len(updates) > 1 and _set_together(collections, updates, now):
        return
    # Also for groups whose bits were set together with others': setting them again only reads their progress.
    for update in updates:
        for part in bitmap.parts(update.new):
            _set_some(collections, update, part, now)


def _set_some(collections: Collections, update: _GroupUpdate, indexes: Sequence[int], now: float) -> None:
    before = collections.records.find_one_and_update(update.conditions(now), update.operation(indexes), _PROGRESS)
    update.applied(before, indexes)
    if before is None:  # a forgotten group must leave nothing
        members = member_ids.between(update.group_id, update.opening)
        collections.members.delete_many({"_id": members})


def _set_together(collections: Collections, updates: Sequence[_GroupUpdate], now: float) -> bool:
    """Set the bits of several groups in one request; False if others changed one of them meanwhile."""
    if any(len(bitmap.parts(update.new)) > 1 for update in updates):
        return False
    result = write(
        collections.records,
        [
            UpdateOne(
                {**update.conditions(now), "group.version": update.version},
                update.operation(update.new),
            )
            for update in updates
        ],
    )
    if result.matched < len(updates):
        return False
    for update in updates:
        update.applied(update.document, update.new)
    return True


def read_groups(collections: Collections, group_ids: Sequence[str], now: float) -> list[GroupRecord | None]:
    """The records of these groups, in order; None for an unknown one."""
    fields = {**_PROGRESS, "continuation": 1}
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
    """The payloads of all members, in order; None for one that is not complete, or whose payload was deleted by hand.

    Empty for an unknown group. A payload is stored before its bit. If it is missing, a failover may have come in
    between, and a later read finds it. A payload that is called lost stays lost, so this reads again for some seconds.
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
    """The document of a group, None if it is unknown; and all its payloads, by index."""
    document = find_records(collections, [group_id], _PROGRESS).get(group_id)
    if document is None or "group" not in document or not is_live(document, now):
        return None, {}
    of_group = {"_id": member_ids.between(group_id, document["group"]["opening"])}
    members = collections.members.find(of_group, batch_size=_PAYLOADS)
    return document, {member_ids.index_of(member["_id"]): member["payload"] for member in members}
