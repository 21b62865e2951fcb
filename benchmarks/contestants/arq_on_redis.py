"""arq: broker and results in Redis.

Its worker looks for jobs every 5 ms instead of every half second, the wait for a result every half millisecond; its log
is off. It has no way to enqueue many at once: 100 are sent at a time on its event loop. It bears no newer redis-py than
5, so it has a virtual environment of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker, func

from contestants.on_redis import OnRedis
from place import Place
from tasks import TASKS

__all__ = ["Arq"]

_LOOK_SECONDS = 0.005
_WAIT_LOOK_SECONDS = 0.0005
_AT_A_TIME = 100


class Arq(OnRedis):
    setup: ClassVar[str] = "coroutines, looks for jobs every 5 ms, reads five times as many as it runs"
    crash_safe = "yes: a job stays in the queue until its result is stored"
    packages = ("arq", "redis")

    def __init__(self, place: Place, number: int = 0) -> None:
        super().__init__(place, number)
        self._settings = RedisSettings.from_dsn(self.url)
        self._runner = asyncio.Runner()
        self._pool: Any = None

    def key(self, handle: Any) -> str:
        return f"arq:result:{handle.job_id}"

    def send(self, task: str, argument: Any) -> Any:
        return self._run(self._enqueue(task, argument))

    def send_many(self, task: str, arguments: Sequence[Any]) -> Sequence[Any]:
        return self._run(_all_of([self._enqueue(task, argument) for argument in arguments]))

    def send_at_once(self, task: str, arguments: Sequence[Any], at_once: int) -> None:
        self._run(_all_of([self._enqueue(task, argument) for argument in arguments], at_once))

    def send_many_at(self, when: float, task: str, arguments: Sequence[Any]) -> Sequence[Any]:
        eta = datetime.fromtimestamp(when, UTC)
        return self._run(_all_of([self._enqueue(task, argument, _defer_until=eta) for argument in arguments]))

    async def _enqueue(self, task: str, argument: Any, **options: Any) -> Any:
        return await self._pool.enqueue_job(task, argument, **options)

    def results(self, handles: Sequence[Any]) -> Sequence[Any]:
        return [one.result for one in self._run(_all_of([handle.result_info() for handle in handles]))]

    def round_trip(self, number: int) -> int:
        return int(self._run(self._there_and_back(number)))

    async def _there_and_back(self, number: int) -> Any:
        job = await self._enqueue("double", number)
        return await job.result(poll_delay=_WAIT_LOOK_SECONDS)

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        if self._pool is None:
            self._pool = self._runner.run(create_pool(self._settings))
        return self._runner.run(coroutine)

    def work(self, ready: Callable[[], None]) -> None:
        logging.getLogger("arq").setLevel(logging.ERROR)
        asyncio.set_event_loop(asyncio.new_event_loop())

        async def on_startup(_: Any) -> None:
            ready()

        Worker(
            functions=[func(_as_coroutine(function), name=name) for name, function in TASKS.items()],
            redis_settings=self._settings,
            max_jobs=self.place.concurrency,
            poll_delay=_LOOK_SECONDS,
            on_startup=on_startup,
            log_results=False,
        ).run()


async def _all_of(coroutines: Sequence[Coroutine[Any, Any, Any]], at_once: int = _AT_A_TIME) -> list[Any]:
    found: list[Any] = []
    for start in range(0, len(coroutines), at_once):
        found += await asyncio.gather(*coroutines[start : start + at_once])
    return found


def _as_coroutine(function: Callable[[Any], Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def run(_: Any, argument: Any) -> Any:
        return function(argument)

    return run
