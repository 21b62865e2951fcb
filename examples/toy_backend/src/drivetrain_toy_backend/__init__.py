"""``files://some/directory``: a backend that keeps each thing as a file, behind one lock.

Whoever holds the lock of the directory may look and then write: that is all that makes a transition atomic. A file is
written beside its place and renamed, so a killed process leaves a whole file or none. How a group stands is not stored
but counted: the names of its members' files tell.
"""

from __future__ import annotations

import fcntl
import hashlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from drivetrain.contract import (
    BackendCapabilities,
    Clock,
    Completion,
    ConfigurationError,
    DriverContext,
    DriverUrl,
    Durability,
    Group,
    GroupProgress,
    GroupRecord,
    Member,
    NotSupported,
    Outcome,
    Renewal,
    RunLease,
    ServiceRefused,
    ServiceUnavailable,
    State,
    TaskPage,
    TaskRecord,
    Transition,
    apply,
    evolve,
    hookimpl,
    namespace_option,
    read_options,
    service_name,
)

T = TypeVar("T")

KINDS = ("tasks", "groups", "members", "bodies", "locks")


class LockFile(Struct, frozen=True):
    """What is known of a lock. It stays when nobody holds it, so that tokens grow."""

    token: int
    ends: float


@contextmanager
def told_apart() -> Iterator[None]:
    """What the file system refuses, or cannot be written, is said in drivetrain's words."""
    try:
        yield
    except (ValueError, OverflowError) as error:  # half of a pair of surrogates, or 2**70
        raise ServiceRefused(f"this cannot be written: {type(error).__name__}") from error
    except OSError as error:
        raise ServiceUnavailable(f"the directory cannot be used: {error.strerror}") from error


class ToyBackend:
    capabilities = BackendCapabilities(
        durability=Durability.PROCESS,  # written, but not flushed to the disk
        lists_tasks=True,
    )

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._threads = threading.Lock()

    @contextmanager
    def _alone(self) -> Iterator[float]:
        """The only one who looks and writes, among threads and processes; gives the time."""
        with told_apart(), self._threads:
            for kind in KINDS:
                (self._directory / kind).mkdir(parents=True, exist_ok=True)
            with (self._directory / "lock").open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # let go by the end of its process too
                try:
                    yield self._clock.now()
                finally:
                    fcntl.flock(file, fcntl.LOCK_UN)  # not by closing the file: a forked child may have it open too

    # Files

    def _path(self, kind: str, name: str) -> Path:
        return self._directory / kind / hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()

    def _load(self, kind: str, name: str, type_: type[T]) -> T | None:
        return _read(self._path(kind, name), type_)

    def _store(self, kind: str, name: str, value: object) -> None:
        _write(self._path(kind, name), msgspec.msgpack.encode(value))

    def _task(self, task_id: str, now: float) -> TaskRecord | None:
        record = self._load("tasks", task_id, TaskRecord)
        if record is not None and record.expires_at is not None and record.expires_at <= now:
            self._drop(task_id)
            return None
        return record

    def _group(self, group_id: str, now: float) -> Group | None:
        self._task(group_id, now)  # a group goes with the record of its id
        return self._load("groups", group_id, Group)

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
        with self._alone():
            pass

    def record(self, transitions: Sequence[Transition]) -> Sequence[Outcome]:
        with self._alone() as now:
            return [self._record(wish, now) for wish in transitions]

    def _record(self, wish: Transition, now: float) -> Outcome:
        before = self._task(wish.task_id, now)
        after = apply(before, wish, now)
        if after is None:
            return Outcome(applied=False, before=before)
        group = None
        if wish.member is not None and wish.state.terminal:
            # First: after a crash in between it is done again, for the record does not say yet that it has ended.
            group = self._complete(wish.member, wish.payload or b"", wish.state is not State.SUCCESS, now)
        self._store("tasks", wish.task_id, after)
        return Outcome(applied=True, before=before, group=group)

    def read(self, task_ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        with self._alone() as now:
            return [self._task(task_id, now) for task_id in task_ids]

    def wait(self, task_ids: Sequence[str], *, timeout_seconds: float) -> Mapping[str, TaskRecord | None]:
        del task_ids, timeout_seconds
        raise NotSupported("files:// tells nobody that a task has ended; core polls")

    def renew(self, leases: Sequence[RunLease]) -> Sequence[Renewal]:
        with self._alone() as now:
            return [self._renew(lease, now) for lease in leases]

    def _renew(self, lease: RunLease, now: float) -> Renewal:
        record = self._task(lease.task_id, now)
        if record is None:
            return Renewal(held=False, state=None)
        held = record.state is State.STARTED and record.run == lease.run
        if held:
            self._store("tasks", lease.task_id, evolve(record, leased_until=now + lease.seconds))
        return Renewal(held=held, state=record.state)

    def shorten_retention(self, task_ids: Sequence[str], *, retention_seconds: float) -> None:
        with self._alone() as now:
            for task_id in task_ids:
                record, end = self._task(task_id, now), now + retention_seconds
                if record is not None and record.state.terminal and end < (record.expires_at or float("inf")):
                    self._store("tasks", task_id, evolve(record, expires_at=end))

    def forget(self, task_ids: Sequence[str]) -> None:
        with self._alone():
            for task_id in task_ids:
                self._drop(task_id)

    def unfinished(self, *, limit: int, cursor: str | None = None) -> TaskPage:
        with self._alone():
            behind = [path for path in self._task_files() if cursor is None or path.name > cursor]
            page = behind[:limit]  # of files: few of these tasks may be unfinished, or none
            records = [record for record in _read_all(page, TaskRecord) if not record.state.terminal]
            return TaskPage(records=records, cursor=page[-1].name if len(behind) > len(page) else None)

    def _records(self) -> list[TaskRecord]:
        return _read_all(self._task_files(), TaskRecord)

    def _task_files(self) -> list[Path]:
        return sorted((self._directory / "tasks").glob("*"))

    # Groups

    def open_groups(self, groups: Sequence[Group]) -> None:
        with self._alone() as now:
            for group in groups:
                if self._group(group.group_id, now) is None:
                    self._path("members", group.group_id).mkdir(exist_ok=True)
                    self._store("groups", group.group_id, group)

    def complete(self, completions: Sequence[Completion]) -> Sequence[GroupProgress | None]:
        with self._alone() as now:
            return [self._complete(done.member, done.payload, done.failed, now) for done in completions]

    def _complete(self, member: Member, payload: bytes, failed: bool, now: float) -> GroupProgress | None:
        group = self._group(member.group_id, now)
        if group is None:
            return None
        members = self._path("members", member.group_id)
        names = [members / f"{member.index}{end}" for end in ("", ".failed")]
        if 0 <= member.index < group.size and not any(name.exists() for name in names):
            _write(names[failed], payload)
        return self._progress(group)

    def _progress(self, group: Group) -> GroupProgress:
        names = _names(self._path("members", group.group_id))
        failed = not group.collect and any(name.endswith(".failed") for name in names)
        return GroupProgress(size=group.size, done=len(names), failed=failed)

    def read_groups(self, group_ids: Sequence[str]) -> Sequence[GroupRecord | None]:
        with self._alone() as now:
            return [self._shown(self._group(group_id, now)) for group_id in group_ids]

    def _shown(self, group: Group | None) -> GroupRecord | None:
        if group is None:
            return None
        progress = self._progress(group)
        return GroupRecord(
            group_id=group.group_id,
            size=group.size,
            collect=group.collect,
            continuation=group.continuation,
            done=progress.done,
            failed=progress.failed,
        )

    def read_members(self, group_id: str) -> Sequence[bytes | None]:
        with self._alone() as now:
            group = self._group(group_id, now)
            there = self._path("members", group_id)
            found = {int(path.name.partition(".")[0]): path.read_bytes() for path in there.glob("*")} if group else {}
            return [found.get(index) for index in range(group.size)] if group else []

    # Bodies

    def store_bodies(self, bodies: Mapping[str, bytes]) -> None:
        with self._alone():
            for key, body in bodies.items():
                _write(self._path("bodies", key), body)

    def load_bodies(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        with self._alone():
            paths = [self._path("bodies", key) for key in keys]
            return [path.read_bytes() if path.exists() else None for path in paths]

    def drop_bodies(self, keys: Sequence[str]) -> None:
        with self._alone():
            for key in keys:
                self._path("bodies", key).unlink(missing_ok=True)

    # Locks

    def acquire_lock(self, name: str, *, seconds: float) -> int | None:
        with self._alone() as now:
            lock = self._load("locks", name, LockFile) or LockFile(0, 0.0)
            if lock.ends > now:
                return None
            self._store("locks", name, LockFile(lock.token + 1, now + seconds))
            return lock.token + 1

    def renew_lock(self, name: str, token: int, *, seconds: float) -> bool:
        return self._change_lock(name, token, seconds)

    def release_lock(self, name: str, token: int) -> bool:
        return self._change_lock(name, token, None)

    def _change_lock(self, name: str, token: int, seconds: float | None) -> bool:
        with self._alone() as now:
            lock = self._load("locks", name, LockFile)
            held = lock is not None and lock.token == token and lock.ends > now
            if held:
                self._store("locks", name, LockFile(token, 0.0 if seconds is None else now + seconds))
            return held

    # Upkeep

    def sweep(self) -> int:
        with self._alone() as now:
            over = [one for one in self._records() if one.expires_at is not None and one.expires_at <= now]
            for record in over:
                self._drop(record.task_id)
            return len(over)

    def counts(self) -> Mapping[str, int]:
        self.sweep()
        with self._alone() as now:
            kept = {kind: len(_names(self._directory / kind)) for kind in KINDS}
            locks = _read_all((self._directory / "locks").glob("*"), LockFile)
            members = sum(len(_names(path)) for path in (self._directory / "members").glob("*"))
            return {**kept, "members": members, "locks": sum(lock.ends > now for lock in locks)}

    def close(self) -> None:
        """There is nothing to let go of: each call opens and closes what it needs."""


def _names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def _read(path: Path, type_: type[T]) -> T | None:
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=type_)
    except FileNotFoundError:
        return None


def _read_all(paths: Iterable[Path], type_: type[T]) -> list[T]:
    found = [_read(path, type_) for path in paths]
    return [one for one in found if one is not None]


def _write(path: Path, data: bytes) -> None:
    """All or nothing, also where the process is killed."""
    beside = path.parent.parent / "new"
    beside.write_bytes(data)
    beside.replace(path)


@hookimpl
def make_backend(url: str, context: DriverContext) -> ToyBackend:
    parts = DriverUrl.parse(url)
    options, faults = read_options(parts.options, {"namespace": namespace_option})
    if not (parts.netloc + parts.path).strip("/"):
        faults.append("it names no directory; write files://some/directory or files:///some/directory")
    if faults:
        raise ConfigurationError(f"{parts.shown} is no URL of the toy backend", faults)
    namespace = options.get("namespace", context.namespace)
    directory = context.directory / (parts.netloc + parts.path) / service_name(namespace, also="-")
    return ToyBackend(directory, context.clock)
