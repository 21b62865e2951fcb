"""The options of this driver: those of its URL, and those that only an app can pass. The README has the tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from attrs import field, frozen

from drivetrain.contract import (
    DEFAULT_NAMESPACE,
    INDEX_OPTIONS,
    TIMEOUT_OPTIONS,
    TLS_OPTIONS,
    DriverUrl,
    Durability,
    OptionReader,
    TaskReach,
    TlsOptions,
    boolean_option,
    check_driver_options,
    choice_option,
    evolve,
    file_option,
    namespace_option,
    raise_for_faults,
    read_options,
    seconds_option,
    service_name,
    socket_path_faults,
    take_tls_options,
    whole_number_option,
)

__all__ = ["Options"]

_PORT = 6379
_SENTINEL_PORT = 26379
#: Redis counts databases in 32 bits; the server's configuration says how many there are.
_HIGHEST_DATABASE = 2**31 - 1
_PREFIX_CHARACTERS = f"{ascii_uppercase}.:-"
#: Larger than redis-py's own: a receive answers with many messages.
_READ_BYTES = 65_536


def _client_name(text: str) -> str:
    if not re.fullmatch("[!-~]*", text):
        raise ValueError(f"is {text!r}; use ASCII characters without spaces")
    return text


_ALWAYS: Mapping[str, OptionReader] = {
    "namespace": namespace_option,
    **TIMEOUT_OPTIONS,
    "health_check_seconds": seconds_option(0, 86_400),
    "client_name": _client_name,
    "protocol": choice_option("2", "3"),
    "durability": choice_option(*Durability),
    "wait_replicas": whole_number_option(0, 1000),
    **INDEX_OPTIONS,
}
#: `TLS_OPTIONS` are read for every URL, so that a fault says where they belong.
_TLS: Mapping[str, OptionReader] = {
    "ca_path": file_option,
    "verify_hostname": boolean_option,
    "verify_ocsp": boolean_option,
}
_SENTINEL: Mapping[str, OptionReader] = {"sentinel_username": str, "sentinel_password": str}
_SOCKET: Mapping[str, OptionReader] = {"db": whole_number_option(0, _HIGHEST_DATABASE)}

#: What `DriverContext.options` may hold: arguments of redis-py's connections, by their names there.
_DRIVER_OPTIONS = ("credential_provider",)
#: The same, for TLS.
_DRIVER_TLS_OPTIONS = (
    "ssl_ca_data",
    "ssl_password",
    "ssl_min_version",
    "ssl_ciphers",
    "ssl_validate_ocsp_stapled",
    "ssl_ocsp_context",
    "ssl_ocsp_expected_cert",
)


@frozen(kw_only=True)
class Options:
    """The checked options of one driver object. ``repr`` shows no secret."""

    #: The URL without its secrets, for messages.
    shown: str
    #: Host and port of the server, of some nodes of a cluster, or of the sentinels.
    hosts: tuple[tuple[str, int], ...] = ()
    #: The path of a unix socket; empty where `hosts` are named.
    socket: str = ""
    #: The name of the master that sentinels watch; empty without sentinels.
    master: str = ""
    cluster: bool = False
    #: None: without TLS.
    tls: TlsOptions | None = None
    #: For TLS: a directory of certificate authorities to trust, in PEM; None: none.
    ca_path: str | None = None
    #: For TLS: whether the server's certificate must be of its host name, and be declared valid by OCSP.
    verify_hostname: bool = True
    verify_ocsp: bool = False
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    #: Any text; apps of different namespaces share a server without meeting.
    namespace: str = DEFAULT_NAMESPACE
    #: The time-outs of a call and of connecting, in seconds.
    call_timeout_seconds: float = 15.0
    connect_timeout_seconds: float = 5.0
    #: A connection that was idle for longer is checked by PING before it is used; 0: never.
    health_check_seconds: float = 0.0
    client_name: str = "drivetrain"
    #: The version of the Redis protocol (RESP).
    protocol: int = 2
    durability: Durability = Durability.PROCESS
    #: How many replicas must have a write before its call returns.
    wait_replicas: int = 0
    #: Which tasks the backend indexes, and so can list without a scan: all that have ended, or the failed ones.
    index: TaskReach = TaskReach.FAILED
    #: Arguments of redis-py's connections that no URL can hold.
    driver_options: Mapping[str, Any] = field(factory=dict, repr=False)

    def in_directory(self, directory: Path) -> Options:
        """The same with absolute paths of certificates: relative ones begin in ``directory``."""
        tls = self.tls and self.tls.in_directory(directory)
        return evolve(self, tls=tls, ca_path=self.ca_path and str(directory / self.ca_path))

    @property
    def prefix(self) -> str:
        """The start of all names of keys and channels. Has no character of a pattern or a hash tag."""
        return service_name(self.namespace, also=_PREFIX_CHARACTERS)

    @property
    def store(self) -> str | None:
        """See `BrokerCapabilities.store`. On a cluster a task and its queue are on different nodes."""
        # The case of a host does not matter, nor does the order of sentinels.
        server = self.socket or ",".join(sorted(f"{host.lower()}:{port}" for host, port in self.hosts))
        return None if self.cluster else f"redis:{server}/{self.master}/{self.database}#{self.prefix}"

    def connection_arguments(self) -> dict[str, Any]:
        """The arguments of redis-py's connections to a server, all but its address."""
        return {
            **self._common_arguments(),
            "db": self.database,
            "username": self.username,
            "password": self.password,
            "socket_read_size": _READ_BYTES,
            "health_check_interval": self.health_check_seconds,
            # A server whose machine is gone says nothing; a thread that waits for long notices by this.
            **({} if self.socket else {"socket_keepalive": True}),
            **{name: value for name, value in self.driver_options.items() if name in _DRIVER_OPTIONS},
        }

    def sentinel_arguments(self) -> dict[str, Any]:
        """The arguments of redis-py's clients of the sentinels, all but their addresses."""
        return {
            **self._common_arguments(),
            "username": self.sentinel_username,
            "password": self.sentinel_password,
            "ssl": self.tls is not None,
        }

    def _common_arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "client_name": self.client_name,
            "protocol": self.protocol,
            "socket_timeout": self.call_timeout_seconds,
            "socket_connect_timeout": self.connect_timeout_seconds,
        }
        if self.tls:
            arguments |= {
                "ssl_ca_certs": self.tls.ca_file or None,
                "ssl_ca_path": self.ca_path,
                "ssl_certfile": self.tls.cert_file or None,
                "ssl_keyfile": self.tls.key_file or None,
                "ssl_cert_reqs": "required" if self.tls.verify else "none",
                "ssl_check_hostname": self.tls.verify and self.verify_hostname,
                "ssl_validate_ocsp": self.verify_ocsp,
                **{name: value for name, value in self.driver_options.items() if name in _DRIVER_TLS_OPTIONS},
            }
        return arguments

    @classmethod
    def parse(
        cls, url: str, namespace: str = DEFAULT_NAMESPACE, driver_options: Mapping[str, Any] | None = None
    ) -> Options:
        """Check ``url`` and ``driver_options``.

        Args:
            url: the URL.
            namespace: the namespace where the URL names none.
            driver_options: `DriverContext.options`.

        Raises:
            ConfigurationError: some are wrong; every fault is named.
        """
        parts = DriverUrl.parse(url)
        path = [part for part in parts.path.split("/") if part]
        server, faults = _socket(parts) if _is_socket(parts) else _servers(parts, path)
        options, wrong = read_options(parts.options, _readers(parts))
        passed = dict(driver_options or {})
        check_driver_options("redis", passed, (*_DRIVER_OPTIONS, *_DRIVER_TLS_OPTIONS))
        how = "write rediss://… or rediss+sentinel://… or rediss+cluster://…"
        tls, tls_faults = take_tls_options(options, tls=parts.scheme.startswith("rediss"), how=how)
        faults += [*wrong, *tls_faults, *_provider_faults(passed.get("credential_provider"), parts)]
        raise_for_faults("redis", parts, faults)
        return cls(
            shown=parts.shown,
            cluster=parts.scheme.endswith("+cluster"),
            tls=tls,
            username=parts.user or None,
            password=parts.password or None,
            database=options.pop("db", server.pop("database", 0)),
            durability=Durability(options.pop("durability", Durability.PROCESS)),
            index=TaskReach(options.pop("index", TaskReach.FAILED)),
            protocol=int(options.pop("protocol", "2")),
            driver_options=passed,
            **server,
            **{"namespace": namespace, **options},
        )


def _is_socket(parts: DriverUrl) -> bool:
    return parts.scheme in {"unix", "redis+socket"}


def _is_sentinel(parts: DriverUrl) -> bool:
    return parts.scheme.endswith("+sentinel")


def _readers(parts: DriverUrl) -> Mapping[str, OptionReader]:
    return {
        **_ALWAYS,
        **TLS_OPTIONS,
        **(_TLS if parts.scheme.startswith("rediss") else {}),
        **(_SENTINEL if _is_sentinel(parts) else {}),
        **(_SOCKET if _is_socket(parts) else {}),
    }


def _socket(parts: DriverUrl) -> tuple[dict[str, Any], list[str]]:
    faults = []
    if parts.hosts_text:
        faults.append("it names a host; write unix:///path/to/redis.sock, with three slashes")
    if not parts.path.strip("/"):
        faults.append("it names no socket; write unix:///path/to/redis.sock")
    return {"socket": parts.path}, [*faults, *socket_path_faults(parts.path)]


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
    server = {
        "hosts": tuple((host.name, host.port) for host in hosts),
        "master": path[0] if sentinel and path else "",
        "database": 0 if faults else int(number),
    }
    return server, faults


def _database_faults(number: str, *, cluster: bool) -> Iterator[str]:
    if not re.fullmatch("[0-9]{1,10}", number) or int(number) > _HIGHEST_DATABASE:
        yield f"the number of its database is {number!r}; use a whole number from 0 to {_HIGHEST_DATABASE}"
    elif cluster and int(number) != 0:
        yield "a cluster has the database 0 only"


def _provider_faults(provider: Any, parts: DriverUrl) -> Iterator[str]:
    if provider is None:
        return
    if not hasattr(provider, "get_credentials"):
        yield "driver_options: credential_provider has no get_credentials(); pass a redis.CredentialProvider"
    if parts.user or parts.password:
        yield "it names a user or a password, and driver_options a credential_provider; use one of them"
