"""Counting what is kept. Memcached has no way to ask for the keys of a prefix, only for all: this is for operators."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from drivetrain.contract import Clock, ServiceRefused, ServiceUnavailable
from drivetrain_memcache import entries
from drivetrain_memcache.keys import Keys, Kind
from drivetrain_memcache.locks import Lock
from drivetrain_memcache.servers import Servers
from drivetrain_memcache.shards import Shard, sizes
from drivetrain_memcache.store import Store

__all__ = ["key_counts"]

#: How often a server that is busy with the same is asked again, and after how long, in seconds.
_TRIES = 200
_PAUSE_SECONDS = 0.02
#: Walks over the table of all items; where a server does not know that, over its lists, which may miss one that moves.
_WALKS = (b"lru_crawler metadump hash", b"lru_crawler metadump all")


def key_counts(servers: Servers, store: Store, keys: Keys, clock: Clock) -> Mapping[str, int]:
    """See `drivetrain.contract.Backend.counts`.

    Raises:
        ServiceRefused: a server does not let its keys be listed.
        ServiceUnavailable: a server was busy with the same for others all the time.
    """
    total = {"tasks": 0, "groups": 0, "members": 0, "bodies": 0, "locks": 0}
    for server in servers.names:
        for kind, count in _count(servers, store, keys, clock, server).items():
            total[kind] += count
    return total


def _count(servers: Servers, store: Store, keys: Keys, clock: Clock, server: str) -> dict[str, int]:
    names = _names(servers, server, clock, b"key=" + keys.all_begin_with.replace(b":", b"%3A"))
    of_kind = {kind: [name for name in names if keys.holds(kind, name)] for kind in Kind}
    found = store.beginnings(server, [*of_kind[Kind.ENTRY], *of_kind[Kind.LOCK]])
    now = clock.now()
    kept = [entries.live(entries.load("", found[name]), now) for name in of_kind[Kind.ENTRY] if found.get(name)]
    known = [one for one in kept if one is not None]
    groups = [one.group for one in known if one.group is not None]
    shards = [keys.numbered(Kind.SHARD, "", head.of, n).name for head in groups for n in range(len(sizes(head.size)))]
    done = [Shard.load(value).done for value in store.beginnings(server, shards).values()]
    locks = [Lock.load(found[name]) for name in of_kind[Kind.LOCK] if found.get(name)]
    return {
        "tasks": sum(one.record is not None for one in known),
        "groups": len(groups),
        "members": sum(done),
        "bodies": len(of_kind[Kind.BODY]),
        "locks": sum(lock.held(now) for lock in locks),
    }


def _names(servers: Servers, server: str, clock: Clock, beginning: bytes) -> list[bytes]:
    """The keys on a server whose lines begin so."""
    refusal = b""
    for walk in _WALKS:
        for _ in range(_TRIES):
            lines = servers.keys(server, walk)
            if not lines or lines[0].startswith(b"key="):
                mine = (line for line in lines if line.startswith(beginning))
                return [unquote_to_bytes(line[4 : line.index(b" ")]) for line in mine]
            refusal = lines[0]
            if not refusal.startswith(b"BUSY"):
                break
            clock.wait_event(threading.Event(), _PAUSE_SECONDS)
        else:
            raise ServiceUnavailable(f"memcached {server} lists its keys to somebody else all the time; try again")
    said = refusal.decode("ascii", "replace")
    raise ServiceRefused(f"memcached {server} does not list its keys, so that nothing can be counted: {said}")
