"""drivetrain with broker and backend in one SQLite file."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from contestants.base import Contestant
from drivetrain import App, chord

__all__ = ["Drivetrain", "Full", "Normal"]

_TIMEOUT_SECONDS = 600.0


class Drivetrain(Contestant):
    """What is the same on every broker and backend."""

    def __init__(self, directory: Path, threads: int) -> None:
        super().__init__(directory, threads)
        self.app = App(self.url())
        self._double = self.app.task(name="double")(double)
        self._total = self.app.task(name="total")(total)

    def url(self) -> str:
        raise NotImplementedError

    def send(self, number: int) -> Any:
        return self._double.send(number)

    def send_many(self, numbers: Sequence[int]) -> Sequence[Any]:
        return self.app.send_many([self._double.s(number) for number in numbers])

    def all_done(self, handles: Sequence[Any]) -> bool:  # noqa: ARG002 - all that was sent
        return not self.app.operations.unfinished(limit=1)

    def results(self, handles: Sequence[Any]) -> Sequence[int]:
        return [handle.get(timeout=0) for handle in handles]

    def round_trip(self, number: int) -> int:
        return self._double.send(number).get(timeout=_TIMEOUT_SECONDS)

    def chord(self, numbers: Sequence[int]) -> int:
        members = [self._double.s(number) for number in numbers]
        return self.app.send(chord(members, self._total.s())).get(timeout=_TIMEOUT_SECONDS)

    def work(self, ready: Callable[[], None]) -> None:
        worker = self.app.worker(concurrency=self.threads)
        signal.signal(signal.SIGTERM, lambda *_: worker.stop(wait=False))
        ready()
        worker.run()


class Full(Drivetrain):
    setup: ClassVar[str] = "`sqlite://`, as it comes: `synchronous=full`, every commit flushed to the disk"

    def url(self) -> str:
        return f"sqlite:///{self.directory}/work.db"


class Normal(Drivetrain):
    setup: ClassVar[str] = "`sqlite://…?synchronous=normal`: survives `kill -9`, not the loss of power"

    def url(self) -> str:
        return f"sqlite:///{self.directory}/work.db?synchronous=normal"


def double(number: int) -> int:
    return 2 * number


def total(numbers: list[int]) -> int:
    return sum(numbers)
