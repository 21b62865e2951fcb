"""The pairs on which Machinery's own suite runs here: each server is started when a test first asks for it."""

import itertools
import math
import os
import time
from uuid import uuid4

import pytest

from drivetrain import App, current_task, retry
from services.memcached import MemcachedServer
from services.mongodb import MongoServer
from services.rabbitmq import RabbitServer
from services.redis import RedisServer
from services.sqs import MotoServer
from support.faults import hurry

_numbers = itertools.count()


def _private(server):
    server.process.start()
    yield server
    server.process.kill()


@pytest.fixture(scope="session")
def redis(tmp_path_factory):
    yield from _private(RedisServer(tmp_path_factory.mktemp("redis"), durable=False))


@pytest.fixture(scope="session")
def memcached(tmp_path_factory):
    yield from _private(MemcachedServer(tmp_path_factory.mktemp("memcached"), options=("-m", "256")))


@pytest.fixture(scope="session")
def rabbit(tmp_path_factory):
    server = RabbitServer(tmp_path_factory.mktemp("rabbit"))
    server.start()
    yield server
    server.end()


@pytest.fixture(scope="session")
def moto(tmp_path_factory):
    server = MotoServer(tmp_path_factory.mktemp("moto"))
    server.run()
    yield server
    server.end()


@pytest.fixture(scope="session")
def mongo(tmp_path_factory):
    server = MongoServer(tmp_path_factory.mktemp("mongo"))
    server.start()
    yield server
    server.kill()


# The tasks of Machinery's suite


def add(*numbers: int) -> int:
    return sum(numbers)


def multiply(*numbers: int | list[int]) -> int:
    """Machinery appends the members' results one by one to the arguments; here they come as one list."""
    flat = [one for number in numbers for one in (number if isinstance(number, list) else [number])]
    return math.prod(flat)


def total(numbers: list[int]) -> int:
    return sum(numbers)


def just_error(message: str, fail: bool) -> None:
    if fail:
        raise RuntimeError(message)


def two_values(first: str, second: str, fail: bool) -> tuple[str, str]:
    if fail:
        raise RuntimeError("some error")
    return first, second


def oops() -> int:
    raise SystemError("oops")


def when() -> float:
    return time.time()


def same(value):
    return value


def attempts(failures: int) -> int:
    attempt = current_task().attempt
    if attempt < failures:
        raise ConnectionError("not yet")
    return attempt


#: The tasks of Machinery's suite, and a few for what it says of retries and of values.
TASKS = {
    "add": (add, {}),
    "multiply": (multiply, {}),
    "total": (total, {}),
    "just_error": (just_error, {}),
    "two_values": (two_values, {}),
    "oops": (oops, {}),
    "when": (when, {}),
    "same": (same, {}),
    "attempts": (attempts, {"retry": retry.fixed(0.01, max_retries=3)}),
}


@pytest.fixture
def urls(request, tmp_path):
    """From the name of a pair to the URLs of its broker and its backend, for as many apps as want to meet there."""

    def one(service, name):
        server = None if service in {"memory", "sqlite"} else request.getfixturevalue(_FIXTURES[service])
        return _URLS[service](server, name, tmp_path)

    def both(pair):
        name = f"m{os.getpid()}x{next(_numbers)}"
        broker, _, backend = pair.partition("+")
        url = one(broker, name)
        return url, one(backend, name) if backend else url

    return both


_FIXTURES = {"redis": "redis", "amqp": "rabbit", "sqs": "moto", "mongo": "mongo", "memcache": "memcached"}
_URLS = {
    "memory": lambda _, name, __: f"memory://{name}-{uuid4().hex}",
    "sqlite": lambda _, name, path: f"sqlite:///{path}/{name}.db?synchronous=normal",
    "redis": lambda server, name, _: f"{server.url}/0?namespace={name}",
    "amqp": lambda server, name, _: server.url(options=f"namespace={name}"),
    "sqs": lambda server, name, _: server.url(name),
    "mongo": lambda server, name, _: server.url(namespace=name),
    "memcache": lambda server, name, _: f"{server.url}?namespace={name}",
}


@pytest.fixture
def make(urls):
    """Makes apps with Machinery's tasks on a pair, closed in the end; all of one test and place meet."""
    made, places = [], {}

    def app_on(pair, *, only=None, place=0, **settings):
        if (pair, place) not in places:
            places[pair, place] = urls(pair)
        broker, backend = places[pair, place]
        app = App(broker, backend, **{"concurrency": 2, "poll_seconds": 0.05, **settings})
        hurry(app)
        made.append(app)
        for name, (function, options) in TASKS.items():
            if only is None or name in only:
                setattr(app, name, app.task(name=name, **options)(function))
        return app

    yield app_on
    for app in made:
        app.close()
