"""What a URL of this driver may say; the README has the table."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from difflib import get_close_matches
from urllib.parse import unquote

from attrs import field, frozen

from drivetrain.contract import ConfigurationError, DriverUrl, Durability, redact

__all__ = ["Options"]

_PORT = 6379
_SENTINEL_PORT = 26379
_LONGEST_SECONDS = 86_400.0

_TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_SENTINEL = ("sentinel_username", "sentinel_password")
_ALWAYS = ("prefix", "timeout_seconds", "connect_timeout_seconds", "durability", "wait_replicas")

_DEFAULTS = {
    "prefix": "drivetrain",
    "timeout_seconds": "15",
    "connect_timeout_seconds": "5",
    "durability": "process",
    "wait_replicas": "0",
    "db": "0",
    "ssl_cert_reqs": "required",
    "ssl_check_hostname": "true",
}
_TRUTH = {"true": True, "false": False}
_CERT_REQS = ("required", "optional", "none")


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
    #: What the names of all keys and channels begin with.
    prefix: str = _DEFAULTS["prefix"]
    #: How long a call may take until the server is said to be away, in seconds; and connecting.
    timeout_seconds: float = float(_DEFAULTS["timeout_seconds"])
    connect_timeout_seconds: float = float(_DEFAULTS["connect_timeout_seconds"])
    durability: Durability = Durability.PROCESS
    #: How many replicas must have a write before it is answered.
    wait_replicas: int = 0
    #: With TLS: the path of the authorities that are trusted (None: the system's), of the certificate that this client
    #: shows and of its key; whether the server must show one (required, optional, none), and whether of that host.
    trusted: str | None = None
    own_certificate: str | None = None
    own_key: str | None = None
    certificate: str = _DEFAULTS["ssl_cert_reqs"]
    checks_hostname: bool = True

    @property
    def store(self) -> str | None:
        """See `BrokerCapabilities.store`. On a cluster a task and its queue are on different nodes."""
        place = self.socket or ",".join(f"{host}:{port}" for host, port in self.hosts)
        return None if self.cluster else f"redis:{place}/{self.master}/{self.database}#{self.prefix}"

    @classmethod
    def parse(cls, url: str) -> Options:
        """Check ``url`` and take it apart.

        Raises:
            ConfigurationError: it is wrong; every fault is named.
        """
        parts = DriverUrl.parse(url)
        faults = [*_place_faults(parts), *_option_faults(parts)]
        if "#" in url:
            faults.append("it holds a #, after which a URL is not read on; write %23")
        if faults:
            raise ConfigurationError(f"{redact(url)} is no URL of the redis driver", faults)
        told = {**_DEFAULTS, **parts.options}
        username, password = _credentials(parts.netloc)
        path = [part for part in parts.path.split("/") if part]
        return cls(
            shown=parts.shown,
            hosts=() if _is_socket(parts) else tuple(_hosts(parts)),
            socket=parts.path if _is_socket(parts) else "",
            master=path[0] if _is_sentinel(parts) else "",
            cluster=parts.scheme.endswith("+cluster"),
            tls=parts.scheme.startswith("rediss"),
            database=int(_database(parts)),
            username=username,
            password=password,
            sentinel_username=told.get("sentinel_username"),
            sentinel_password=told.get("sentinel_password"),
            prefix=told["prefix"],
            timeout_seconds=float(told["timeout_seconds"]),
            connect_timeout_seconds=float(told["connect_timeout_seconds"]),
            durability=Durability(told["durability"]),
            wait_replicas=int(told["wait_replicas"]),
            trusted=told.get("ssl_ca_certs"),
            own_certificate=told.get("ssl_certfile"),
            own_key=told.get("ssl_keyfile"),
            certificate=told["ssl_cert_reqs"],
            checks_hostname=_TRUTH[told["ssl_check_hostname"]] and told["ssl_cert_reqs"] != "none",
        )


def _is_socket(parts: DriverUrl) -> bool:
    return parts.scheme in {"unix", "redis+socket"}


def _is_sentinel(parts: DriverUrl) -> bool:
    return parts.scheme.endswith("+sentinel")


def _credentials(netloc: str) -> tuple[str | None, str | None]:
    secret, _, _ = netloc.rpartition("@")
    username, _, password = secret.partition(":")
    return unquote(username) or None, unquote(password) or None


def _hosts(parts: DriverUrl) -> Iterator[tuple[str, int]]:
    default = _SENTINEL_PORT if _is_sentinel(parts) else _PORT
    for place in parts.netloc.rpartition("@")[2].split(","):
        # The host of an IPv6 address stands in brackets, and holds colons itself.
        found = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d+))?", place)
        if found is not None:
            yield found[1].strip("[]") or "localhost", int(found[2] or default)


def _database(parts: DriverUrl) -> str:
    path = [part for part in parts.path.split("/") if part]
    if _is_socket(parts):
        return parts.options.get("db", "0")
    place = 1 if _is_sentinel(parts) else 0
    return path[place] if len(path) > place else "0"


def _place_faults(parts: DriverUrl) -> Iterator[str]:
    places = parts.netloc.rpartition("@")[2].split(",")
    path = [part for part in parts.path.split("/") if part]
    if _is_socket(parts):
        yield from _socket_faults(parts, places)
        return
    if not all(re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]\s]*)(:\d{1,5})?", place) for place in places):
        yield "a host is written as name, name:port or [address]:port"
    if len(places) > 1 and parts.scheme in {"redis", "rediss"}:
        yield "it names several hosts; write redis+cluster://… or redis+sentinel://…"
    if _is_sentinel(parts) and not 1 <= len(path) <= 2:
        yield "it must name the master that the sentinels watch: redis+sentinel://host:26379/mymaster/0"
    if not _is_sentinel(parts) and len(path) > 1:
        yield "its path is more than the number of a database"
    if not _database(parts).isdecimal():
        yield f"the number of a database is a number, not {_database(parts)!r}"
    elif parts.scheme.endswith("+cluster") and _database(parts) != "0":
        yield "a cluster has the database 0 only"


def _socket_faults(parts: DriverUrl, places: list[str]) -> Iterator[str]:
    if places != [""]:
        yield "it names a host; write unix:///path/to/redis.sock, with three slashes"
    if not parts.path.strip("/"):
        yield "it names no socket; write unix:///path/to/redis.sock"
    if not _database(parts).isdecimal():
        yield f"db is the number of a database, not {_database(parts)!r}"


def _option_faults(parts: DriverUrl) -> Iterator[str]:
    names = [*_ALWAYS]
    names += _TLS if parts.scheme.startswith("rediss") else ()
    names += _SENTINEL if _is_sentinel(parts) else ()
    names += ("db",) if _is_socket(parts) else ()
    for name in parts.options:
        if name not in names:
            near = get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(names)}"
            yield f"there is no option {name!r} here; {hint}"
    told = {**_DEFAULTS, **parts.options}
    if not re.fullmatch(r"[A-Za-z0-9_.:-]+", told["prefix"]):
        yield f"prefix is made of letters, digits and _.:-, not {told['prefix']!r}"
    for name in ("timeout_seconds", "connect_timeout_seconds"):
        if not _is_timeout(told[name]):
            yield f"{name} is a number above 0 and up to 86400, not {told[name]!r}"
    if told["durability"] not in set(Durability):
        yield f"durability is one of {', '.join(Durability)}, not {told['durability']!r}"
    if not told["wait_replicas"].isdecimal():
        yield f"wait_replicas is a number, not {told['wait_replicas']!r}"
    if told["ssl_cert_reqs"] not in _CERT_REQS:
        yield f"ssl_cert_reqs is one of {', '.join(_CERT_REQS)}, not {told['ssl_cert_reqs']!r}"
    if "ssl_keyfile" in told and "ssl_certfile" not in told:
        yield "ssl_keyfile is the key of a certificate; name that too, as ssl_certfile"
    if told["ssl_check_hostname"] not in _TRUTH:
        yield f"ssl_check_hostname is true or false, not {told['ssl_check_hostname']!r}"


def _is_timeout(text: str) -> bool:
    try:
        seconds = float(text)
    except ValueError:
        return False
    return math.isfinite(seconds) and 0 < seconds <= _LONGEST_SECONDS
