"""What a ``memcache://`` URL may say; the README lists the options with their units."""

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
    OptionReader,
    choice_option,
    evolve,
    namespace_option,
    read_options,
    redact,
    seconds_option,
    service_name,
    whole_number_option,
)

__all__ = ["DEFAULT_PORT", "Options", "Server"]

DEFAULT_PORT = 11211

#: No colon: it ends the prefix in a key. Keys have 250 bytes, of which names need their share.
_PREFIX_CHARACTERS = f"{ascii_uppercase}.-"
_MIB = 1024 * 1024
_ITEM_BYTES = whole_number_option(16 * 1024, 1024 * _MIB)
#: Longer paths of sockets Linux does not take.
_LONGEST_SOCKET_BYTES = 107

_READERS: Mapping[str, OptionReader] = {
    "namespace": namespace_option,
    "timeout_seconds": seconds_option(0.001, 86_400),
    "connect_timeout_seconds": seconds_option(0.001, 86_400),
    "item_bytes": _ITEM_BYTES,
    "largest_value_bytes": _ITEM_BYTES,
    "tls": choice_option("yes", "no"),
    "ca_file": str,
}


@frozen
class Server:
    """One Memcached: a host and a port, or the path of a unix socket."""

    host: str
    port: int = DEFAULT_PORT
    path: str = ""

    @property
    def name(self) -> str:
        """What it is called in messages; keys are spread by it, so that it is the same in every process."""
        return self.path or f"{self.host}:{self.port}"


@frozen(kw_only=True)
class Options:
    """A ``memcache://`` URL, checked. ``repr`` shows no secret."""

    servers: tuple[Server, ...]
    #: Any text; apps of different namespaces share the servers and do not meet.
    namespace: str = DEFAULT_NAMESPACE
    user: str = ""
    password: str = field(default="", repr=False)
    #: How long one exchange with a server may take.
    timeout_seconds: float = 5.0
    connect_timeout_seconds: float = 2.0
    #: The servers' largest item (their option -I).
    item_bytes: int = _MIB
    #: The largest payload that is taken; it is split over several items.
    largest_value_bytes: int = 8 * _MIB
    tls: bool = False
    #: A file of certificates to trust; empty: the system's.
    ca_file: str = ""

    @property
    def prefix(self) -> str:
        """What all keys begin with, followed by a colon."""
        return service_name(self.namespace, also=_PREFIX_CHARACTERS)

    def in_directory(self, directory: Path) -> Options:
        """The same with an absolute path of ``ca_file``: a relative one begins in ``directory``."""
        return evolve(self, ca_file=self.ca_file and str(directory / self.ca_file))

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
        servers, faults = _servers(parts) if parts.place else _socket(parts.path)
        options, wrong = read_options(parts.options, _READERS)
        faults += [*_secret_faults(parts), *wrong, *_together(options)]
        if faults:
            raise ConfigurationError(f"{redact(url)} is no URL of the memcache driver", faults)
        return cls(
            servers=servers,
            user=parts.user or "",
            password=parts.password or "",
            tls=options.pop("tls", "no") == "yes",
            **{"namespace": namespace, **options},
        )


def _socket(path: str) -> tuple[tuple[Server, ...], list[str]]:
    faults = []
    if not path.strip("/"):
        faults.append("it names no server; write memcache://host:11211, or memcache:///path/of/a/socket")
    elif "\0" in path or len(path.encode()) > _LONGEST_SOCKET_BYTES:
        faults.append(f"the path of its socket holds a NUL or is longer than {_LONGEST_SOCKET_BYTES} bytes")
    return (Server(host="", port=0, path=path),), faults


def _servers(parts: DriverUrl) -> tuple[tuple[Server, ...], list[str]]:
    hosts, faults = parts.hosts(port=DEFAULT_PORT)
    servers = tuple(Server(host=host.name.lower(), port=host.port) for host in hosts)
    if parts.path.strip("/"):
        faults.append("it has a path; Memcached has no databases, write ?namespace=… to keep apps apart")
    if len(set(servers)) != len(servers):
        faults.append("it names a server twice")
    return servers, faults


def _secret_faults(parts: DriverUrl) -> Iterator[str]:
    if parts.user is None:
        return
    if not parts.user or not parts.password:
        yield "of user and password it names only one"
    if re.search(r"[\s\0]", f"{parts.user}{parts.password}"):
        yield "Memcached takes no blanks in user and password"


def _together(options: Mapping[str, Any]) -> Iterator[str]:
    if options.get("ca_file") and options.get("tls") != "yes":
        yield "ca_file is for tls=yes"
