"""The ceiling: a plain loop with redis-py and hiredis that does for a task only what cannot be avoided.

The sender pushes in pipelines of 100. The worker reads 100 messages, decodes them, calls the functions, encodes the
results, and in one pipeline stores them and removes the messages. Each worker process has a list of its own, so that
what it read stays in Redis until its results are stored, without a command for that. There are no states, no leases, no
retries, no groups. One by one is the same with 1 instead of 100.
"""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Callable, Sequence
from typing import Any, ClassVar
from uuid import uuid4

from contestants.on_redis import OnRedis
from tasks import TASKS

__all__ = ["Batches", "OneByOne"]

_RETENTION_SECONDS = 3600
_WAIT_SECONDS = 0.5


class Batches(OnRedis):
    setup: ClassVar[str] = "a plain loop with redis-py and hiredis: 100 tasks for each round trip"
    crash_safe = "as far as it goes: a message is removed with the storing of its result; there are no leases"
    packages = ("redis", "hiredis")
    batch: ClassVar[int] = 100

    def key(self, handle: Any) -> str:
        return f"result:{handle}"

    def send(self, task: str, argument: Any, reply_to: str = "") -> Any:
        identity = uuid4().hex
        self.redis.rpush("queue:0", _encoded(identity, task, argument, reply_to))
        return identity

    def send_many(self, task: str, arguments: Sequence[Any]) -> Sequence[Any]:
        handles: list[str] = []
        # Its workers have lists of their own: half of the tasks for each of two, whether both run or not.
        lists = itertools.cycle([f"queue:{number}" for number in range(self.place.processes)])
        for start in range(0, len(arguments), self.batch):
            with self.redis.pipeline(transaction=False) as pipeline:
                for argument in arguments[start : start + self.batch]:
                    identity = uuid4().hex
                    handles.append(identity)
                    pipeline.rpush(next(lists), _encoded(identity, task, argument, ""))
                pipeline.execute()
        return handles

    def results(self, handles: Sequence[Any]) -> Sequence[Any]:
        return [json.loads(text) for text in self.redis.mget(map(self.key, handles))]

    def round_trip(self, number: int) -> int:
        reply_to = f"reply:{uuid4().hex}"
        self.send("double", number, reply_to)
        reply = self.redis.blpop([reply_to])
        assert reply is not None
        return int(json.loads(reply[1]))

    def work(self, ready: Callable[[], None]) -> None:
        ending: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: ending.append(number))
        queue = f"queue:{self.number}"
        self.redis.ping()
        ready()
        while not ending:
            messages = self.redis.lrange(queue, 0, self.batch - 1)
            if not messages:
                self.redis.blmove(queue, queue, _WAIT_SECONDS, "LEFT", "LEFT")  # waits, and moves nothing
                continue
            with self.redis.pipeline(transaction=False) as pipeline:
                for message in messages:
                    self._run(message, pipeline)
                pipeline.ltrim(queue, len(messages), -1)
                pipeline.execute()

    def _run(self, message: bytes, pipeline: Any) -> None:
        task = json.loads(message)
        result = json.dumps(TASKS[task["task"]](*task["args"]))
        pipeline.set(self.key(task["id"]), result, ex=_RETENTION_SECONDS)
        if reply_to := task.get("reply_to"):
            pipeline.rpush(reply_to, result)
            pipeline.expire(reply_to, _RETENTION_SECONDS)


class OneByOne(Batches):
    setup: ClassVar[str] = "the same loop, one task for each round trip"
    batch = 1


def _encoded(identity: str, task: str, argument: Any, reply_to: str) -> str:
    message = {"id": identity, "task": task, "args": [argument]}
    return json.dumps({**message, "reply_to": reply_to} if reply_to else message)
