"""The options of the driver: from an ``amqp://`` URL and ``driver_options`` to pika's ``ConnectionParameters``."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any, TypeAlias

from attrs import field, frozen
from pika import ConnectionParameters, PlainCredentials, SSLOptions
from pika.connection import Parameters
from pika.credentials import ExternalCredentials

from drivetrain.contract import (
    DEFAULT_NAMESPACE,
    TIMEOUT_OPTIONS,
    TLS_OPTIONS,
    DriverUrl,
    Host,
    OptionReader,
    TlsOptions,
    check_driver_options,
    choice_option,
    evolve,
    namespace_option,
    raise_for_faults,
    read_hosts,
    read_options,
    seconds_option,
    service_name,
    take_tls_options,
    whole_number_option,
)

__all__ = ["AccessToken", "ClientOptions", "Options", "TokenSource", "connection_parameters"]

_PORTS = {"amqp": 5672, "amqps": 5671}
#: RabbitMQ reserves names that begin with this.
_RESERVED = "amq."
_LONGEST_PART_BYTES = 60
#: No dot, so that no name begins with ``amq.``.
_NAMESPACE_CHARACTERS = f"{ascii_uppercase}-"
_CONNECTING = (*TLS_OPTIONS, "heartbeat_seconds", "connect_timeout_seconds")


@frozen
class AccessToken:
    """An OAuth 2 access token, with which a connection logs in. ``repr`` does not show it."""

    value: str = field(repr=False)
    #: For how many seconds from now RabbitMQ accepts it. The driver asks for the next one after 80 % of this time.
    lifetime_seconds: float


#: Returns a valid token. The driver calls it in a thread of its own, or in one that connects.
TokenSource: TypeAlias = Callable[[], AccessToken]


@frozen(kw_only=True, repr=False)
class ClientOptions:
    """What the application passes as ``driver_options={"amqp": …}``: objects of pika's, which no URL can hold."""

    #: How to connect, in place of the URL's hosts, user, virtual host and TLS; tried in turn.
    parameters: Sequence[Parameters] = ()
    #: In place of the URL's user and password.
    credentials: PlainCredentials | ExternalCredentials | None = None
    #: In place of the URL's files of certificates.
    ssl_options: SSLOptions | None = None
    #: Shown by RabbitMQ for each connection, besides the driver's own. ``connection_name`` replaces the driver's.
    client_properties: Mapping[str, Any] = field(factory=dict)
    #: Where access tokens come from, in place of a password (OAuth 2).
    token: TokenSource | None = None

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> tuple[ClientOptions, list[str]]:
        """The options, and a sentence for each wrong value, which does not show it.

        Raises:
            ConfigurationError: a name is unknown.
        """
        check_driver_options("amqp", given, _CLIENT_OPTIONS)
        values = {name: value for name, value in given.items() if value is not None}
        if isinstance(values.get("parameters"), Parameters):
            values["parameters"] = (values["parameters"],)
        faults = [
            f"driver_options['amqp'][{name!r}] is of type {type(value).__name__}; pass {_CLIENT_OPTIONS[name][1]}"
            for name, value in values.items()
            if not _CLIENT_OPTIONS[name][0](value)
        ]
        return (cls() if faults else cls(**values)), faults


def _are_parameters(value: object) -> bool:
    return (
        isinstance(value, Sequence)
        and bool(value)
        and all(isinstance(each, Parameters) and not callable(each.heartbeat) for each in value)
    )


#: For each name: whether a value fits, and what to pass.
_CLIENT_OPTIONS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "parameters": (
        _are_parameters,
        "pika's ConnectionParameters or URLParameters, or a list of them, with a heartbeat that is a number or None",
    ),
    "credentials": (
        lambda value: isinstance(value, PlainCredentials | ExternalCredentials),
        "pika's PlainCredentials or ExternalCredentials",
    ),
    "ssl_options": (lambda value: isinstance(value, SSLOptions), "pika's SSLOptions"),
    "client_properties": (lambda value: isinstance(value, Mapping), "a dict"),
    "token": (callable, "a function that returns a drivetrain_amqp.AccessToken"),
}


@frozen(kw_only=True)
class Options:
    """The checked options of an ``amqp://`` URL. ``repr`` shows no secret."""

    hosts: tuple[Host, ...]
    #: The certificates; None: the URL does not use TLS.
    tls: TlsOptions | None = None
    vhost: str = "/"
    user: str = field(default="guest", repr=False)
    password: str = field(default="guest", repr=False)
    #: Any text. Apps of different namespaces share the virtual host and do not see each other's queues.
    namespace: str = DEFAULT_NAMESPACE
    #: ``classic`` or ``quorum``.
    queue_type: str = "classic"
    #: ``lazy`` or ``default``: what a classic queue keeps in memory, before RabbitMQ 3.12.
    queue_mode: str = "lazy"
    #: The highest priority, from 0.
    max_priority: int = 9
    #: More arguments for the declaration of task queues.
    queue_arguments: Mapping[str, Any] = field(factory=dict)
    #: The exchange for tasks; empty: RabbitMQ's default exchange.
    exchange: str = ""
    #: ``direct`` or ``topic``.
    exchange_type: str = "direct"
    #: The key that binds a queue to the exchange; ``{queue}`` stands for the queue's name.
    binding_key: str = "{queue}"
    #: The most messages that one `receive` takes from RabbitMQ; 0: as many as its caller asked for.
    prefetch: int = 0
    #: RabbitMQ counts as lost after twice this time without a byte; 0: never.
    heartbeat_seconds: float = 30.0
    #: The time limit for connecting to one host and logging in.
    connect_timeout_seconds: float = 10.0
    #: The time limit for RabbitMQ's answer to a call.
    call_timeout_seconds: float = 30.0
    #: How long publishers wait while RabbitMQ is short of memory or disk space.
    blocked_timeout_seconds: float = 300.0
    #: RabbitMQ's ``consumer_timeout``, after which it takes back an unacknowledged message; None: never.
    consumer_timeout_seconds: float | None = 1800.0
    #: The driver refuses larger messages. RabbitMQ's ``max_message_size`` is 128 MiB, since 4.0 16 MiB.
    largest_message_bytes: int = 16_000_000
    #: The management plugin, as ``http://user:password@host:15672``; empty: none.
    management_url: str = field(default="", repr=False)
    #: What the application passes in ``driver_options``.
    client: ClientOptions = field(factory=ClientOptions, repr=False)

    @property
    def service_namespace(self) -> str:
        """The namespace in the names of queues and exchanges; empty: names without a namespace."""
        if self.namespace == DEFAULT_NAMESPACE:
            return ""
        return service_name(self.namespace, also=_NAMESPACE_CHARACTERS, longest=_LONGEST_PART_BYTES)

    @property
    def priority_levels(self) -> int:
        """The number of priorities."""
        return self.max_priority + 1

    @property
    def quorum(self) -> bool:
        """Whether task queues are quorum queues."""
        return self.queue_type == "quorum"

    def in_directory(self, directory: Path) -> Options:
        """The same options with absolute file paths: relative paths start in ``directory``."""
        return evolve(self, tls=self.tls and self.tls.in_directory(directory))

    @classmethod
    def parse(
        cls, url: str, namespace: str = DEFAULT_NAMESPACE, driver_options: Mapping[str, Any] | None = None
    ) -> Options:
        """Parse and check a URL, with what the application passes besides.

        Args:
            url: the URL.
            namespace: the namespace of a URL without the option ``namespace``.
            driver_options: see `ClientOptions`.

        Raises:
            ConfigurationError: something is wrong; the error lists every fault, and no secret.
        """
        parts = DriverUrl.parse(url)
        client, faults = ClientOptions.read(driver_options or {})
        options, wrong = read_options(parts.options, _READERS)
        faults += wrong
        if not faults:
            faults += _conflicts(parts, options, client)
        known, wrong = _target_of_parameters(client) if client.parameters else _target_of_url(parts)
        faults += wrong
        if not client.parameters:
            known["tls"], wrong = take_tls_options(options, tls=parts.scheme == "amqps", how="write amqps://…")
            faults += wrong
        raise_for_faults("amqp", parts, faults)
        if isinstance(client.credentials, PlainCredentials):
            known |= _login(client.credentials)
        if options.get("queue_type") == "quorum":
            options.setdefault("max_priority", 0)
        return cls(client=client, **{"namespace": namespace, **known, **options})


def _target_of_url(parts: DriverUrl) -> tuple[dict[str, Any], list[str]]:
    hosts, faults = parts.hosts(port=_PORTS.get(parts.scheme, 5672))
    known: dict[str, Any] = {"hosts": hosts}
    if parts.user is not None:
        known["user"] = parts.user
        known["password"] = parts.password or ""
    # DriverUrl has unquoted the path: amqp://host/%2F names the virtual host /, as amqp://host and amqp://host/ do.
    known["vhost"] = parts.path[1:] or "/"
    if len(known["vhost"].encode(errors="replace")) > 255:
        faults.append("the name of its virtual host is longer than 255 bytes")
    return known, faults


def _target_of_parameters(client: ClientOptions) -> tuple[dict[str, Any], list[str]]:
    first = client.parameters[0]
    known: dict[str, Any] = {
        "hosts": tuple(Host(each.host, each.port) for each in client.parameters),
        "vhost": first.virtual_host,
    }
    if isinstance(first.credentials, PlainCredentials):
        known |= _login(first.credentials)
    return known, []


def _login(credentials: PlainCredentials) -> dict[str, str]:
    return {"user": credentials.username or "", "password": credentials.password or ""}


def _conflicts(parts: DriverUrl, options: Mapping[str, Any], client: ClientOptions) -> Iterator[str]:
    exchange, kind = options.get("exchange", ""), options.get("exchange_type")
    if not exchange and (kind or "binding_key" in options):
        yield "exchange_type and binding_key need an exchange; add exchange=…"
    if options.get("queue_type") == "quorum" and "queue_mode" in options:
        yield "queue_mode is for classic queues; remove it"
    if client.ssl_options and parts.scheme != "amqps" and not client.parameters:
        yield "driver_options['amqp']['ssl_options'] needs TLS; write amqps://…"
    if client.ssl_options and (given := [name for name in TLS_OPTIONS if name in options]):
        yield f"{', '.join(given)} and driver_options['amqp']['ssl_options'] both configure TLS; remove one"
    if client.token and client.credentials:
        yield "driver_options['amqp'] has token and credentials; pass one of them"
    if client.parameters:
        yield from _conflicts_of_parameters(parts, options, client)


def _conflicts_of_parameters(parts: DriverUrl, options: Mapping[str, Any], client: ClientOptions) -> Iterator[str]:
    in_url = [name for name in _CONNECTING if name in options]
    in_url += [name for name, given in (("a user", parts.user), ("a virtual host", parts.path[1:])) if given]
    if in_url:
        yield f"the URL has {', '.join(in_url)}; set it in driver_options['amqp']['parameters']"
    for name in ("credentials", "ssl_options", "client_properties"):
        if getattr(client, name):
            yield f"driver_options['amqp'] has parameters and {name}; set {name} in the parameters"


def connection_parameters(options: Options, *, name: str, token: str = "") -> list[Parameters]:
    """The parameters of pika for each host, in the order to try. Reads the files of certificates.

    Args:
        options: the options.
        name: the connection's name in RabbitMQ, unless the application passes another ``connection_name``.
        token: the access token to log in with; empty: the credentials of the options.

    Raises:
        ConfigurationError: a file of certificates cannot be read.
    """
    client = options.client
    found = [copy.copy(each) for each in client.parameters] or _parameters_of_url(options)
    for each in found:
        if token:
            each.credentials = PlainCredentials("", token)
        each.client_properties = {
            "connection_name": name,
            **(each.client_properties or {}),
            **client.client_properties,
        }
        if each.blocked_connection_timeout is None:
            each.blocked_connection_timeout = options.blocked_timeout_seconds
    return found


def _parameters_of_url(options: Options) -> list[Parameters]:
    tls = (options.client.ssl_options or SSLOptions(options.tls.context())) if options.tls else None
    return [
        ConnectionParameters(
            host=host.name,
            port=host.port,
            virtual_host=options.vhost,
            credentials=options.client.credentials or _credentials(options),
            heartbeat=max(1, round(options.heartbeat_seconds)) if options.heartbeat_seconds else 0,
            ssl_options=tls,
            socket_timeout=options.connect_timeout_seconds,
            stack_timeout=options.connect_timeout_seconds,
            blocked_connection_timeout=options.blocked_timeout_seconds,
        )
        for host in options.hosts
    ]


def _credentials(options: Options) -> PlainCredentials | ExternalCredentials:
    if options.tls and options.tls.cert_file and not options.password:
        return ExternalCredentials()  # the certificate says who connects
    return PlainCredentials(options.user, options.password)


def _consumer_timeout(text: str) -> float | None:
    return None if text == "none" else seconds_option(0.001, 1e9)(text)


def _name(text: str) -> str:
    if text.startswith(_RESERVED):
        raise ValueError(f"is {text!r}; RabbitMQ reserves names that begin with {_RESERVED}: use another one")
    if "~" in text or not text.isprintable() or len(text.encode()) > _LONGEST_PART_BYTES:
        raise ValueError(f"is {text!r}; use up to {_LONGEST_PART_BYTES} bytes of printable text without ~")
    return text


def _binding_key(text: str) -> str:
    # With one key for all queues RabbitMQ would copy a message to each of them.
    if text.count("{queue}") != 1:
        raise ValueError(f"is {text!r}; write {{queue}} once in it, for the name of the queue, like tasks.{{queue}}")
    rest = text.replace("{queue}", "")
    if "*" in rest or "#" in rest:
        raise ValueError(f"is {text!r}; remove * and #: RabbitMQ would copy a message to several queues")
    return _name(text)


def _arguments(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in filter(None, text.split(",")):
        name, colon, value = pair.partition(":")
        if not colon or not name:
            raise ValueError(f"has {pair!r}; write name:value,name:value, like x-max-length:10000")
        if name in _OWN_ARGUMENTS:
            raise ValueError(f"has {name}; use the option {_OWN_ARGUMENTS[name]}")
        found[name] = _value(value)
    return found


#: Arguments of a queue that have an option of their own.
_OWN_ARGUMENTS = {"x-queue-type": "queue_type", "x-queue-mode": "queue_mode", "x-max-priority": "max_priority"}


def _value(text: str) -> Any:
    if re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    return {"true": True, "false": False}.get(text, text)


def _management(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    hosts, faults = read_hosts(rest.partition("/")[0].rpartition("@")[2], port=15672)
    if scheme not in {"http", "https"} or not separator or faults or len(hosts) != 1:
        raise ValueError("is not a URL; write http://user:password@host:15672, percent-encoded")
    return text.rstrip("/")


_READERS: Mapping[str, OptionReader] = {
    **TIMEOUT_OPTIONS,
    **TLS_OPTIONS,
    "namespace": namespace_option,
    "queue_type": choice_option("classic", "quorum"),
    "queue_mode": choice_option("lazy", "default"),
    "max_priority": whole_number_option(0, 255),
    "queue_arguments": _arguments,
    "exchange": _name,
    "exchange_type": choice_option("direct", "topic"),
    "binding_key": _binding_key,
    "prefetch": whole_number_option(0, 65_535),
    "heartbeat_seconds": seconds_option(0, 3600),
    "blocked_timeout_seconds": seconds_option(0.01, 86_400),
    "consumer_timeout_seconds": _consumer_timeout,
    "largest_message_bytes": whole_number_option(10_000, 512_000_000),
    "management_url": _management,
}
