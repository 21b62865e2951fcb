"""The options of the driver: the ``memcache://`` URL and ``driver_options``, checked. The README has the table."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from attrs import field, frozen
from pymemcache.client.base import Client  # type: ignore[import-untyped]

from drivetrain.contract import (
    DEFAULT_NAMESPACE,
    TIMEOUT_OPTIONS,
    TLS_OPTIONS,
    ConfigurationError,
    DriverUrl,
    OptionReader,
    TlsOptions,
    boolean_option,
    check_driver_options,
    evolve,
    namespace_option,
    raise_for_faults,
    read_options,
    service_name,
    socket_path_faults,
    take_tls_options,
    whole_number_option,
)

__all__ = ["DEFAULT_PORT", "Options", "Server"]

DEFAULT_PORT = 11211

#: No colon: it ends the prefix of a key. Keys have 250 bytes at most, and names need their share.
_PREFIX_CHARACTERS = f"{ascii_uppercase}.-"
_MIB = 1024 * 1024
_ITEM_BYTES = whole_number_option(16 * 1024, 1024 * _MIB)

_READERS: Mapping[str, OptionReader] = {
    "namespace": namespace_option,
    **TIMEOUT_OPTIONS,
    "item_bytes": _ITEM_BYTES,
    "largest_value_bytes": _ITEM_BYTES,
    "tls": boolean_option,
    **TLS_OPTIONS,
}
_DRIVER_OPTIONS = ("socket_keepalive", "tls_context")


@frozen
class Server:
    """The address of one Memcached: a host and a port, or the path of a Unix socket."""

    host: str
    port: int = DEFAULT_PORT
    path: str = ""

    @property
    def name(self) -> str:
        """The name in messages. It also selects the keys of this server, so it is the same in every process."""
        return self.path or f"{self.host}:{self.port}"


@frozen(kw_only=True)
class Options:
    """The checked options of one URL. ``repr`` shows no secret."""

    servers: tuple[Server, ...]
    #: Any text; apps with different namespaces share the servers and do not meet.
    namespace: str = DEFAULT_NAMESPACE
    user: str = ""
    password: str = field(default="", repr=False)
    #: How long connecting to one server may take.
    connect_timeout_seconds: float = 2.0
    #: How long a server may be silent during a call.
    call_timeout_seconds: float = 5.0
    #: The largest item that the servers accept (their option -I).
    item_bytes: int = _MIB
    #: The largest payload that the backend accepts; it splits one over several items.
    largest_value_bytes: int = 8 * _MIB
    #: The certificates of TLS; None: the connections have no TLS, or the application's `tls_context`.
    tls: TlsOptions | None = None
    #: The application's own TLS settings.
    tls_context: ssl.SSLContext | None = field(default=None, repr=False)
    #: A `KeepaliveOpts` of pymemcache; None: the sockets have no TCP keepalive.
    socket_keepalive: Any = field(default=None, repr=False)

    @property
    def prefix(self) -> str:
        """The text before the first colon of all keys."""
        return service_name(self.namespace, also=_PREFIX_CHARACTERS)

    def in_directory(self, directory: Path) -> Options:
        """The same options with absolute paths of files: relative ones begin in ``directory``."""
        return self if self.tls is None else evolve(self, tls=self.tls.in_directory(directory))

    @classmethod
    def parse(
        cls, url: str, namespace: str = DEFAULT_NAMESPACE, driver_options: Mapping[str, Any] | None = None
    ) -> Options:
        """Read and check the options.

        Args:
            url: the URL.
            namespace: the namespace where the URL names none.
            driver_options: options that no URL can hold, by name: ``tls_context`` and ``socket_keepalive``.

        Raises:
            ConfigurationError: the URL or a driver option is wrong; it names every fault.
        """
        parts, objects = DriverUrl.parse(url), dict(driver_options or {})
        _check_objects(objects)
        servers, faults = _servers(parts) if parts.hosts_text else _socket(parts.path)
        options, wrong = read_options(parts.options, _READERS)
        wants_tls = options.pop("tls", False)
        tls, tls_faults = take_tls_options(options, tls=wants_tls, how="write tls=true")
        faults += [*_secret_faults(parts), *wrong, *tls_faults]
        if not parts.hosts_text:
            faults += _socket_faults(objects, tls=wants_tls)
        if wants_tls and "tls_context" in objects:
            faults.append("it says tls=true, and driver_options has a tls_context; use only one of them")
        raise_for_faults("memcache", parts, faults)
        return cls(
            servers=servers,
            user=parts.user or "",
            password=parts.password or "",
            tls=tls,
            **{"namespace": namespace, **options, **objects},
        )


def _servers(parts: DriverUrl) -> tuple[tuple[Server, ...], list[str]]:
    hosts, faults = parts.hosts(port=DEFAULT_PORT)
    servers = tuple(Server(host=host.name.lower(), port=host.port) for host in hosts)
    if parts.path.strip("/"):
        faults.append("it has a path, but Memcached has no databases; write ?namespace=… to keep apps apart")
    if len(set(servers)) != len(servers):
        faults.append("it names a server twice; name each server once")
    return servers, faults


def _socket(path: str) -> tuple[tuple[Server, ...], list[str]]:
    if not path.strip("/"):
        return (), ["it names no server; write memcache://host:11211, or memcache:///path/of/a/socket"]
    return (Server(host="", port=0, path=path),), socket_path_faults(path)


def _socket_faults(objects: Mapping[str, Any], *, tls: bool) -> Iterator[str]:
    if tls or "tls_context" in objects:
        yield "it asks for TLS over a Unix socket; use TLS with a host and a port"
    if "socket_keepalive" in objects:
        yield "driver_options has a socket_keepalive, which a Unix socket does not support; leave it out"


def _secret_faults(parts: DriverUrl) -> Iterator[str]:
    if parts.user is None:
        return
    if not parts.user or not parts.password:
        yield "it names only one of user and password; name both or neither"
    if re.search(r"[\s\0]", f"{parts.user}{parts.password}"):
        yield "its user or password contains a space or a NUL, which Memcached does not accept"


def _check_objects(objects: Mapping[str, Any]) -> None:
    """Check the driver options.

    Raises:
        ConfigurationError: a name is unknown, or an object is of the wrong type; it shows no value.
    """
    check_driver_options("memcache", objects, _DRIVER_OPTIONS)
    faults = []
    if "tls_context" in objects and not isinstance(objects["tls_context"], ssl.SSLContext):
        faults.append(f"tls_context is of type {type(objects['tls_context']).__name__}; use an ssl.SSLContext")
    try:
        Client(("", 0), socket_keepalive=objects.get("socket_keepalive"))  # checks it and does no I/O
    except (ValueError, SystemError) as error:
        faults.append(f"pymemcache refuses socket_keepalive: {error}")
    if faults:
        raise ConfigurationError("invalid driver_options for the memcache driver", faults)
