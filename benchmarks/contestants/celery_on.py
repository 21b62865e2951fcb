"""Celery on Redis and on RabbitMQ, with Redis results; a pool of processes (prefork), or of threads.

Set up as its own advice on speed has it: no events, gossip, mingle and heartbeats, a large prefetch, JSON. Messages are
acknowledged before they run, which is its default and its fastest. `group` is its way to send many. A prefork worker is
the parent process and as many children as tasks at a time; two worker processes are two such parents.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from celery import Celery, chain, chord, group  # type: ignore[import-untyped]

from contestants.on_redis import OnRedis
from place import Place
from tasks import TASKS

__all__ = ["RabbitPrefork", "RabbitThreads", "RedisPrefork", "RedisThreads"]

_TIMEOUT_SECONDS = 600.0
#: Messages taken in advance, for each task at a time.
_PREFETCH = 128


class _Celery(OnRedis):
    crash_safe = "no: acknowledged before it runs (its default)"
    packages = ("celery", "kombu", "redis")
    pool: ClassVar[str]

    def __init__(self, place: Place, number: int = 0) -> None:
        super().__init__(place, number)
        self.app = Celery("bench", broker=self.broker_url(), backend=f"{self.url}/0", set_as_current=True)
        self.app.conf.update(
            worker_prefetch_multiplier=_PREFETCH,
            worker_send_task_events=False,
            worker_hijack_root_logger=False,
            worker_redirect_stdouts=False,
            result_expires=3600,
            broker_connection_retry_on_startup=True,
        )
        self._tasks = {name: self.app.task(name=name)(function) for name, function in TASKS.items()}

    def broker_url(self) -> str:
        """Where the messages lie."""
        return f"{self.url}/0"

    def key(self, handle: Any) -> str:
        return f"celery-task-meta-{handle.id}"

    def send(self, task: str, argument: Any) -> Any:
        return self._tasks[task].delay(argument)

    def send_many(self, task: str, arguments: Sequence[Any]) -> Sequence[Any]:
        return list(group([self._tasks[task].s(argument) for argument in arguments]).apply_async().results)

    def send_many_at(self, when: float, task: str, arguments: Sequence[Any]) -> Sequence[Any]:
        eta = datetime.fromtimestamp(when, UTC)
        return list(group([self._tasks[task].s(argument) for argument in arguments]).apply_async(eta=eta).results)

    def results(self, handles: Sequence[Any]) -> Sequence[Any]:
        return [handle.result for handle in handles]

    def round_trip(self, number: int) -> int:
        return int(self._tasks["double"].delay(number).get(timeout=_TIMEOUT_SECONDS))

    def chord(self, numbers: Sequence[int]) -> int:
        members = [self._tasks["double"].s(number) for number in numbers]
        return int(chord(members)(self._tasks["total"].s()).get(timeout=_TIMEOUT_SECONDS))

    def chain(self, length: int) -> int:
        steps = [self._tasks["double"].s() for _ in range(length - 1)]
        return int(chain(self._tasks["double"].s(0), *steps).apply_async().get(timeout=_TIMEOUT_SECONDS))

    def work(self, ready: Callable[[], None]) -> None:
        from celery.signals import worker_ready

        warnings.filterwarnings("ignore", module="celery.platforms")  # root in a container
        worker_ready.connect(lambda **_: ready(), weak=False)
        worker = self.app.Worker(
            hostname=f"bench{self.number}@localhost",
            pool=self.pool,
            concurrency=self.place.concurrency,
            loglevel=logging.ERROR,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        )
        worker.start()


class RedisPrefork(_Celery):
    setup: ClassVar[str] = f"`--pool prefork`, prefetch multiplier {_PREFETCH}, no gossip, mingle, heartbeat, events"
    pool = "prefork"


class RedisThreads(_Celery):
    setup: ClassVar[str] = f"`--pool threads`, prefetch multiplier {_PREFETCH}, no gossip, mingle, heartbeat, events"
    pool = "threads"


class RabbitPrefork(RedisPrefork):
    def broker_url(self) -> str:
        return f"{self.place.servers['rabbitmq'].url}//"


class RabbitThreads(RedisThreads):
    def broker_url(self) -> str:
        return f"{self.place.servers['rabbitmq'].url}//"
