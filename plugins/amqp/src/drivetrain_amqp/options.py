"""What an ``amqp://`` URL may say: its hosts, user, virtual host and options. Pure."""

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
    Host,
    OptionReader,
    choice_option,
    evolve,
    namespace_option,
    read_hosts,
    read_options,
    redact,
    seconds_option,
    service_name,
    whole_number_option,
)

__all__ = ["Options"]

_PORTS = {"amqp": 5672, "amqps": 5671}
#: RabbitMQ's own refuse what begins so.
_RESERVED = "amq."
_LONGEST_PART_BYTES = 60
#: No dot, so that no name begins with ``amq.``.
_PREFIX_CHARACTERS = f"{ascii_uppercase}-"


@frozen(kw_only=True)
class Options:
    """An ``amqp://`` URL, checked. ``repr`` shows no secret."""

    hosts: tuple[Host, ...]
    #: Whether to use TLS.
    tls: bool = False
    vhost: str = "/"
    user: str = field(default="guest", repr=False)
    password: str = field(default="guest", repr=False)
    #: Any text; apps of different namespaces share the virtual host and do not meet.
    namespace: str = DEFAULT_NAMESPACE
    #: ``classic`` or ``quorum``.
    queue_type: str = "classic"
    #: ``lazy`` or ``default``: what a classic queue is told to keep in memory, where RabbitMQ is older than 3.12.
    queue_mode: str = "lazy"
    #: The highest priority, from 0.
    max_priority: int = 9
    #: More arguments of the queues of tasks, as they are declared.
    queue_arguments: Mapping[str, Any] = field(factory=dict)
    #: Where tasks are published; empty: RabbitMQ's default exchange.
    exchange: str = ""
    #: ``direct`` or ``topic``.
    exchange_type: str = "direct"
    #: By which key a queue is bound to the exchange; ``{queue}`` stands for its name.
    binding_key: str = "{queue}"
    #: The most messages that one `receive` takes from the server; 0: as many as it was asked for.
    prefetch: int = 0
    #: After how many seconds without any sign a connection counts as lost (detected within twice as long); 0: never.
    heartbeat_seconds: float = 30.0
    #: How long to try each host.
    connection_timeout_seconds: float = 10.0
    #: How long a call waits for its answer.
    call_timeout_seconds: float = 30.0
    #: How long publishers wait while the server is short of memory or disk.
    blocked_timeout_seconds: float = 300.0
    #: How long the server lets a message be unacknowledged (its ``consumer_timeout``); None: for ever.
    consumer_timeout_seconds: float | None = 1800.0
    #: Larger messages are refused. RabbitMQ's ``max_message_size`` is 128 MiB, since 4.0 16 MiB.
    largest_message_bytes: int = 16_000_000
    #: A file of certificates that are trusted instead of the system's.
    ca_file: str = ""
    #: The client's certificate, and its key where that is in a file of its own.
    cert_file: str = ""
    key_file: str = ""
    #: The management plugin, as ``http://user:password@host:15672``; empty: not asked.
    management_url: str = field(default="", repr=False)

    @property
    def prefix(self) -> str:
        """What the names of all queues and exchanges begin with, followed by ``~``; empty: nothing, and no ``~``."""
        if self.namespace == DEFAULT_NAMESPACE:
            return ""
        return service_name(self.namespace, also=_PREFIX_CHARACTERS, longest=_LONGEST_PART_BYTES)

    @property
    def levels(self) -> int:
        """How many levels of priority there are."""
        return self.max_priority + 1

    @property
    def quorum(self) -> bool:
        """Whether queues are quorum queues."""
        return self.queue_type == "quorum"

    def in_directory(self, directory: Path) -> Options:
        """The same with absolute paths of certificates: relative ones begin in ``directory``."""
        paths = {"ca_file": self.ca_file, "cert_file": self.cert_file, "key_file": self.key_file}
        return evolve(self, **{name: path and str(directory / path) for name, path in paths.items()})

    @classmethod
    def parse(cls, url: str, namespace: str = DEFAULT_NAMESPACE) -> Options:
        """Check ``url`` and take it apart.

        Args:
            url: the URL.
            namespace: the namespace where the URL names none.

        Raises:
            ConfigurationError: it is wrong; every fault is named, secrets are not.
        """
        parts = DriverUrl.parse(url)
        known, faults = _place(parts)
        options, wrong = read_options(parts.options, _READERS)
        known |= {"namespace": namespace, **options}
        if not (faults := [*faults, *wrong]):
            faults += _together(known)
        if faults:
            raise ConfigurationError(f"{redact(url)} is no URL of the amqp driver", faults)
        if known.get("queue_type") == "quorum":
            known.setdefault("max_priority", 0)
        return cls(**known)


def _place(parts: DriverUrl) -> tuple[dict[str, Any], list[str]]:
    hosts, faults = parts.hosts(port=_PORTS.get(parts.scheme, 5672))
    known: dict[str, Any] = {"hosts": hosts, "tls": parts.scheme == "amqps"}
    if parts.user is not None:
        known["user"] = parts.user
        known["password"] = parts.password or ""
    # DriverUrl has unquoted the path: amqp://host/%2F is the virtual host /, as amqp://host and amqp://host/ are.
    known["vhost"] = parts.path[1:] or "/"
    if len(known["vhost"].encode(errors="replace")) > 255:
        faults.append("the name of its virtual host is longer than 255 bytes")
    return known, faults


def _together(known: Mapping[str, Any]) -> Iterator[str]:
    exchange, kind = known.get("exchange", ""), known.get("exchange_type")
    if not exchange and (kind or "binding_key" in known):
        yield "exchange_type and binding_key are those of an exchange; name one with exchange=…"
    if known.get("queue_type") == "quorum" and "queue_mode" in known:
        yield "queue_mode is that of classic queues; leave it out"
    if not known["tls"] and any(known.get(name) for name in ("ca_file", "cert_file", "key_file")):
        yield "ca_file, cert_file and key_file are for TLS; write amqps://…"
    if known.get("key_file") and not known.get("cert_file"):
        yield "key_file is the key of a certificate; name that with cert_file=…"


def _consumer_timeout(text: str) -> float | None:
    return None if text == "none" else seconds_option(0.001, 1e9)(text)


def _name(text: str) -> str:
    if text.startswith(_RESERVED):
        raise ValueError(f"is {text!r}; names that begin with {_RESERVED} are RabbitMQ's own")
    if "~" in text or not text.isprintable() or len(text.encode()) > _LONGEST_PART_BYTES:
        raise ValueError(f"is {text!r}; use up to {_LONGEST_PART_BYTES} bytes of printable text without ~")
    return text


def _binding_key(text: str) -> str:
    # With one key for all queues a message would be copied to each of them.
    if text.count("{queue}") != 1:
        raise ValueError(f"is {text!r}; write {{queue}} once in it, for the name of the queue, like tasks.{{queue}}")
    rest = text.replace("{queue}", "")
    if "*" in rest or "#" in rest:
        raise ValueError(f"is {text!r}; with a wildcard a message would be copied to several queues")
    return _name(text)


def _arguments(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in filter(None, text.split(",")):
        name, colon, value = pair.partition(":")
        if not colon or not name:
            raise ValueError(f"has {pair!r}; write name:value,name:value, like x-max-length:10000")
        if name in _OURS:
            raise ValueError(f"has {name}, which is set by the option {_OURS[name]}")
        found[name] = _value(value)
    return found


#: Arguments of a queue that have an option of their own, or that would lose messages.
_OURS = {"x-queue-type": "queue_type", "x-queue-mode": "queue_mode", "x-max-priority": "max_priority"}


def _value(text: str) -> Any:
    if re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    return {"true": True, "false": False}.get(text, text)


def _management(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    hosts, faults = read_hosts(rest.partition("/")[0].rpartition("@")[2], port=15672)
    if scheme not in {"http", "https"} or not separator or faults or len(hosts) != 1:
        raise ValueError("is no URL; write http://user:password@host:15672, percent-encoded")
    return text.rstrip("/")


_READERS: Mapping[str, OptionReader] = {
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
    "connection_timeout_seconds": seconds_option(0.01, 3600),
    "call_timeout_seconds": seconds_option(0.01, 86_400),
    "blocked_timeout_seconds": seconds_option(0.01, 86_400),
    "consumer_timeout_seconds": _consumer_timeout,
    "largest_message_bytes": whole_number_option(10_000, 512_000_000),
    "ca_file": str,
    "cert_file": str,
    "key_file": str,
    "management_url": _management,
}
