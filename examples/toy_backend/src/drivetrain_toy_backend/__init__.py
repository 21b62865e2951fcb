"""``files://some/directory``: a backend that stores each record as a file, behind one lock.

A call reads and writes while it holds the lock of the directory: that makes a transition atomic. It writes a file under
another name and renames it, so that a killed process leaves a complete file or none. The progress of a group is not
stored: the files of its members are counted.
"""

from __future__ import annotations

import fcntl
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from attrs import frozen

from drivetrain.contract import (
    BackendCapabilities,
    Clock,
    Completion,
    DriverContext,
    DriverUrl,
    Durability,
    Group,
    GroupProgress,
    GroupRecord,
    GroupTally,
    NotSupported,
    Outcome,
    Renewal,
    RunLease,
    ServiceUnavailable,
    State,
    TaskPage,
    TaskReach,
    TaskRecord,
    Transition,
    ValueOutcome,
    ValuePage,
    ValueWrite,
    VersionedValue,
    check_driver_options,
    decode_record,
    encode_record,
    fold_transitions,
    group_record,
    hookimpl,
    is_expired,
    name_digest,
    namespace_option,
    raise_for_faults,
    read_options,
    record_and_complete,
    renew_record,
    service_name,
    shorten_record,
    takes_effect,
    utf8,
)

KINDS = ("tasks", "groups", "members", "bodies", "values")


@frozen
class Value:
    """A versioned value as its file has it: a line of JSON, and the bytes."""

    key: str
    version: int
    ends: float | None
    value: bytes

    @classmethod
    def read(cls, path: Path, now: float) -> Value | None:
        """The value of a file; None if there is none, or its end has come."""
        data = _read(path)
        if data is None:
            return None
        head, _, value = data.partition(b"\n")
        key, version, ends = json.loads(head)
        found = cls(bytes.fromhex(key).decode("utf-8", "surrogatepass"), version, ends, value)
        return None if found.ends is not None and found.ends <= now else found

    def write(self, path: Path) -> None:
        # The key is its bytes: JSON would join two halves of a surrogate pair to another text.
        _write(path, json.dumps([utf8(self.key).hex(), self.version, self.ends]).encode() + b"\n" + self.value)

    def seen_at(self, now: float) -> VersionedValue:
        left = None if self.ends is None else self.ends - now
        return VersionedValue(value=self.value, version=self.version, expires_in_seconds=left)


@contextmanager
def service_errors() -> Iterator[None]:
    """Raise errors of the file system as errors of the contract."""
    try:
        yield
    except OSError as error:
        raise ServiceUnavailable(f"the directory cannot be used: {error.strerror}") from error


class ToyBackend:
    capabilities = BackendCapabilities(
        durability=Durability.PROCESS,  # written, but not flushed to the disk
        lists_tasks=TaskReach.ALL,
    )

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._threads = threading.Lock()

    @contextmanager
    def _locked(self) -> Iterator[float]:
        """Keep other threads and processes out; gives the time."""
        with service_errors(), self._threads:
            for kind in (*KINDS, "versions"):
                (self._directory / kind).mkdir(parents=True, exist_ok=True)
            with (self._directory / "lock").open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # the end of the process releases it too
                try:
                    yield self._clock.now()
                finally:
                    fcntl.flock(file, fcntl.LOCK_UN)  # to close the file is not enough: a forked child has it open too

    # Files

    def _path(self, kind: str, name: str) -> Path:
        return self._directory / kind / name_digest(name)

    def _paths(self, kind: str) -> list[Path]:
        return sorted((self._directory / kind).iterdir())

    def _task(self, task_id: str, now: float) -> TaskRecord | None:
        data = _read(self._path("tasks", task_id))
        record = None if data is None else decode_record(data)
        if record is not None and is_expired(record, now):
            self._drop(task_id)
            return None
        return record

    def _store(self, record: TaskRecord | None) -> None:
        if record is not None:
            _write(self._path("tasks", record.task_id), encode_record(record))

    def _group(self, group_id: str, now: float) -> Group | None:
        self._task(group_id, now)  # the group of an expired record is dropped
        data = _read(self._path("groups", group_id))
        if data is None:
            return None
        head, _, continuation = data.partition(b"\n")
        size, collect = json.loads(head)
        return Group(group_id=group_id, size=size, collect=collect, continuation=continuation)

    def _drop(self, name: str) -> None:
        for path in (self._path("tasks", name), self._path("groups", name)):
            path.unlink(missing_ok=True)
        members = self._path("members", name)
        for path in members.glob("*"):
            path.unlink(missing_ok=True)
        if members.exists():
            members.rmdir()

    # Tasks

    def ping(self) -> None:
        with self._locked():
            pass

    def record(self, transitions: Sequence[Transition]) -> Sequence[Outcome]:
        with self._locked() as now:

            def record_part(part: Sequence[Transition]) -> Sequence[Outcome]:
                known = {each.task_id: record for each in part if (record := self._task(each.task_id, now))}
                folded = fold_transitions(part, known, now)
                for task_id in folded.expired:
                    self._drop(task_id)
                for record in folded.changed.values():
                    self._store(record)
                return folded.outcomes

            def complete(completions: Sequence[Completion]) -> Sequence[GroupProgress | None]:
                return [self._complete(each, now) for each in completions]

            return record_and_complete(transitions, record_part, complete)

    def read(self, task_ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        with self._locked() as now:
            return [self._task(task_id, now) for task_id in task_ids]

    def wait(self, task_ids: Sequence[str], *, timeout_seconds: float) -> Mapping[str, TaskRecord | None]:
        del task_ids, timeout_seconds
        raise NotSupported("files:// does not report that a task has ended; poll with read")

    def renew(self, leases: Sequence[RunLease]) -> Sequence[Renewal]:
        with self._locked() as now:
            return [self._renew(lease, now) for lease in leases]

    def _renew(self, lease: RunLease, now: float) -> Renewal:
        renewal, renewed = renew_record(self._task(lease.task_id, now), lease, now)
        self._store(renewed)
        return renewal

    def shorten_retention(self, task_ids: Sequence[str], *, retention_seconds: float) -> None:
        with self._locked() as now:
            for task_id in task_ids:
                self._store(shorten_record(self._task(task_id, now), now + retention_seconds))

    def forget(self, task_ids: Sequence[str]) -> None:
        with self._locked():
            for task_id in task_ids:
                self._drop(task_id)

    def list_tasks(self, states: AbstractSet[State], *, limit: int, cursor: str | None = None) -> TaskPage:
        with self._locked() as now:
            rest = [path for path in self._paths("tasks") if cursor is None or path.name > cursor]
            page = rest[:limit]  # a page of files: few of these tasks may be in one of the states, or none
            found = [decode_record(path.read_bytes()) for path in page]
            records = [record for record in found if record.state in states and not is_expired(record, now)]
            return TaskPage(records=records, cursor=page[-1].name if len(rest) > len(page) else None)

    # Groups

    def open_groups(self, groups: Sequence[Group]) -> None:
        with self._locked() as now:
            for group in groups:
                if self._group(group.group_id, now) is None:
                    self._path("members", group.group_id).mkdir(exist_ok=True)
                    head = json.dumps([group.size, group.collect]).encode()
                    _write(self._path("groups", group.group_id), head + b"\n" + group.continuation)

    def complete(self, completions: Sequence[Completion]) -> Sequence[GroupProgress | None]:
        with self._locked() as now:
            return [self._complete(completion, now) for completion in completions]

    def _complete(self, completion: Completion, now: float) -> GroupProgress | None:
        member = completion.member
        group = self._group(member.group_id, now)
        if group is None:
            return None
        tally = self._tally(group)
        paths = [self._path("members", member.group_id) / f"{member.index}{end}" for end in ("", ".failed")]
        if tally.has(member.index) and not any(path.exists() for path in paths):
            _write(paths[completion.failed], completion.payload)
            tally.add(failed=completion.failed)
        return tally.progress()

    def _tally(self, group: Group) -> GroupTally:
        tally = GroupTally(size=group.size, collect=group.collect)
        for name in _names(self._path("members", group.group_id)):
            tally.add(failed=name.endswith(".failed"))
        return tally

    def read_groups(self, group_ids: Sequence[str]) -> Sequence[GroupRecord | None]:
        with self._locked() as now:
            found = [self._group(group_id, now) for group_id in group_ids]
            return [None if group is None else group_record(group, self._tally(group).progress()) for group in found]

    def read_members(self, group_id: str) -> Sequence[bytes | None]:
        with self._locked() as now:
            group = self._group(group_id, now)
            if group is None:
                return []
            paths = self._path("members", group_id).iterdir()
            payloads = {int(path.name.partition(".")[0]): path.read_bytes() for path in paths}
            return [payloads.get(index) for index in range(group.size)]

    # Bodies

    def store_bodies(self, bodies: Mapping[str, bytes]) -> None:
        with self._locked():
            for key, body in bodies.items():
                _write(self._path("bodies", key), body)

    def load_bodies(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        with self._locked():
            return [_read(self._path("bodies", key)) for key in keys]

    def drop_bodies(self, keys: Sequence[str]) -> None:
        with self._locked():
            for key in keys:
                self._path("bodies", key).unlink(missing_ok=True)

    # Versioned values

    def read_values(self, keys: Sequence[str]) -> Sequence[VersionedValue | None]:
        with self._locked() as now:
            return [self._value(key, now) for key in keys]

    def _value(self, key: str, now: float) -> VersionedValue | None:
        found = Value.read(self._path("values", key), now)
        return None if found is None else found.seen_at(now)

    def write_values(self, writes: Sequence[ValueWrite]) -> Sequence[ValueOutcome]:
        with self._locked() as now:
            return [self._write_value(write, version, now) for write, version in self._with_versions(writes)]

    def _with_versions(self, writes: Sequence[ValueWrite]) -> Iterator[tuple[ValueWrite, int]]:
        """Give each write a version that no value ever had. The file of the last version stays for ever."""
        path = self._directory / "versions" / "last"
        last = int(_read(path) or b"0")
        if writes:
            _write(path, b"%d" % (last + len(writes)))
        return zip(writes, count(last + 1))

    def _write_value(self, write: ValueWrite, version: int, now: float) -> ValueOutcome:
        path, stored = self._path("values", write.key), self._value(write.key, now)
        if not takes_effect(write, stored):
            return ValueOutcome(written=False, current=stored)
        if write.value is None:
            path.unlink(missing_ok=True)
            return ValueOutcome(written=True, current=None)
        ends = None if write.expires_in_seconds is None else now + write.expires_in_seconds
        new = Value(write.key, version, ends, write.value)
        new.write(path)
        return ValueOutcome(written=True, current=new.seen_at(now))

    def list_values(self, prefix: str, *, limit: int, cursor: str | None = None) -> ValuePage:
        with self._locked() as now:
            rest = [path for path in self._paths("values") if cursor is None or path.name > cursor]
            page = rest[:limit]  # a page of files: few of these keys may have the prefix, or none
            found = [value for path in page if (value := Value.read(path, now)) and value.key.startswith(prefix)]
            values = [(value.key, value.seen_at(now)) for value in found]
            return ValuePage(values=values, cursor=page[-1].name if len(rest) > len(page) else None)

    def wait_values(
        self, seen: Mapping[str, int], *, prefix: str | None = None, timeout_seconds: float
    ) -> Sequence[str]:
        del seen, prefix, timeout_seconds
        raise NotSupported("files:// does not report that a value has changed; poll with read_values")

    # Upkeep

    def sweep(self) -> int:
        with self._locked() as now:
            for path in self._paths("values"):
                if Value.read(path, now) is None:
                    path.unlink()
            records = [decode_record(path.read_bytes()) for path in self._paths("tasks")]
            expired = [record for record in records if is_expired(record, now)]
            for record in expired:
                self._drop(record.task_id)
            return len(expired)

    def counts(self) -> Mapping[str, int]:
        self.sweep()
        with self._locked():
            files = {kind: _names(self._directory / kind) for kind in KINDS}
            members = sum(len(_names(self._directory / "members" / name)) for name in files["members"])
            return {**{kind: len(names) for kind, names in files.items()}, "members": members}

    def close(self) -> None:
        """Nothing is open between two calls."""


def _names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _write(path: Path, data: bytes) -> None:
    """Write a complete file, or nothing if the process is killed."""
    new = path.parent.parent / "new"
    new.write_bytes(data)
    new.replace(path)


@hookimpl
def make_backend(url: str, context: DriverContext) -> ToyBackend:
    check_driver_options("files", context.options)
    parts = DriverUrl.parse(url)
    options, faults = read_options(parts.options, {"namespace": namespace_option})
    if not (parts.netloc + parts.path).strip("/"):
        faults.append("it names no directory; write files://some/directory or files:///some/directory")
    raise_for_faults("files", parts, faults)
    namespace = options.get("namespace", context.namespace)
    directory = context.directory / (parts.netloc + parts.path) / service_name(namespace, also="-")
    return ToyBackend(directory, context.clock)
