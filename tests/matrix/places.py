"""The real server of each driver, started for one run, and how the contract suite reaches it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from drivetrain_contract_tests import Service
from services.memcached import MemcachedServer
from services.mongodb import MongoServer
from services.rabbitmq import RabbitServer
from services.redis import RedisServer
from services.sqs import MotoServer

__all__ = ["LESS", "SERVERS", "running"]

#: What stands behind each scheme in the matrix, for the page.
SERVERS = {
    "memory": "this process",
    "sqlite": "a file",
    "redis": "a private Redis that writes every command to disk before it answers",
    "amqp": "a private RabbitMQ",
    "sqs": "moto, an imitation of SQS",
    "mongodb": "a private MongoDB, or nx-27017, which speaks its protocol upon SQLite",
    "memcache": "a private Memcached",
}

#: Where less than the suite's profile says is tried: every call of moto takes ten milliseconds or more, and more the
#: more there is in it.
LESS = {"sqs": {"examples": 5, "steps": 15, "races": 2, "large": 200, "batch": 300, "seconds": 0.5}}


@contextmanager
def running(scheme: str, directory: Path) -> Iterator[Service]:
    """The service of a scheme, until the end of the block.

    Args:
        scheme: one of `SERVERS`.
        directory: of its own.
    """
    yield from _RUNNING[scheme](directory)


def _memory(directory: Path) -> Iterator[Service]:
    yield Service(lambda namespace: f"memory://{namespace}")


def _sqlite(directory: Path) -> Iterator[Service]:
    yield Service(lambda namespace: f"sqlite:///{directory}/{namespace}.db")


def _redis(directory: Path) -> Iterator[Service]:
    server = RedisServer(directory)
    server.process.start()
    try:
        yield Service(
            lambda namespace: f"{server.url}/0?namespace={namespace}",
            stop=server.process.kill,
            start=server.process.start,
        )
    finally:
        server.process.kill()


def _amqp(directory: Path) -> Iterator[Service]:
    server = RabbitServer(directory)
    server.start()
    try:
        yield Service(
            lambda namespace: server.url(options=f"namespace={namespace}"), stop=server.kill, start=server.start
        )
    finally:
        server.end()


def _sqs(directory: Path) -> Iterator[Service]:
    server = MotoServer(directory)
    server.run()
    try:
        yield Service(server.url, stop=server.stop, start=server.start)
    finally:
        server.end()


def _mongodb(directory: Path) -> Iterator[Service]:
    server = MongoServer(directory)
    server.start()
    try:
        stops = {"stop": server.kill, "start": server.start} if server.stoppable else {}
        yield Service(lambda namespace: server.url(namespace=namespace), **stops)
    finally:
        server.kill()


def _memcache(directory: Path) -> Iterator[Service]:
    server = MemcachedServer(directory, options=("-m", "256"))
    server.process.start()
    try:
        # It forgets all when it ends, and says so: the clause about restarts does not apply to it.
        yield Service(lambda namespace: f"{server.url}/?namespace={namespace}")
    finally:
        server.process.kill()


_RUNNING: dict[str, Callable[[Path], Iterator[Service]]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "redis": _redis,
    "amqp": _amqp,
    "sqs": _sqs,
    "mongodb": _mongodb,
    "memcache": _memcache,
}
