"""Where the server of a URL is, and what is asked of it when it is reached."""

from __future__ import annotations

import logging
from contextlib import suppress

import hiredis

from drivetrain_redis.errors import CLIENT_ERRORS, ConnectionLost
from drivetrain_redis.options import Options
from drivetrain_redis.server import Server, Single
from drivetrain_redis.wire import Address, Wire

__all__ = ["open_server"]

logger = logging.getLogger("drivetrain.redis")

#: Policies under which a full server drops nothing of ours. Our keys have no time to live, but for what has ended.
_SAFE_POLICIES = ("noeviction", "volatile-")


def open_server(options: Options) -> Server:
    """The server of a URL. Does no I/O."""
    if options.cluster:
        from drivetrain_redis.cluster import Cluster

        return Cluster(options, Check(options))
    if options.master:
        return Single(options, Sentinels(options), Check(options))
    address: Address = options.socket or options.hosts[0]
    return Single(options, lambda: address, Check(options))


class Sentinels:
    """Asks sentinels where the master is."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def __call__(self) -> Address:
        """Where the master is now.

        Raises:
            redis.ConnectionError: no sentinel knows.
        """
        told = []
        for host in self._options.hosts:
            try:
                found = self._ask(host)
            except CLIENT_ERRORS as error:
                told.append(f"{host[0]}:{host[1]}: {error}")
            else:
                if found is not None:
                    return found
                told.append(f"{host[0]}:{host[1]} knows no master {self._options.master!r}")
        raise ConnectionLost("no sentinel says where the master is (" + "; ".join(told) + ")")

    def _ask(self, host: tuple[str, int]) -> Address | None:
        wire = Wire(self._options, host, sentinel=True)
        try:
            found = wire.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._options.master)
        finally:
            wire.close()
        return None if found is None else (found[0].decode(), int(found[1]))


class Check:
    """What is asked of a server when it is first reached: warns of settings that could lose tasks."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._warned: set[str] = set()
        self._asked: set[Address] = set()

    def __call__(self, wire: Wire) -> None:
        """Look at a new connection.

        Raises:
            redis.ConnectionError: it is not the master that the sentinels told of.
        """
        if self._options.master:
            role = wire.ask("ROLE")[0]
            if role != b"master":
                raise ConnectionLost(f"what the sentinels call the master says that it is a {role.decode()}")
        if wire.address not in self._asked:
            self._asked.add(wire.address)
            # Whoever may not ask is not warned, and works all the same.
            with suppress(hiredis.ReplyError):
                self._look(wire)

    def _look(self, wire: Wire) -> None:
        told = _fields(wire.ask("INFO", "memory")) | _fields(wire.ask("INFO", "persistence"))
        policy = told.get("maxmemory_policy", "noeviction")
        if not policy.startswith(_SAFE_POLICIES):
            self._warn(
                f"its maxmemory-policy is {policy}: when its memory is full it drops tasks; set noeviction",
            )
        elif policy.startswith("volatile-"):
            self._warn(f"its maxmemory-policy is {policy}: when its memory is full it drops results; set noeviction")
        if told.get("aof_enabled") == "0" and self._options.durability in {"process", "power"}:
            self._warn("it keeps no append-only file: when it is restarted tasks are lost; set appendonly yes")

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            logger.warning("%s: %s", self._options.shown, text)


def _fields(info: bytes) -> dict[str, str]:
    lines = [line.partition(":") for line in info.decode("utf-8", "replace").splitlines()]
    return {name: value for name, _, value in lines if value}
