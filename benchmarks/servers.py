"""Private servers, started for one measurement and gone after it; the tests' own harness starts them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from place import Server

__all__ = ["running", "why_missing"]

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # for the package `services`


@contextmanager
def running(names: Sequence[str], directory: Path) -> Iterator[Mapping[str, Server]]:
    """The servers of these services, each on a free port, with nothing in it."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(_running(_MAKERS[name](directory / name))) for name in names}


def why_missing(name: str, directory: Path) -> str | None:
    """Why a service cannot be had here; None: it can."""
    from _pytest.outcomes import OutcomeException  # how the harness says so

    try:
        _MAKERS[name](directory / name)
    except (OutcomeException, ImportError) as missing:
        return str(missing)
    return None


@frozen
class _Made:
    """A server that the harness can start."""

    process: Any
    start: Callable[[], None]
    end: Callable[[], None]
    url: str


@contextmanager
def _running(made: _Made) -> Iterator[Server]:
    made.start()
    try:
        yield Server(url=made.url, pid=made.process.pid)
    finally:
        made.end()


def _redis(directory: Path) -> _Made:
    from services.redis import RedisServer

    # In memory, for all alike: what a flush to the disk takes would hide what the contestants take.
    server = RedisServer(directory, durable=False)
    return _Made(server.process, server.process.start, server.process.kill, server.url)


def _rabbitmq(directory: Path) -> _Made:
    from services.rabbitmq import RabbitServer

    server = RabbitServer(directory)
    return _Made(server.process, server.start, server.end, server.url())


def _mongodb(directory: Path) -> _Made:
    from services.mongodb import MongoServer

    server = MongoServer(directory)
    return _Made(server.process, server.start, server.kill, server.url())


def _memcached(directory: Path) -> _Made:
    from services.memcached import MemcachedServer

    server = MemcachedServer(directory, options=("-m", "1024"))  # what it has no room for, it drops
    return _Made(server.process, server.process.start, server.process.kill, server.url)


_MAKERS: Mapping[str, Callable[[Path], _Made]] = {
    "redis": _redis,
    "rabbitmq": _rabbitmq,
    "mongodb": _mongodb,
    "memcached": _memcached,
}
