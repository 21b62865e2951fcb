"""The contestants of the benchmarks. A module is imported only in processes that run it: it would count as memory."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from attrs import frozen

from contestants.base import Contestant
from place import Place

__all__ = ["ENTRIES", "Entry"]


@frozen(kw_only=True)
class Entry:
    """One row of the tables."""

    name: str
    #: ``module:Class`` in this package.
    path: str
    #: Rows of one group are compared: they have the same servers, and equal durability.
    group: str
    #: Whose it is: ``drivetrain``, a peer's name, or ``ceiling``.
    system: str
    #: The services that it needs.
    services: tuple[str, ...] = ()
    #: Numbers of tasks that a worker runs at a time. In a full run, the one that drains fastest is taken for all
    #: measures; in a quick one the first, which was it before.
    concurrency: tuple[int, ...] = (1,)
    #: What part of each measure's tasks it gets, so that all take about as long. It changes no rate.
    share: float = 1.0
    #: Measures that it cannot take part in, or that mean nothing for it.
    without: frozenset[str] = frozenset()
    #: The only measures that it takes part in; empty: all.
    only: frozenset[str] = frozenset()
    #: What follows the name of this virtual environment in the name of its own, where it bears no company.
    environment: str = ""

    def make(self, place: Place, number: int = 0) -> Contestant:
        """The contestant, in its place."""
        module, _, name = self.path.partition(":")
        made: Contestant = getattr(import_module(f"contestants.{module}"), name)(place, number)
        made.entry = self.name
        return made

    def takes_part_in(self, measure: str) -> bool:
        """Whether this measure is taken of it."""
        if measure in _CHAINS and self.system not in _CHAINING:
            return False
        return measure not in self.without and (not self.only or measure in self.only)

    @property
    def python(self) -> Path:
        """The interpreter that has what it needs."""
        if not self.environment:
            return Path(sys.executable)
        home = Path(sys.prefix)
        return home.with_name(f"{home.name}-{self.environment}") / Path(sys.executable).relative_to(home)


_CHAINS, _CHAINING = frozenset({"chain_1000"}), frozenset({"drivetrain", "Celery"})
_CHORDS = frozenset({"chord_1000", "chord_10000", "group_100000"})
_LATER = frozenset({"eta", "delayed"})
#: Measures for those that have an interface for coroutines, and for those that have one for threads.
_COROUTINES, _SENDERS = frozenset({"coroutines"}), frozenset({"threads"})
_REDIS, _RABBIT = ("redis",), ("rabbitmq", "redis")
_THREADS = (1, 2, 4, 8)


def _backend(name: str, path: str, *services: str) -> Entry:
    """drivetrain with this backend, on the same broker as with the others."""
    return Entry(
        name=name,
        path=f"drivetrain_backends:{path}",
        group="backends",
        system="drivetrain",
        services=(*_REDIS, *services),
        only=frozenset({"chord_10000"}),
    )


def _telemetry(name: str, path: str) -> Entry:
    """drivetrain with this plugin, or with none."""
    return Entry(
        name=name,
        path=f"drivetrain_telemetry:{path}",
        group="telemetry",
        system="drivetrain",
        services=_REDIS,
        share=5,
        only=frozenset({"drain", "enqueue", "round_trip"}),
    )


#: In the order in which they run.
ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(
            name="drivetrain",
            path="drivetrain_on:Redis",
            group="redis",
            system="drivetrain",
            services=_REDIS,
            concurrency=_THREADS,
            share=5,
        ),
        Entry(
            name="Celery, prefork",
            path="celery_on:RedisPrefork",
            group="redis",
            system="Celery",
            services=_REDIS,
            concurrency=(1, 2),
            share=0.5,
            without=_COROUTINES,
        ),
        Entry(
            name="Celery, threads",
            path="celery_on:RedisThreads",
            group="redis",
            system="Celery",
            services=_REDIS,
            concurrency=(1, 2, 4),
            share=0.5,
            without=_COROUTINES,
        ),
        Entry(
            name="Dramatiq",
            path="dramatiq_on:Redis",
            group="redis",
            system="Dramatiq",
            services=_REDIS,
            concurrency=_THREADS,
            without=_COROUTINES,
        ),
        Entry(
            name="Taskiq, list",
            path="taskiq_on:RedisList",
            group="redis",
            system="Taskiq",
            services=_REDIS,
            concurrency=(100, 10, 1000),
            without=_CHORDS | _SENDERS,
        ),
        Entry(
            name="Taskiq, stream",
            path="taskiq_on:RedisStream",
            group="redis",
            system="Taskiq",
            services=_REDIS,
            concurrency=(100, 10, 1000),
            without=_CHORDS | _SENDERS,
        ),
        Entry(
            name="RQ",
            path="rq_on_redis:RQ",
            group="redis",
            system="RQ",
            services=_REDIS,
            share=0.1,
            without=_CHORDS | _COROUTINES,
        ),
        Entry(
            name="Huey",
            path="huey_on:Redis",
            group="redis",
            system="Huey",
            services=_REDIS,
            concurrency=_THREADS,
            without=_COROUTINES,
        ),
        Entry(
            name="arq",
            path="arq_on_redis:Arq",
            group="redis",
            system="arq",
            services=_REDIS,
            concurrency=(100, 10, 1000),
            without=_CHORDS | _SENDERS,
            environment="arq",
        ),
        Entry(
            name="ceiling, 100 at a time",
            path="redis_ceiling:Batches",
            group="redis",
            system="ceiling",
            services=_REDIS,
            share=10,
            without=_CHORDS | _LATER | _COROUTINES,
        ),
        Entry(
            name="ceiling, one by one",
            path="redis_ceiling:OneByOne",
            group="redis",
            system="ceiling",
            services=_REDIS,
            without=_CHORDS | _LATER | _COROUTINES,
        ),
        Entry(
            name="drivetrain, RabbitMQ",
            path="drivetrain_on:Rabbit",
            group="rabbitmq",
            system="drivetrain",
            services=_RABBIT,
            concurrency=_THREADS,
            share=2,
        ),
        Entry(
            name="Celery, RabbitMQ, prefork",
            path="celery_on:RabbitPrefork",
            group="rabbitmq",
            system="Celery",
            services=_RABBIT,
            concurrency=(1, 2),
            share=0.5,
            without=_COROUTINES,
        ),
        Entry(
            name="Celery, RabbitMQ, threads",
            path="celery_on:RabbitThreads",
            group="rabbitmq",
            system="Celery",
            services=_RABBIT,
            concurrency=(1, 2, 4),
            share=0.5,
            without=_COROUTINES,
        ),
        Entry(
            name="Dramatiq, RabbitMQ",
            path="dramatiq_on:Rabbit",
            group="rabbitmq",
            system="Dramatiq",
            services=_RABBIT,
            concurrency=_THREADS,
            without=_COROUTINES,
        ),
        Entry(
            name="Taskiq, RabbitMQ",
            path="taskiq_on:Rabbit",
            group="rabbitmq",
            system="Taskiq",
            services=_RABBIT,
            concurrency=(100, 10, 1000),
            without=_CHORDS | _SENDERS,
        ),
        # What it sends may be lost on the way: a mark to be measured by, and not compared with those that wait.
        Entry(
            name="Dramatiq, RabbitMQ, unconfirmed",
            path="dramatiq_on:RabbitUnconfirmed",
            group="rabbitmq, unconfirmed",
            system="Dramatiq",
            services=_RABBIT,
            concurrency=_THREADS,
            only=frozenset({"drain", "enqueue", "round_trip"}),
        ),
        Entry(
            name="drivetrain sqlite, full",
            path="drivetrain_on:SqliteFull",
            group="sqlite full",
            system="drivetrain",
            concurrency=_THREADS,
        ),
        Entry(
            name="Huey sqlite, fsync",
            path="huey_on:SqliteFsync",
            group="sqlite full",
            system="Huey",
            concurrency=_THREADS,
            without=_COROUTINES,
        ),
        Entry(
            name="drivetrain sqlite, normal",
            path="drivetrain_on:SqliteNormal",
            group="sqlite normal",
            system="drivetrain",
            concurrency=_THREADS,
        ),
        Entry(
            name="Huey sqlite, no fsync",
            path="huey_on:SqliteNoFsync",
            group="sqlite normal",
            system="Huey",
            concurrency=_THREADS,
            without=_COROUTINES,
        ),
        Entry(
            name="drivetrain memory",
            path="drivetrain_on:Memory",
            group="sqlite normal",
            system="drivetrain",
            concurrency=_THREADS,
            # What it keeps is in the process that would be weighed, and there is only this one.
            without=frozenset({"idle", "memory", "drain_two", "waiting", "delayed"}),
        ),
        _backend("backend memory", "InMemory"),
        _backend("backend sqlite", "InSqlite"),
        _backend("backend redis", "InRedis"),
        _backend("backend mongo", "InMongo", "mongodb"),
        _backend("backend memcache", "InMemcached", "memcached"),
        _telemetry("telemetry off", "Off"),
        _telemetry("telemetry prometheus", "Prometheus"),
        _telemetry("telemetry opentelemetry metrics", "OpenTelemetryMetrics"),
        _telemetry("telemetry opentelemetry", "OpenTelemetry"),
    )
}
