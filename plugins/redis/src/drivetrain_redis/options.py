"""What a URL of this driver may say; the README has the table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from attrs import field, frozen

from drivetrain.contract import (
    DEFAULT_NAMESPACE,
    ConfigurationError,
    DriverUrl,
    Durability,
    OptionReader,
    boolean_option,
    choice_option,
    evolve,
    namespace_option,
    read_options,
    redact,
    seconds_option,
    service_name,
    whole_number_option,
)

__all__ = ["Options"]

_PORT = 6379
_SENTINEL_PORT = 26379
#: Redis counts databases in 32 bits; how many there are, the server's configuration says.
_HIGHEST_DATABASE = 2**31 - 1
#: Longer paths of sockets Linux does not take.
_LONGEST_SOCKET_BYTES = 107
_PREFIX_CHARACTERS = f"{ascii_uppercase}.:-"

_ALWAYS: Mapping[str, OptionReader] = {
    "namespace": namespace_option,
    "timeout_seconds": seconds_option(0.001, 86_400),
    "connect_timeout_seconds": seconds_option(0.001, 86_400),
    "durability": choice_option(*Durability),
    "wait_replicas": whole_number_option(0, 1000),
}
_TLS: Mapping[str, OptionReader] = {
    "ssl_ca_certs": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_cert_reqs": choice_option("required", "optional", "none"),
    "ssl_check_hostname": boolean_option,
}
_SENTINEL: Mapping[str, OptionReader] = {"sentinel_username": str, "sentinel_password": str}
_SOCKET: Mapping[str, OptionReader] = {"db": whole_number_option(0, _HIGHEST_DATABASE)}


@frozen(kw_only=True)
class Options:
    """A URL of this driver, checked. ``repr`` shows no secret."""

    #: The URL without its secrets, for messages.
    shown: str
    #: Host and port of the server, of the nodes of a cluster to begin with, or of the sentinels.
    hosts: tuple[tuple[str, int], ...] = ()
    #: The path of a unix socket; empty where `hosts` are named.
    socket: str = ""
    #: The name of the master that sentinels watch; empty where there are none.
    master: str = ""
    cluster: bool = False
    tls: bool = False
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    #: Any text; apps of different namespaces share a server and do not meet.
    namespace: str = DEFAULT_NAMESPACE
    #: How long a call may take until the server is said to be away, in seconds; and connecting.
    timeout_seconds: float = 15.0
    connect_timeout_seconds: float = 5.0
    durability: Durability = Durability.PROCESS
    #: How many replicas must have a write before it is answered.
    wait_replicas: int = 0
    #: With TLS: the path of the authorities that are trusted (None: the system's), of the certificate that this client
    #: shows and of its key; whether the server must show one (required, optional, none), and whether of that host.
    trusted: str | None = None
    own_certificate: str | None = None
    own_key: str | None = None
    certificate: str = "required"
    checks_hostname: bool = True

    def in_directory(self, directory: Path) -> Options:
        """The same with absolute paths of certificates: relative ones begin in ``directory``."""
        paths = {"trusted": self.trusted, "own_certificate": self.own_certificate, "own_key": self.own_key}
        return evolve(self, **{name: path and str(directory / path) for name, path in paths.items()})

    @property
    def prefix(self) -> str:
        """What the names of all keys and channels begin with. Holds nothing that a pattern or a hash tag is made of."""
        return service_name(self.namespace, also=_PREFIX_CHARACTERS)

    @property
    def store(self) -> str | None:
        """See `BrokerCapabilities.store`. On a cluster a task and its queue are on different nodes."""
        place = self.socket or ",".join(f"{host}:{port}" for host, port in self.hosts)
        return None if self.cluster else f"redis:{place}/{self.master}/{self.database}#{self.prefix}"

    @classmethod
    def parse(cls, url: str, namespace: str = DEFAULT_NAMESPACE) -> Options:
        """Check ``url`` and take it apart.

        Args:
            url: the URL.
            namespace: the namespace where the URL names none.

        Raises:
            ConfigurationError: it is wrong; every fault is named.
        """
        parts = DriverUrl.parse(url)
        path = [part for part in parts.path.split("/") if part]
        place, faults = _socket(parts) if _is_socket(parts) else _servers(parts, path)
        options, wrong = read_options(parts.options, _readers(parts))
        faults += [*wrong, *_together(options)]
        if faults:
            raise ConfigurationError(f"{redact(url)} is no URL of the redis driver", faults)
        trusts = options.pop("ssl_cert_reqs", "required")
        return cls(
            shown=parts.shown,
            cluster=parts.scheme.endswith("+cluster"),
            tls=parts.scheme.startswith("rediss"),
            username=parts.user or None,
            password=parts.password or None,
            trusted=options.pop("ssl_ca_certs", None),
            own_certificate=options.pop("ssl_certfile", None),
            own_key=options.pop("ssl_keyfile", None),
            certificate=trusts,
            checks_hostname=options.pop("ssl_check_hostname", True) and trusts != "none",
            database=options.pop("db", place.pop("database", 0)),
            durability=Durability(options.pop("durability", Durability.PROCESS)),
            **place,
            **{"namespace": namespace, **options},
        )


def _is_socket(parts: DriverUrl) -> bool:
    return parts.scheme in {"unix", "redis+socket"}


def _is_sentinel(parts: DriverUrl) -> bool:
    return parts.scheme.endswith("+sentinel")


def _readers(parts: DriverUrl) -> Mapping[str, OptionReader]:
    return {
        **_ALWAYS,
        **(_TLS if parts.scheme.startswith("rediss") else {}),
        **(_SENTINEL if _is_sentinel(parts) else {}),
        **(_SOCKET if _is_socket(parts) else {}),
    }


def _socket(parts: DriverUrl) -> tuple[dict[str, Any], list[str]]:
    faults = []
    if parts.place:
        faults.append("it names a host; write unix:///path/to/redis.sock, with three slashes")
    if not parts.path.strip("/"):
        faults.append("it names no socket; write unix:///path/to/redis.sock")
    elif "\0" in parts.path or len(parts.path.encode()) > _LONGEST_SOCKET_BYTES:
        faults.append(f"the path of its socket holds a NUL or is longer than {_LONGEST_SOCKET_BYTES} bytes")
    return {"socket": parts.path}, faults


def _servers(parts: DriverUrl, path: list[str]) -> tuple[dict[str, Any], list[str]]:
    sentinel = _is_sentinel(parts)
    hosts, faults = parts.hosts(port=_SENTINEL_PORT if sentinel else _PORT, name="localhost")
    if len(hosts) > 1 and parts.scheme in {"redis", "rediss"}:
        faults.append("it names several hosts; write redis+cluster://… or redis+sentinel://…")
    if sentinel and not 1 <= len(path) <= 2:
        faults.append("it must name the master that the sentinels watch: redis+sentinel://host:26379/mymaster/0")
    if not sentinel and len(path) > 1:
        faults.append("its path is more than the number of a database")
    number = "".join(path[1:2] if sentinel else path[:1]) or "0"
    faults += _database_faults(number, cluster=parts.scheme.endswith("+cluster"))
    place = {
        "hosts": tuple((host.name, host.port) for host in hosts),
        "master": path[0] if sentinel and path else "",
        "database": 0 if faults else int(number),
    }
    return place, faults


def _database_faults(number: str, *, cluster: bool) -> Iterator[str]:
    if not re.fullmatch("[0-9]{1,10}", number) or int(number) > _HIGHEST_DATABASE:
        yield f"the number of its database is {number!r}; use a whole number from 0 to {_HIGHEST_DATABASE}"
    elif cluster and int(number) != 0:
        yield "a cluster has the database 0 only"


def _together(options: Mapping[str, Any]) -> Iterator[str]:
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        yield "ssl_keyfile is the key of a certificate; name that too, as ssl_certfile"
