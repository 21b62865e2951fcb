"""Waiting for tasks or values: for each of them one thread reads a change stream, or polls, for all callers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from attrs import define, frozen
from pymongo.collection import Collection

from drivetrain.contract import Clock, ServiceError, ServiceRefused
from drivetrain_mongo.bulk import find_records
from drivetrain_mongo.codec import UNFINISHED
from drivetrain_mongo.connection import Collections, Connection, Document
from drivetrain_mongo.options import Waiting

__all__ = ["TaskWatch", "Wanted", "Watched", "Watcher", "ended_tasks"]

T = TypeVar("T")

logger = logging.getLogger("drivetrain.mongo")

#: How long one request for changes may wait at the server, in milliseconds. The thread ends that much later at most.
_AWAIT_MILLISECONDS = 500
#: The first pause between two polls, in seconds, and the factor by which pauses grow.
_FIRST_PAUSE_SECONDS = 0.004
_SLOWING = 1.3
#: How often a waiting caller reads without a hint, in seconds. In the instant of a failover a change may be announced
#: before a read shows it, and is not announced again.
_REREAD_SECONDS = 10.0
#: How long `join` waits for the thread, in seconds.
_JOIN_SECONDS = 5.0
#: How long the thread outlives the last waiting caller, in seconds: one wait often follows another.
_LINGER_SECONDS = 2.0

#: The changes by which a task may have ended or been forgotten, with the id only. `expires` changes when a task ends,
#: when its retention is shortened and when it is forgotten, and at no other time.
_CHANGES: Sequence[Mapping[str, Any]] = (
    {
        "$match": {
            "$or": [
                {"operationType": {"$in": ["delete", "replace", "drop", "rename", "invalidate"]}},
                {"operationType": "insert", "fullDocument.expires": {"$lt": UNFINISHED}},
                {"operationType": "update", "updateDescription.updatedFields.expires": {"$exists": True}},
            ]
        }
    },
    {"$project": {"operationType": 1, "documentKey": 1}},
)


@frozen
class Wanted:
    """What a caller waits for: documents with these ids, and all whose id starts with the prefix."""

    ids: frozenset[str]
    #: None: the ids alone.
    prefix: str | None = None

    def includes(self, ids: frozenset[str]) -> bool:
        """Whether a caller waits for any of these documents."""
        if not ids.isdisjoint(self.ids):
            return True
        return self.prefix is not None and any(each.startswith(self.prefix) for each in ids)


class Watched(Protocol):
    """What callers wait for. Used in the thread of a `Watcher`."""

    #: The longest pause between two polls, in seconds.
    longest_pause_seconds: float

    def changes(self) -> Sequence[Mapping[str, Any]]:
        """The pipeline of a change stream. It keeps the type and the key of changes that may wake a caller."""
        ...

    def collection(self, collections: Collections) -> Collection[Document]:
        """The collection of the change stream."""
        ...

    def poll(self, wanted: Sequence[Wanted]) -> Iterable[str]:
        """The ids of documents that may have changed since the call before, without a change stream."""
        ...


class TaskWatch:
    """Waiting for the end of tasks; see `Watched`.

    Args:
        ended: those of some tasks that are terminal or unknown.
    """

    longest_pause_seconds = 0.2

    def __init__(self, ended: Callable[[Sequence[str]], Iterable[str]]) -> None:
        self._ended = ended

    def changes(self) -> Sequence[Mapping[str, Any]]:
        """See `Watched.changes`."""
        return _CHANGES

    def collection(self, collections: Collections) -> Collection[Document]:
        """See `Watched.collection`."""
        return collections.records

    def poll(self, wanted: Sequence[Wanted]) -> Iterable[str]:
        """See `Watched.poll`."""
        return self._ended(list(frozenset().union(*(each.ids for each in wanted))))


def ended_tasks(connection: Connection, task_ids: Sequence[str]) -> list[str]:
    """The tasks that are terminal or unknown. It ignores the time, by which only terminal records expire."""
    with connection.use() as collections:
        known = find_records(collections, task_ids, {"expires": 1})
    running = {task_id for task_id, document in known.items() if document["expires"] == UNFINISHED}
    return [task_id for task_id in task_ids if task_id not in running]


@define(eq=False)
class _Waiter:
    """A caller that waits."""

    wanted: Wanted
    #: Whether a read may find something new.
    hinted: bool = False
    error: ServiceError | None = None


class Watcher:
    """Lets callers wait. Thread-safe. Its thread runs only while a caller waits, and a little longer.

    Args:
        watched: what callers wait for.
        connection: the connection to the service.
        clock: the clock by which callers wait. The thread polls in real time, because other processes live in it.
        waiting: how to learn of changes.
    """

    def __init__(self, watched: Watched, connection: Connection, clock: Clock, waiting: Waiting) -> None:
        self._watched = watched
        self._connection = connection
        self._clock = clock
        self._waiting = waiting
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        self._wanted = threading.Condition(lock)
        self._waiters: set[_Waiter] = set()
        self._closings = 0
        self._thread: threading.Thread | None = None

    def wait(
        self, wanted: Wanted, look: Callable[[], tuple[Sequence[T], float]], timeout_seconds: float
    ) -> Sequence[T]:
        """Look for changes until there is one, at most ``timeout_seconds``.

        Args:
            wanted: what may change.
            look: what has changed, and after how many seconds to look again at the latest.
            timeout_seconds: how long to wait.

        Returns:
            What has changed; empty after the time-out and after `close`.

        Raises:
            ServiceError: the service cannot be reached.
        """
        deadline = self._clock.monotonic() + timeout_seconds
        waiter = _Waiter(wanted)
        with self._changed:
            closings = self._closings
            self._waiters.add(waiter)
        try:
            while True:
                # A change after this look leaves a hint, because the waiter is registered already.
                found, seconds = look()
                if found or not self._hinted(waiter, deadline, min(seconds, _REREAD_SECONDS), closings):
                    return found
        except ServiceError:
            if self._closings == closings:
                raise
            return ()  # closed during a look
        finally:
            with self._changed:
                self._waiters.discard(waiter)
                closed = self._closings != closings
            if closed:
                self._connection.close()  # this call may have opened it again

    def hint(self, ids: Iterable[str]) -> None:
        """Let the callers look again that wait for one of these documents."""
        changed = frozenset(ids)
        with self._changed:
            hinted = [waiter for waiter in self._waiters if waiter.wanted.includes(changed)]
            for waiter in hinted:
                waiter.hinted = True
            if hinted:
                self._changed.notify_all()

    def close(self) -> None:
        """Wake all waiting callers; they return an empty list."""
        with self._changed:
            self._closings += 1
            self._waiters.clear()
            self._changed.notify_all()
            self._wanted.notify_all()

    def join(self) -> bool:
        """Wait until the thread has ended, which it does after `close`; whether there was one.

        It may have connected again after the connection was closed.
        """
        thread = self._thread
        if thread is None:
            return False
        thread.join(_JOIN_SECONDS)
        return True

    def _hinted(self, waiter: _Waiter, deadline: float, reread_seconds: float, closings: int) -> bool:
        """Wait for a reason to look again; False after the deadline or after `close`."""
        reread_at = self._clock.monotonic() + reread_seconds
        with self._changed:
            if self._closings == closings:
                self._start()
            while not waiter.hinted:
                now = self._clock.monotonic()
                if now >= deadline or self._closings != closings:
                    return False
                if now >= reread_at:
                    return True
                self._clock.wait(self._changed, min(deadline, reread_at) - now)
            waiter.hinted = False
            if waiter.error is not None:
                raise waiter.error
            return True

    def _start(self) -> None:
        """Start the thread, or wake it. The caller holds the lock."""
        if self._thread is None or not self._thread.is_alive():  # it may have failed
            thread = threading.Thread(target=self._run, name="drivetrain-mongo-watcher", daemon=True)
            thread.start()
            self._thread = thread
        else:
            self._wanted.notify_all()

    # In the thread

    def _run(self) -> None:
        closings = self._closings
        while self._is_wanted(closings):
            with self._changed:
                closings = self._closings
            try:
                if self._streams():
                    self._read_stream(closings)
                else:
                    self._poll(closings)
            except ServiceError as error:
                self._fail(error, closings)

    def _is_wanted(self, closings: int) -> bool:
        """Whether a caller waits; blocks the thread while none does, and ends it after a while, or after `close`."""
        with self._wanted:
            self._wanted.wait_for(lambda: self._waiters or self._closings != closings, _LINGER_SECONDS)
            if not self._waiters:
                self._thread = None
            return bool(self._waiters)

    def _streams(self) -> bool:
        if self._waiting is Waiting.AUTO:
            self._waiting = Waiting.STREAM if self._connection.notifies() else Waiting.POLL
        return self._waiting is Waiting.STREAM

    def _read_stream(self, closings: int) -> None:
        with (
            self._connection.use() as collections,
            self._watched.collection(collections).watch(
                list(self._watched.changes()), max_await_time_ms=_AWAIT_MILLISECONDS
            ) as stream,
        ):
            self._hint_all()  # changes before the stream are unknown
            while stream.alive and self._goes_on(closings):
                change = stream.try_next()
                if change is not None:
                    self._hint_change(change)

    def _hint_change(self, change: Mapping[str, Any]) -> None:
        key = change.get("documentKey")
        if key is None:
            self._hint_all()  # the collection itself was dropped
        else:
            self.hint([key["_id"]])

    def _goes_on(self, closings: int) -> bool:
        """Whether to read on: while a caller waits, and a little longer."""
        with self._wanted:
            return self._wanted.wait_for(lambda: self._waiters or self._closings != closings, _LINGER_SECONDS) and (
                self._closings == closings
            )

    def _poll(self, closings: int) -> None:
        pause, known = _FIRST_PAUSE_SECONDS, frozenset[Wanted]()
        while wanted := self._wanted_now(closings):
            slower = min(pause * _SLOWING, self._watched.longest_pause_seconds)
            pause = _FIRST_PAUSE_SECONDS if wanted - known else slower
            known = wanted
            self._pause(pause)
            self.hint(self._watched.poll(list(wanted)))

    def _pause(self, seconds: float) -> None:
        with self._wanted:
            self._wanted.wait(seconds)

    def _wanted_now(self, closings: int) -> frozenset[Wanted]:
        """What callers wait for; empty after `close`."""
        with self._changed:
            if self._closings != closings:
                return frozenset()
            return frozenset(waiter.wanted for waiter in self._waiters)

    def _hint_all(self) -> None:
        with self._changed:
            for waiter in self._waiters:
                waiter.hinted = True
            self._changed.notify_all()

    def _fail(self, error: ServiceError, closings: int) -> None:
        """Raise the error in all waiting callers; or switch to polling if the service refuses change streams."""
        if self._waiting is Waiting.STREAM and isinstance(error, ServiceRefused):
            logger.warning("the server refuses change streams, so the driver polls instead: %s", error)
            self._waiting = Waiting.POLL
            return
        with self._changed:
            if self._closings == closings:
                for waiter in self._waiters:
                    waiter.error = error
                    waiter.hinted = True
            self._changed.notify_all()
