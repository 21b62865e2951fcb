"""Waiting for the end of tasks: told by a change stream, or found by polling."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import define

from drivetrain.contract import Clock, ServiceError, ServiceRefused
from drivetrain_mongo.connection import Connection
from drivetrain_mongo.documents import UNFINISHED
from drivetrain_mongo.options import Waiting
from drivetrain_mongo.reading import find_records

__all__ = ["Watcher"]

logger = logging.getLogger("drivetrain.mongo")

#: How long one request for news may wait at the server, in milliseconds: so long may the thread outlive its end.
_AWAIT_MILLISECONDS = 500
#: How often records are looked at where the service does not tell: at first, and after a while, in seconds.
_FIRST_PAUSE_SECONDS = 0.004
_LONGEST_PAUSE_SECONDS = 0.2
_SLOWING = 1.3
#: How often who waits looks without being told to, in seconds: what ended in the instant of a failover may be told
#: before a read shows it, and is not told again.
_LOOK_SECONDS = 10.0
#: How long the thread outlives the last waiter, in seconds: many waits come one after the other.
_LINGER_SECONDS = 2.0

#: Changes by which a task may have ended or gone, and of those no more than the id. `expires` changes when a task ends,
#: when it is settled and when it is forgotten, and never else.
_NEWS: Sequence[Mapping[str, Any]] = (
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


@define(eq=False)
class _Waiter:
    """A thread that waits for one of some tasks."""

    task_ids: frozenset[str]
    #: Whether there is reason to look.
    hinted: bool = False
    error: ServiceError | None = None


class Watcher:
    """Lets threads wait for tasks. One thread listens or looks for all of them, and only while one of them waits.

    Args:
        connection: to the service.
        clock: by which threads wait. The service is looked at in real time, for others live in it.
        waiting: how the end of tasks is learnt.
    """

    def __init__(self, connection: Connection, clock: Clock, waiting: Waiting) -> None:
        self._connection = connection
        self._clock = clock
        self._waiting = waiting
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        self._wanted = threading.Condition(lock)
        self._waiters: set[_Waiter] = set()
        self._closings = 0
        self._thread: threading.Thread | None = None

    def wait(self, task_ids: Sequence[str], timeout_seconds: float) -> list[str]:
        """See `drivetrain.contract.Backend.wait`."""
        deadline = self._clock.monotonic() + timeout_seconds
        waiter = _Waiter(frozenset(task_ids))
        with self._changed:
            closings = self._closings
            self._waiters.add(waiter)
        try:
            while True:
                # What comes after this look hints, for we are among the waiters already.
                ended = self._ended(task_ids)
                if ended or not self._hinted(waiter, deadline, closings):
                    return ended
        finally:
            with self._changed:
                self._waiters.discard(waiter)
                closed = self._closings != closings
            if closed:
                self._connection.close()  # what was opened again since

    def hint(self, task_ids: Iterable[str]) -> None:
        """Let those look who wait for one of these."""
        ids = frozenset(task_ids)
        with self._changed:
            hinted = [waiter for waiter in self._waiters if not ids.isdisjoint(waiter.task_ids)]
            for waiter in hinted:
                waiter.hinted = True
            if hinted:
                self._changed.notify_all()

    def close(self) -> None:
        """Wake those who wait here; they return empty."""
        with self._changed:
            self._closings += 1
            self._changed.notify_all()
            self._wanted.notify_all()

    def _ended(self, task_ids: Iterable[str]) -> list[str]:
        """Those that are terminal or gone. No look at the time is needed: it comes to terminal records only."""
        ids = list(task_ids)
        with self._connection.use() as collections:
            known = find_records(collections, ids, {"expires": 1})
        running = {task_id for task_id, document in known.items() if document["expires"] == UNFINISHED}
        return [task_id for task_id in ids if task_id not in running]

    def _hinted(self, waiter: _Waiter, deadline: float, closings: int) -> bool:
        """Wait for a reason to look again; False when the time is out, or this was closed."""
        look_at = self._clock.monotonic() + _LOOK_SECONDS
        with self._changed:
            self._start()
            while not waiter.hinted:
                now = self._clock.monotonic()
                if now >= deadline or self._closings != closings:
                    return False
                if now >= look_at:
                    return True
                self._clock.wait(self._changed, min(deadline, look_at) - now)
            waiter.hinted = False
            if waiter.error is not None:
                raise waiter.error
            return True

    def _start(self) -> None:
        """See that the thread runs, and looks soon. The lock is held."""
        if self._thread is None or not self._thread.is_alive():  # it may have failed
            thread = threading.Thread(target=self._run, name="drivetrain-mongo-watcher", daemon=True)
            thread.start()
            self._thread = thread
        else:
            self._wanted.notify_all()

    # In the thread

    def _run(self) -> None:
        while self._is_wanted():
            with self._changed:
                closings = self._closings
            try:
                if self._streams():
                    self._listen(closings)
                else:
                    self._look_often(closings)
            except ServiceError as error:
                self._fail(error, closings)

    def _is_wanted(self) -> bool:
        """Whether somebody waits; parks the thread while nobody does, and after a while lets it end."""
        with self._wanted:
            wanted = self._wanted.wait_for(lambda: bool(self._waiters), _LINGER_SECONDS)
            if not wanted:
                self._thread = None
            return wanted

    def _streams(self) -> bool:
        if self._waiting is Waiting.AUTO:
            self._waiting = Waiting.STREAM if self._connection.notifies() else Waiting.POLL
        return self._waiting is Waiting.STREAM

    def _listen(self, closings: int) -> None:
        with (
            self._connection.use() as collections,
            collections.records.watch(list(_NEWS), max_await_time_ms=_AWAIT_MILLISECONDS) as stream,
        ):
            self._hint_all()  # nobody knows what happened before
            while stream.alive and self._goes_on(closings):
                news = stream.try_next()
                if news is not None:
                    self._tell(news)

    def _tell(self, news: Mapping[str, Any]) -> None:
        key = news.get("documentKey")
        if key is None:
            self._hint_all()  # the collection itself is gone
        else:
            self.hint([key["_id"]])

    def _goes_on(self, closings: int) -> bool:
        """Whether to go on listening: a while longer than somebody waits."""
        with self._wanted:
            return self._closings == closings and self._wanted.wait_for(lambda: bool(self._waiters), _LINGER_SECONDS)

    def _look_often(self, closings: int) -> None:
        pause, known = _FIRST_PAUSE_SECONDS, frozenset[str]()
        while task_ids := self._awaited(closings):
            pause = _FIRST_PAUSE_SECONDS if task_ids - known else min(pause * _SLOWING, _LONGEST_PAUSE_SECONDS)
            known = task_ids
            self._pause(pause)
            self.hint(self._ended(task_ids))

    def _pause(self, seconds: float) -> None:
        with self._wanted:
            self._wanted.wait(seconds)

    def _awaited(self, closings: int) -> frozenset[str]:
        """All that is waited for; nothing once this was closed."""
        with self._changed:
            if self._closings != closings:
                return frozenset()
            return frozenset().union(*(waiter.task_ids for waiter in self._waiters))

    def _hint_all(self) -> None:
        with self._changed:
            for waiter in self._waiters:
                waiter.hinted = True
            self._changed.notify_all()

    def _fail(self, error: ServiceError, closings: int) -> None:
        """Tell those who wait; or poll, where the service refuses to tell."""
        if self._waiting is Waiting.STREAM and isinstance(error, ServiceRefused):
            logger.warning("change streams are refused, so the ends of tasks are polled for: %s", error)
            self._waiting = Waiting.POLL
            return
        with self._changed:
            if self._closings == closings:
                for waiter in self._waiters:
                    waiter.error = error
                    waiter.hinted = True
            self._changed.notify_all()
