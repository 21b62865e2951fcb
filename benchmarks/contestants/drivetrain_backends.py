"""drivetrain with each of its backends, all behind the same broker: what differs is where results and groups are kept.

Each is set up as it comes, so they are not equally durable: `sqlite://` flushes every commit, `redis://` and
`memcache://` keep everything in memory here, and `memory://` is in the worker's own process.
"""

from __future__ import annotations

from typing import ClassVar

from contestants.drivetrain_on import Memory, Redis

__all__ = ["InMemcached", "InMemory", "InMongo", "InRedis", "InSqlite"]

_PACKAGES = ("drivetrain", "drivetrain-redis", "redis", "hiredis")


class InMemory(Memory):
    setup: ClassVar[str] = "`redis://` and `memory://`: sender and worker share one process"
    packages = _PACKAGES

    def urls(self) -> tuple[str, ...]:
        return (self.place.servers["redis"].url, "memory://")


class InSqlite(Redis):
    setup: ClassVar[str] = "`redis://` and `sqlite://`: every commit flushed to the disk"
    packages = _PACKAGES

    def urls(self) -> tuple[str, ...]:
        return (self.place.servers["redis"].url, f"sqlite:///{self.place.directory}/results.db")


class InRedis(Redis):
    setup: ClassVar[str] = "`redis://` for both, in memory only"


class InMongo(Redis):
    setup: ClassVar[str] = (
        "`redis://` and `mongodb://`: a `mongod` of one node if there is one on the path, else nx-27017, which is not "
        "MongoDB and says nothing of its speed"
    )
    packages = (*_PACKAGES, "drivetrain-mongo", "pymongo")

    def urls(self) -> tuple[str, ...]:
        return (self.place.servers["redis"].url, self.place.servers["mongodb"].url)


class InMemcached(Redis):
    setup: ClassVar[str] = "`redis://` and `memcache://`, with 1 GB"
    packages = (*_PACKAGES, "drivetrain-memcache", "pymemcache")

    def urls(self) -> tuple[str, ...]:
        return (self.place.servers["redis"].url, self.place.servers["memcached"].url)
