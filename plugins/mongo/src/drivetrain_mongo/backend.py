"""The backend of ``mongodb://``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pymongo import ASCENDING, UpdateOne

from drivetrain.contract import (
    BackendCapabilities,
    Clock,
    Completion,
    Durability,
    Group,
    GroupProgress,
    GroupRecord,
    Outcome,
    Renewal,
    RunLease,
    State,
    TaskPage,
    TaskRecord,
    TooLarge,
    Transition,
    evolve,
)
from drivetrain_mongo import bitmap, bodies, dropping, groups, locks, recording
from drivetrain_mongo.connection import Connection
from drivetrain_mongo.documents import (
    RECORD_FIELDS,
    TERMINAL,
    UNFINISHED,
    delete_at,
    is_live,
    micros,
    record_of,
)
from drivetrain_mongo.errors import LARGEST_VALUE_BYTES
from drivetrain_mongo.options import Options
from drivetrain_mongo.reading import chunks, find, find_records
from drivetrain_mongo.watcher import Watcher
from drivetrain_mongo.writing import write

__all__ = ["MongoBackend"]

#: How often one `MongoBackend.sweep` drops a thousand records, at most.
_SWEEPS = 10


class MongoBackend:
    """A backend in MongoDB; see `drivetrain.contract.Backend`.

    Leases, locks and expiry are counted by the server's clock.

    Args:
        options: of its URL.
        clock: by which threads wait.
    """

    capabilities: BackendCapabilities = BackendCapabilities(
        durability=Durability.POWER,
        notifies=True,
        largest_value_bytes=LARGEST_VALUE_BYTES,
        expiry_resolution_seconds=0.1,
        lists_tasks=True,
    )

    def __init__(self, options: Options, clock: Clock) -> None:
        self._connection = Connection(options, clock)
        self._watcher = Watcher(self._connection, clock, options.waiting)
        self._orphans = dropping.Orphans()

    def ping(self) -> None:
        """See `Backend.ping`."""
        with self._connection.use() as collections:
            collections.records.find_one({"_id": ""}, {"_id": 1})

    # Tasks

    def record(self, transitions: Sequence[Transition]) -> Sequence[Outcome]:
        """See `Backend.record`."""
        for wish in transitions:
            _check("a payload", wish.payload)
            _check("a downstream", wish.downstream)
        return [outcome for part in _parts(transitions) for outcome in self._record(part)]

    def _record(self, wishes: Sequence[Transition]) -> list[Outcome]:
        outcomes = recording.record(self._connection, wishes)
        ended = {
            place: Completion(member=wish.member, payload=wish.payload or b"", failed=wish.state is not State.SUCCESS)
            for place, (wish, outcome) in enumerate(zip(wishes, outcomes, strict=True))
            if outcome.applied and wish.member is not None and wish.state.terminal
        }
        for place, progress in zip(ended, self.complete(list(ended.values())), strict=True):
            outcomes[place] = evolve(outcomes[place], group=progress)
        self._watcher.hint(wish.task_id for wish in wishes if wish.state.terminal)
        return outcomes

    def read(self, task_ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        """See `Backend.read`."""
        if not task_ids:
            return []
        now = self._connection.now()
        with self._connection.use() as collections:
            documents = find_records(collections, task_ids, RECORD_FIELDS)
        live = {task_id: record_of(document) for task_id, document in documents.items() if is_live(document, now)}
        return [live.get(task_id) for task_id in task_ids]

    def wait(self, task_ids: Sequence[str], *, timeout_seconds: float) -> Mapping[str, TaskRecord | None]:
        """See `Backend.wait`. No record is at hand."""
        return dict.fromkeys(self._watcher.wait(task_ids, timeout_seconds) if task_ids else ())

    def renew(self, leases: Sequence[RunLease]) -> Sequence[Renewal]:
        """See `Backend.renew`."""
        if not leases:
            return []
        now = self._connection.now()
        with self._connection.use() as collections:
            write(collections.records, [_renewing(lease, now) for lease in leases])
            fields = {"state": 1, "run": 1, "expires": 1}
            found = {
                document["_id"]: document
                for document in find(collections.records, [lease.task_id for lease in leases], fields)
                if is_live(document, now)
            }
        return [_renewal(lease, found.get(lease.task_id, {})) for lease in leases]

    def shorten_retention(self, task_ids: Sequence[str], *, retention_seconds: float) -> None:
        """See `Backend.shorten_retention`."""
        if not task_ids:
            return
        now = self._connection.now()
        expires = micros(now + retention_seconds)
        fields = {"expires": expires, **({} if (date := delete_at(expires)) is None else {"delete_at": date})}
        with self._connection.use() as collections:
            for chunk in chunks(task_ids):
                longer = {"state": {"$in": TERMINAL}, "expires": {"$gt": max(expires, micros(now))}}
                collections.records.update_many({"_id": {"$in": chunk}, **longer}, {"$set": fields})

    def forget(self, task_ids: Sequence[str]) -> None:
        """See `Backend.forget`."""
        if task_ids:
            now = self._connection.now()
            with self._connection.use() as collections:
                dropping.forget(collections, task_ids, now)
            self._watcher.hint(task_ids)

    def unfinished(self, *, limit: int, cursor: str | None = None) -> TaskPage:
        """See `Backend.unfinished`; in the order of their ids, the last of which is the cursor."""
        wanted = {"expires": UNFINISHED, **({} if cursor is None else {"_id": {"$gt": cursor}})}
        with self._connection.use() as collections:
            found = list(collections.records.find(wanted, RECORD_FIELDS).sort("_id", ASCENDING).limit(limit))
        return TaskPage(
            records=[record for document in found if (record := record_of(document)) is not None],
            cursor=found[-1]["_id"] if len(found) == limit else None,
        )

    # Groups

    def open_groups(self, groups_: Sequence[Group]) -> None:
        """See `Backend.open_groups`."""
        for group in groups_:
            _check("a continuation", group.continuation)
        if groups_:
            now = self._connection.now()
            with self._connection.write() as collections:
                groups.open_groups(collections, groups_, now)

    def complete(self, completions: Sequence[Completion]) -> Sequence[GroupProgress | None]:
        """See `Backend.complete`."""
        for completion in completions:
            _check("a payload", completion.payload)
        if not completions:
            return []
        now = self._connection.now()
        with self._connection.use() as collections:
            return groups.complete(collections, completions, now)

    def read_groups(self, group_ids: Sequence[str]) -> Sequence[GroupRecord | None]:
        """See `Backend.read_groups`."""
        if not group_ids:
            return []
        now = self._connection.now()
        with self._connection.use() as collections:
            return groups.read_groups(collections, group_ids, now)

    def read_members(self, group_id: str) -> Sequence[bytes | None]:
        """See `Backend.read_members`. Empty where the group is not known."""
        now = self._connection.now()
        with self._connection.use() as collections:
            return groups.read_members(collections, group_id, now)

    # Bodies

    def store_bodies(self, bodies_: Mapping[str, bytes]) -> None:
        """See `Backend.store_bodies`."""
        for body in bodies_.values():
            _check("a body", body)
        if bodies_:
            with self._connection.use() as collections:
                bodies.store(collections, bodies_)

    def load_bodies(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """See `Backend.load_bodies`."""
        with self._connection.use() as collections:
            return bodies.load(collections, keys)

    def drop_bodies(self, keys: Sequence[str]) -> None:
        """See `Backend.drop_bodies`."""
        with self._connection.use() as collections:
            bodies.drop(collections, keys)

    # Locks

    def acquire_lock(self, name: str, *, seconds: float) -> int | None:
        """See `Backend.acquire_lock`."""
        now = self._connection.now()
        with self._connection.use() as collections:
            return locks.acquire(collections, name, seconds, now)

    def renew_lock(self, name: str, token: int, *, seconds: float) -> bool:
        """See `Backend.renew_lock`."""
        now = self._connection.now()
        with self._connection.use() as collections:
            return locks.renew(collections, name, token, seconds, now)

    def release_lock(self, name: str, token: int) -> bool:
        """See `Backend.release_lock`."""
        now = self._connection.now()
        with self._connection.use() as collections:
            return locks.release(collections, name, token, now)

    # Upkeep

    def sweep(self) -> int:
        """See `Backend.sweep`."""
        now, dropped = self._connection.now(), 0
        with self._connection.use() as collections:
            locks.sweep(collections, now)
            for _ in range(_SWEEPS):
                some = dropping.drop_expired(collections, now)
                dropped += some
                if some < dropping.CHUNK:
                    break
            self._orphans.drop(collections)
        return dropped

    def counts(self) -> Mapping[str, int]:
        """See `Backend.counts`."""
        now = self._connection.now()
        live = {"expires": {"$gt": micros(now)}}
        with self._connection.use() as collections:
            opened = list(collections.records.find({**live, "group": {"$exists": True}}, {"done": 1}))
            return {
                "tasks": collections.records.count_documents({**live, "state": {"$exists": True}}),
                "groups": len(opened),
                "members": sum(bitmap.count(document["done"]) for document in opened),
                "bodies": collections.bodies.count_documents({}),
                "locks": locks.held(collections, now),
            }

    def close(self) -> None:
        """See `Backend.close`. The object may be used again afterwards."""
        self._watcher.close()
        self._connection.close()


def _parts(transitions: Sequence[Transition]) -> Iterator[list[Transition]]:
    """The batch in parts whose records may all be written before their members are completed.

    What becomes of a record may take the group of the same id with it; so what completes a member of a group comes
    before what is recorded of the group's own task after it.
    """
    part: list[Transition] = []
    completed: set[str] = set()
    for wish in transitions:
        if wish.task_id in completed:
            yield part
            part, completed = [], set()
        part.append(wish)
        if wish.member is not None and wish.state.terminal:
            completed.add(wish.member.group_id)
    if part:
        yield part


def _check(what: str, value: bytes | None) -> None:
    if value is not None and len(value) > LARGEST_VALUE_BYTES:
        raise TooLarge(what, len(value), LARGEST_VALUE_BYTES)


def _renewing(lease: RunLease, now: float) -> UpdateOne:
    held = {"_id": lease.task_id, "state": State.STARTED.value, "run": lease.run, "expires": UNFINISHED}
    return UpdateOne(held, {"$set": {"leased_until": micros(now + lease.seconds)}})


def _renewal(lease: RunLease, document: Mapping[str, object]) -> Renewal:
    state = None if "state" not in document else State(str(document["state"]))
    return Renewal(held=state is State.STARTED and document["run"] == lease.run, state=state)
