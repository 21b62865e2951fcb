"""RQ: queue and results in Redis.

Its `SimpleWorker` runs jobs in its own process, one at a time, and does not fork for each, as the ordinary worker does:
some times faster, without the isolation. JSON instead of pickle, no descriptions, no log of jobs. `enqueue_many` sends
500 jobs in a pipeline.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from rq import Queue, SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer

from contestants.on_redis import OnRedis
from place import Place
from tasks import TASKS

__all__ = ["RQ"]

_TIMEOUT_SECONDS = 600
_AT_A_TIME = 500


class RQ(OnRedis):
    setup: ClassVar[str] = "`SimpleWorker` (no fork for each job), JSON, its scheduler on"
    crash_safe = "no: taken out of the queue before it runs; a dead worker's job fails after some minutes"
    packages = ("rq", "redis")

    def __init__(self, place: Place, number: int = 0) -> None:
        super().__init__(place, number)
        self.queue = Queue(connection=self.redis, serializer=JSONSerializer)

    def key(self, handle: Any) -> str:
        return f"rq:results:{handle.id}"

    def send(self, task: str, argument: Any) -> Any:
        return self.queue.enqueue(TASKS[task], args=(argument,), description="", result_ttl=3600)

    def send_many(self, task: str, arguments: Sequence[Any]) -> Sequence[Any]:
        handles: list[Any] = []
        for start in range(0, len(arguments), _AT_A_TIME):
            some = arguments[start : start + _AT_A_TIME]
            handles += self.queue.enqueue_many(
                [Queue.prepare_data(TASKS[task], (argument,), description="", result_ttl=3600) for argument in some]
            )
        return handles

    def send_many_at(self, when: float, task: str, arguments: Sequence[Any]) -> Sequence[Any]:
        eta = datetime.fromtimestamp(when, UTC)
        return [self.queue.enqueue_at(eta, TASKS[task], argument) for argument in arguments]

    def results(self, handles: Sequence[Any]) -> Sequence[Any]:
        return [handle.return_value() for handle in handles]

    def round_trip(self, number: int) -> int:
        job: Job = self.send("double", number)
        found = job.latest_result(timeout=_TIMEOUT_SECONDS)
        assert found is not None
        return int(found.return_value)

    def work(self, ready: Callable[[], None]) -> None:
        worker = SimpleWorker([self.queue], connection=self.redis, serializer=JSONSerializer, log_job_description=False)
        logging.getLogger("rq").setLevel(logging.ERROR)
        ready()
        worker.work(logging_level="ERROR", with_scheduler=True)
