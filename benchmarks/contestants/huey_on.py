"""Huey on Redis, and on its SQLite storage.

On Redis its workers wait in BRPOP. On SQLite they poll, by default every 0.1 seconds and more, and so does the wait
for a result on both: all are set to half a millisecond to 5 ms. Its log is off. The scheduler runs, as tasks for later
need it; its shortest interval, one second, is set. Huey has chords (`group.then`), but no way to enqueue many at once:
`map` is a loop. It takes a task out of the queue before it runs it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from huey import RedisHuey, SqliteHuey, group  # type: ignore[import-untyped, unused-ignore]

from contestants.base import Contestant
from place import Place
from tasks import TASKS

__all__ = ["Redis", "SqliteFsync", "SqliteNoFsync"]

_SHORTEST_PAUSE_SECONDS = 0.0005
_LONGEST_PAUSE_SECONDS = 0.005


class _Huey(Contestant):
    crash_safe = "no: taken out of the queue before it runs"
    packages = ("huey",)

    def __init__(self, place: Place, number: int = 0) -> None:
        super().__init__(place, number)
        self.huey = self.make()
        self._tasks = {name: self.huey.task(name=name)(function) for name, function in TASKS.items()}

    def make(self) -> Any:
        """The application."""
        raise NotImplementedError

    def send(self, task: str, argument: Any) -> Any:
        return self._tasks[task](argument)

    def send_many(self, task: str, arguments: Sequence[Any]) -> Sequence[Any]:
        return list(self._tasks[task].map(arguments))

    def send_many_at(self, when: float, task: str, arguments: Sequence[Any]) -> Sequence[Any]:
        eta = datetime.fromtimestamp(when, UTC)
        return [self._tasks[task].schedule((argument,), eta=eta) for argument in arguments]

    def stored(self, handles: Sequence[Any]) -> int:
        return sum(self.huey.storage.has_data_for_key(handle.id) for handle in handles)

    def results(self, handles: Sequence[Any]) -> Sequence[Any]:
        return [handle.get(preserve=True) for handle in handles]

    def round_trip(self, number: int) -> int:
        return _wait(self._tasks["double"](number))

    def chord(self, numbers: Sequence[int]) -> int:
        members = group([self._tasks["double"].s(number) for number in numbers])
        return _wait(self.huey.enqueue(members.then(self._tasks["total"])).callback)

    def work(self, ready: Callable[[], None]) -> None:
        logging.getLogger("huey").setLevel(logging.ERROR)
        consumer = self.huey.create_consumer(
            workers=self.place.concurrency,
            initial_delay=_SHORTEST_PAUSE_SECONDS,
            max_delay=_LONGEST_PAUSE_SECONDS,
            scheduler_interval=1,
            periodic=False,
        )
        ready()
        consumer.run()


class Redis(_Huey):
    setup: ClassVar[str] = "`RedisHuey`, threads; results polled every 0.5 to 5 ms"
    packages = ("huey", "redis")

    def make(self) -> Any:
        return RedisHuey(url=self.place.servers["redis"].url)

    def stored(self, handles: Sequence[Any]) -> int:
        storage = self.huey.storage
        found = storage.conn.hmget(storage.result_key, [handle.id for handle in handles])
        return sum(value is not None for value in found)


class _Sqlite(_Huey):
    fsync: ClassVar[bool]

    def make(self) -> Any:
        # Readers and writers of 8 threads and another process wait for each other: its 5 seconds are too few here.
        return SqliteHuey(filename=str(self.place.directory / "huey.db"), fsync=self.fsync, timeout=60)


class SqliteFsync(_Sqlite):
    setup: ClassVar[str] = "`SqliteHuey(fsync=True)`: every commit flushed to the disk"
    fsync = True


class SqliteNoFsync(_Sqlite):
    setup: ClassVar[str] = "`SqliteHuey(fsync=False)`: `synchronous=off`; survives `kill -9`, not the loss of power"
    fsync = False


def _wait(result: Any) -> int:
    pause = _SHORTEST_PAUSE_SECONDS
    while (value := result.get(preserve=True)) is None:
        time.sleep(pause)
        pause = min(pause * 1.1, _LONGEST_PAUSE_SECONDS)
    return int(value)
