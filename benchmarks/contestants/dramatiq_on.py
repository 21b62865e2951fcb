"""Dramatiq on Redis and on RabbitMQ, with Redis results.

Its worker runs in the process itself, without the command line's parent process: that takes less memory and is no
slower. It takes 200 messages in advance instead of two for each thread. The idle consumer backs off up to
`worker_timeout`: 5 ms here, by default a second. It has no way to enqueue many at once: `group` is a loop. A group's
callback gets no results; it is given the messages, and reads theirs.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

os.environ.setdefault("dramatiq_queue_prefetch", "200")

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits.backends import RedisBackend as Limits
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from contestants.on_redis import OnRedis
from place import Place
from tasks import TASKS, total

__all__ = ["Rabbit", "RabbitUnconfirmed", "Redis"]

_TIMEOUT_MILLISECONDS = 600_000
_IDLE_MILLISECONDS = 5


class _Dramatiq(OnRedis):
    crash_safe = "yes: acknowledged after the result is stored, taken up when the worker's heartbeat is missing"
    packages = ("dramatiq", "redis")

    def __init__(self, place: Place, number: int = 0) -> None:
        super().__init__(place, number)
        self.broker = self.make()
        self._results = RedisBackend(url=self.url)
        self.broker.add_middleware(Results(backend=self._results, store_results=True))
        self.broker.add_middleware(GroupCallbacks(Limits(url=self.url)))
        self._actors = {
            name: dramatiq.actor(function, actor_name=name, broker=self.broker)
            for name, function in {**TASKS, "total_of": self._total_of}.items()
        }

    def make(self) -> Any:
        """The broker."""
        raise NotImplementedError

    def _total_of(self, identities: list[str]) -> int:
        message = self._actors["double"].message(0)
        return total([message.copy(message_id=one).get_result(backend=self._results) for one in identities])

    def key(self, handle: Any) -> str:
        return str(self._results.build_message_key(handle))

    def send(self, task: str, argument: Any) -> Any:
        return self._actors[task].send(argument)

    def send_many(self, task: str, arguments: Sequence[Any]) -> Sequence[Any]:
        messages = [self._actors[task].message(argument) for argument in arguments]
        dramatiq.group(messages, broker=self.broker).run()
        return messages

    def send_many_at(self, when: float, task: str, arguments: Sequence[Any]) -> Sequence[Any]:
        actor = self._actors[task]
        return [
            actor.send_with_options(args=(argument,), delay=max(0, round((when - time.time()) * 1000)))
            for argument in arguments
        ]

    def results(self, handles: Sequence[Any]) -> Sequence[Any]:
        return [handle.get_result(backend=self._results) for handle in handles]

    def round_trip(self, number: int) -> int:
        return self._wait(self._actors["double"].send(number))

    def chord(self, numbers: Sequence[int]) -> int:
        messages = [self._actors["double"].message(number) for number in numbers]
        callback = self._actors["total_of"].message([message.message_id for message in messages])
        group = dramatiq.group(messages, broker=self.broker)
        group.add_completion_callback(callback)
        group.run()
        return self._wait(callback)

    def _wait(self, message: Any) -> int:
        return int(message.get_result(backend=self._results, block=True, timeout=_TIMEOUT_MILLISECONDS))

    def work(self, ready: Callable[[], None]) -> None:
        logging.getLogger("dramatiq").setLevel(logging.ERROR)
        ending = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: ending.set())
        threads = self.place.concurrency
        worker = dramatiq.Worker(self.broker, worker_timeout=_IDLE_MILLISECONDS, worker_threads=threads)
        worker.start()
        ready()
        ending.wait()
        worker.stop()


class Redis(_Dramatiq):
    setup: ClassVar[str] = "`RedisBroker`, `RedisBackend`, threads, 200 messages in advance, idle pause 5 ms"

    def make(self) -> Any:
        return RedisBroker(url=self.url)


class Rabbit(_Dramatiq):
    setup: ClassVar[str] = "`RabbitmqBroker` with publisher confirms, `RedisBackend`, threads, 200 messages in advance"
    crash_safe = "yes: acknowledged after the result is stored"
    packages = ("dramatiq", "pika", "redis")
    #: Whether each message is waited for until RabbitMQ has it.
    confirmed: ClassVar[bool] = True

    def make(self) -> Any:
        from dramatiq.brokers.rabbitmq import RabbitmqBroker

        return RabbitmqBroker(url=self.place.servers["rabbitmq"].url, confirm_delivery=self.confirmed)


class RabbitUnconfirmed(Rabbit):
    setup: ClassVar[str] = "`RabbitmqBroker` as it comes, `RedisBackend`, threads, 200 messages in advance"
    crash_safe = "not when it is sent: nobody waits until RabbitMQ has it; afterwards as with confirms"
    confirmed = False
