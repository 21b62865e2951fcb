"""Huey on its SQLite storage.

Its defaults suit polling over a network: a consumer that found nothing sleeps 0.1 seconds and more, and so does
`Result.get(blocking=True)`. Both are set to poll as often as drivetrain looks at its file. Its log is off, its
scheduler of periodic tasks too. Huey has chords (`group.then`), but no way to enqueue many at once: `map` is a loop.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from huey import SqliteHuey, group  # type: ignore[import-untyped, unused-ignore]

from contestants.base import Contestant

__all__ = ["Fsync", "NoFsync"]

_SHORTEST_PAUSE_SECONDS = 0.001
_LONGEST_PAUSE_SECONDS = 0.005


class _Huey(Contestant):
    fsync: ClassVar[bool]

    def __init__(self, directory: Path, threads: int) -> None:
        super().__init__(directory, threads)
        # Readers and writers of 8 threads and another process wait for each other: its 5 seconds are too few here.
        self.huey = SqliteHuey(filename=str(directory / "huey.db"), fsync=self.fsync, timeout=60)
        self._double = self.huey.task(name="double")(double)
        self._total = self.huey.task(name="total")(total)

    def send(self, number: int) -> Any:
        return self._double(number)

    def send_many(self, numbers: Sequence[int]) -> Sequence[Any]:
        return list(self._double.map(numbers))

    def all_done(self, handles: Sequence[Any]) -> bool:
        # The last first: counting reads the whole table.
        stored = self.huey.storage
        return bool(stored.has_data_for_key(handles[-1].id) and stored.result_store_size() >= len(handles))

    def results(self, handles: Sequence[Any]) -> Sequence[int]:
        return [handle.get(preserve=True) for handle in handles]

    def round_trip(self, number: int) -> int:
        return _wait(self._double(number))

    def chord(self, numbers: Sequence[int]) -> int:
        members = group([self._double.s(number) for number in numbers])
        return _wait(self.huey.enqueue(members.then(self._total)).callback)

    def work(self, ready: Callable[[], None]) -> None:
        logging.getLogger("huey").setLevel(logging.ERROR)
        consumer = self.huey.create_consumer(
            workers=self.threads,
            initial_delay=_SHORTEST_PAUSE_SECONDS,
            max_delay=_LONGEST_PAUSE_SECONDS,
            periodic=False,
        )
        ready()
        consumer.run()


class Fsync(_Huey):
    setup: ClassVar[str] = "`SqliteHuey(fsync=True)`: every commit flushed to the disk"
    fsync = True


class NoFsync(_Huey):
    setup: ClassVar[str] = "`SqliteHuey(fsync=False)`: `synchronous=off`; survives `kill -9`, not the loss of power"
    fsync = False


def _wait(result: Any) -> int:
    pause = _SHORTEST_PAUSE_SECONDS
    while (value := result.get(preserve=True)) is None:
        time.sleep(pause)
        pause = min(pause * 1.1, _LONGEST_PAUSE_SECONDS)
    return int(value)


def double(number: int) -> int:
    return 2 * number


def total(numbers: list[int]) -> int:
    return sum(numbers)
