"""Which server a URL means, and what to check when it is first reached."""

from __future__ import annotations

import logging
from contextlib import suppress

from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from drivetrain_redis.connection import Address, Client, ServerConnection, SingleClient, connecting
from drivetrain_redis.options import Options

__all__ = ["ServerCheck", "open_client"]

logger = logging.getLogger("drivetrain.redis")

#: Policies under which a full server never drops tasks. Our keys have no time to live before they have ended.
_SAFE_POLICIES = ("noeviction", "volatile-")


def open_client(options: Options) -> Client:
    """The client of a URL. Does no I/O."""
    check = ServerCheck(options)
    if options.cluster:
        from drivetrain_redis.cluster import ClusterClient

        return ClusterClient(options, check)
    if options.master:
        return SingleClient(options, lambda: find_master(options), check)
    address: Address = options.socket or options.hosts[0]
    return SingleClient(options, lambda: address, check)


def find_master(options: Options) -> Address:
    """The address of the present master, by redis-py's `Sentinel`.

    Raises:
        redis.ConnectionError: no sentinel knows it.
    """
    # Without retries: each sentinel is asked once, and core tries again.
    arguments = {**options.sentinel_arguments(), "retry": Retry(NoBackoff(), 0)}
    sentinel = Sentinel(options.hosts, sentinel_kwargs=arguments)  # type: ignore[no-untyped-call]
    try:
        with connecting(options):
            host, port = sentinel.discover_master(options.master)  # type: ignore[no-untyped-call]
    except MasterNotFoundError as error:
        # The text of redis-py's error may show passwords.
        hosts = ", ".join(f"{host}:{port}" for host, port in options.hosts)
        raise RedisConnectionError(
            f"none of the sentinels {hosts} knows a master {options.master!r} that is up; check that they run, "
            "that they watch this name, and sentinel_username and sentinel_password"
        ) from error
    finally:
        for client in sentinel.sentinels:
            client.close()
    return host, int(port)


class ServerCheck:
    """Checks each server when it is first reached, and logs a warning of settings that could lose tasks."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._warned: set[str] = set()
        self._checked: set[Address] = set()

    def __call__(self, connection: ServerConnection) -> None:
        """Check the server of a new connection.

        Raises:
            redis.ConnectionError: it is not the master that the sentinels name.
        """
        if self._options.master:
            role = connection.ask("ROLE")[0]
            if role != b"master":
                raise RedisConnectionError(f"the sentinels' master says that it is a {role.decode()}")
        if connection.address not in self._checked:
            self._checked.add(connection.address)
            # A user who lacks the permission for INFO gets no warning.
            with suppress(ResponseError):
                self._check_settings(connection)

    def _check_settings(self, connection: ServerConnection) -> None:
        settings = _fields(connection.ask("INFO", "memory")) | _fields(connection.ask("INFO", "persistence"))
        policy = settings.get("maxmemory_policy", "noeviction")
        if not policy.startswith(_SAFE_POLICIES):
            self._warn(
                f"its maxmemory-policy is {policy}: when its memory is full it drops tasks; set noeviction",
            )
        elif policy.startswith("volatile-"):
            self._warn(f"its maxmemory-policy is {policy}: when its memory is full it drops results; set noeviction")
        if settings.get("aof_enabled") == "0" and self._options.durability in {"process", "power"}:
            self._warn("it keeps no append-only file: a restart loses tasks; set appendonly yes")

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            logger.warning("%s: %s", self._options.shown, text)


def _fields(info: bytes | str) -> dict[str, str]:
    text = info if isinstance(info, str) else info.decode("utf-8", "replace")  # RESP3 has text
    lines = [line.partition(":") for line in text.splitlines()]
    return {name: value for name, _, value in lines if value}
