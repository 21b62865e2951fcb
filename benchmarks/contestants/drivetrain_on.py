"""drivetrain: the same application on each of its brokers and backends.

Crash-safe as it comes: a message is acknowledged after its result is stored, and a run holds a lease.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from contestants.base import Contestant
from drivetrain import App, chain, chord
from place import Place
from tasks import TASKS

__all__ = ["Memory", "Rabbit", "Redis", "SqliteFull", "SqliteNormal"]

_TIMEOUT_SECONDS = 600.0


class _Drivetrain(Contestant):
    crash_safe = "yes: acknowledged after the result is stored, runs hold a lease"
    packages = ("drivetrain",)

    def __init__(self, place: Place, number: int = 0) -> None:
        super().__init__(place, number)
        logging.getLogger("drivetrain").setLevel(logging.ERROR)
        self.app = App(*self.urls(), **self.settings())
        self._tasks = {name: self.app.task(name=name)(function) for name, function in TASKS.items()}

    def urls(self) -> tuple[str, ...]:
        """Of the broker, and of the backend if that is another."""
        raise NotImplementedError

    def settings(self) -> Mapping[str, Any]:
        """Of the app, beyond its URLs."""
        return {}

    def send(self, task: str, argument: Any) -> Any:
        return self._tasks[task].send(argument)

    def send_many(self, task: str, arguments: Sequence[Any]) -> Sequence[Any]:
        return self.app.send_many([self._tasks[task].s(argument) for argument in arguments])

    def send_at_once(self, task: str, arguments: Sequence[Any], at_once: int) -> None:
        async def send() -> None:
            for start in range(0, len(arguments), at_once):
                some = arguments[start : start + at_once]
                await asyncio.gather(*(self._tasks[task].send_async(argument) for argument in some))

        asyncio.run(send())

    def send_many_at(self, when: float, task: str, arguments: Sequence[Any]) -> Sequence[Any]:
        eta = datetime.fromtimestamp(when, UTC)
        return self.app.send_many([self._tasks[task].s(argument).set(eta=eta) for argument in arguments])

    def stored(self, handles: Sequence[Any]) -> int:
        records = self.app.runtime.backend.read([handle.id for handle in handles])
        return sum(record is not None and record.state.terminal for record in records)

    def results(self, handles: Sequence[Any]) -> Sequence[Any]:
        return [handle.get(timeout=0) for handle in handles]

    def round_trip(self, number: int) -> int:
        return int(self._tasks["double"].send(number).get(timeout=_TIMEOUT_SECONDS))

    def chord(self, numbers: Sequence[int]) -> int:
        members = [self._tasks["double"].s(number) for number in numbers]
        return int(self.app.send(chord(members, self._tasks["total"].s())).get(timeout=_TIMEOUT_SECONDS))

    def chain(self, length: int) -> int:
        steps = [self._tasks["double"].s() for _ in range(length - 1)]
        workflow = chain(self._tasks["double"].s(0), *steps)
        return int(self.app.send(workflow).get(timeout=_TIMEOUT_SECONDS))

    def work(self, ready: Callable[[], None]) -> None:
        worker = self.app.worker(concurrency=self.place.concurrency)
        signal.signal(signal.SIGTERM, lambda *_: worker.stop(wait=False))
        ready()
        worker.run()


class Redis(_Drivetrain):
    setup: ClassVar[str] = "`redis://` for broker and backend, as it comes"
    packages = ("drivetrain", "drivetrain-redis", "redis", "hiredis")

    def urls(self) -> tuple[str, ...]:
        return (self.place.servers["redis"].url,)


class Rabbit(_Drivetrain):
    setup: ClassVar[str] = "`amqp://` and `redis://`, as they come"
    packages = ("drivetrain", "drivetrain-amqp", "drivetrain-redis", "pika", "redis", "hiredis")

    def urls(self) -> tuple[str, ...]:
        return (self.place.servers["rabbitmq"].url, self.place.servers["redis"].url)


class SqliteFull(_Drivetrain):
    setup: ClassVar[str] = "`sqlite://`, as it comes: `synchronous=full`, every commit flushed to the disk"

    def urls(self) -> tuple[str, ...]:
        return (f"sqlite:///{self.place.directory}/work.db",)


class SqliteNormal(_Drivetrain):
    setup: ClassVar[str] = "`sqlite://…?synchronous=normal`: survives `kill -9`, not the loss of power"

    def urls(self) -> tuple[str, ...]:
        return (f"sqlite:///{self.place.directory}/work.db?synchronous=normal",)


class Memory(_Drivetrain):
    setup: ClassVar[str] = "`memory://`: sender and worker share one process, so all but draining compete in it"
    crash_safe = "no: all is in one process"

    def urls(self) -> tuple[str, ...]:
        return ("memory://",)

    def start_workers(self) -> Any:
        return _Threads(self.app.worker(concurrency=self.place.concurrency).start())


class _Threads:
    """In place of worker processes."""

    def __init__(self, running: Any) -> None:
        self._running = running

    def cpu(self) -> float:
        """Of the sender too: they are one process."""
        return time.process_time()

    def stop(self) -> None:
        self._running.stop()
