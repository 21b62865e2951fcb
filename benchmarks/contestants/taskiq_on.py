"""Taskiq on Redis lists, Redis streams and RabbitMQ, with Redis results.

Its tasks are coroutines: plain functions would go through a pool of threads and be slower. It has no way to enqueue
many at once: 100 are sent at a time on its event loop. Results are awaited every half millisecond. Tasks for later need
its scheduler, which runs in the worker's process, and reads what is scheduled every second instead of every minute.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from taskiq import TaskiqScheduler
from taskiq.api import run_receiver_task, run_scheduler_task
from taskiq_redis import (
    ListQueueBroker,
    ListRedisScheduleSource,
    RedisAsyncResultBackend,
    RedisStreamBroker,
)

from contestants.on_redis import OnRedis
from place import Place
from tasks import TASKS

__all__ = ["Rabbit", "RedisList", "RedisStream"]

_TIMEOUT_SECONDS = 600.0
_LOOK_SECONDS = 0.0005
_AT_A_TIME = 100
_READ_EVERY = timedelta(seconds=1)


class _Taskiq(OnRedis):
    packages = ("taskiq", "taskiq-redis", "redis")

    def __init__(self, place: Place, number: int = 0) -> None:
        super().__init__(place, number)
        self.broker = self.make().with_result_backend(RedisAsyncResultBackend(self.url))
        self._later = ListRedisScheduleSource(self.url)
        self._tasks = {
            name: self.broker.register_task(_as_coroutine(function), task_name=name) for name, function in TASKS.items()
        }
        self._runner = asyncio.Runner()
        self._is_up = False

    def make(self) -> Any:
        """The broker."""
        raise NotImplementedError

    def key(self, handle: Any) -> str:
        return str(handle.task_id)

    def send(self, task: str, argument: Any) -> Any:
        return self._run(self._tasks[task].kiq(argument))

    def send_many(self, task: str, arguments: Sequence[Any]) -> Sequence[Any]:
        return self._run(_all_of(self._tasks[task].kiq, arguments))

    def send_at_once(self, task: str, arguments: Sequence[Any], at_once: int) -> None:
        self._run(_all_of(self._tasks[task].kiq, arguments, at_once))

    def send_many_at(self, when: float, task: str, arguments: Sequence[Any]) -> Sequence[Any]:
        eta = datetime.fromtimestamp(when, UTC)
        schedule = functools.partial(self._tasks[task].schedule_by_time, self._later, eta)
        return self._run(_all_of(schedule, arguments))

    def results(self, handles: Sequence[Any]) -> Sequence[Any]:
        return [one.return_value for one in self._run(_all_of(lambda handle: handle.get_result(), handles))]

    def round_trip(self, number: int) -> int:
        return int(self._run(self._there_and_back(number)))

    async def _there_and_back(self, number: int) -> Any:
        handle = await self._tasks["double"].kiq(number)
        found = await handle.wait_result(check_interval=_LOOK_SECONDS, timeout=_TIMEOUT_SECONDS)
        return found.return_value

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        if not self._is_up:
            self._is_up = True
            self._runner.run(self.broker.startup())
        return self._runner.run(coroutine)

    def work(self, ready: Callable[[], None]) -> None:
        logging.getLogger("taskiq").setLevel(logging.CRITICAL)
        self._runner.run(self._work(ready))

    async def _work(self, ready: Callable[[], None]) -> None:
        ending = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
        self.broker.is_worker_process = True  # it opens the connection to read from at start-up
        await self.broker.startup()
        scheduler = TaskiqScheduler(self.broker, [self._later])
        limit = self.place.concurrency
        tasks = [
            asyncio.create_task(run_receiver_task(self.broker, max_async_tasks=limit, max_prefetch=limit)),
            asyncio.create_task(run_scheduler_task(scheduler, interval=_READ_EVERY)),
        ]
        ready()
        await ending.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=1)


class RedisList(_Taskiq):
    setup: ClassVar[str] = "`ListQueueBroker`, coroutines, as many messages in advance as tasks at a time"
    crash_safe = "no: taken out of the list before it runs"

    def make(self) -> Any:
        return ListQueueBroker(self.url)


class RedisStream(_Taskiq):
    setup: ClassVar[str] = "`RedisStreamBroker`, coroutines, as many messages in advance as tasks at a time"
    crash_safe = "yes: acknowledged after the result is stored (its default), taken up after 10 minutes"

    def make(self) -> Any:
        return RedisStreamBroker(self.url, consumer_id="0")


class Rabbit(_Taskiq):
    setup: ClassVar[str] = "`AioPikaBroker`, coroutines, 200 messages in advance"
    crash_safe = "yes: acknowledged after the result is stored (its default)"
    packages = ("taskiq", "taskiq-aio-pika", "taskiq-redis", "aio-pika")

    def make(self) -> Any:
        from taskiq_aio_pika import AioPikaBroker

        return AioPikaBroker(self.place.servers["rabbitmq"].url, qos=200)


async def _all_of(function: Callable[[Any], Any], arguments: Sequence[Any], at_once: int = _AT_A_TIME) -> list[Any]:
    found: list[Any] = []
    for start in range(0, len(arguments), at_once):
        found += await asyncio.gather(*map(function, arguments[start : start + at_once]))
    return found


def _as_coroutine(function: Callable[[Any], Any]) -> Callable[[Any], Coroutine[Any, Any, Any]]:
    async def run(argument: Any) -> Any:
        return function(argument)

    return run
