"""The options of an SQS URL, and what the application passes by ``driver_options``.

``sqs://REGION`` is AWS; ``sqs+http://HOST:PORT`` and ``sqs+https://HOST`` are other endpoints. The region may be left
out. The options are the fields of `Options`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from string import ascii_uppercase
from typing import Any

from attrs import field, frozen

from drivetrain.contract import (
    DEFAULT_NAMESPACE,
    TIMEOUT_OPTIONS,
    TLS_OPTIONS,
    DriverContext,
    DriverUrl,
    OptionReader,
    TlsOptions,
    boolean_option,
    check_driver_options,
    namespace_option,
    raise_for_faults,
    read_options,
    service_name,
    take_tls_options,
    whole_number_option,
)
from drivetrain_sqs.limits import LONGEST_POLL_SECONDS, MESSAGE_BYTES, RESERVED_BYTES, SMALLEST_MESSAGE_BYTES
from drivetrain_sqs.queue_names import LONGEST_PREFIX

__all__ = ["Options"]


@frozen(kw_only=True)
class Options:
    """The checked options of an SQS URL."""

    #: The URL of SQS; empty: AWS, at the endpoint of the region.
    endpoint: str = ""
    #: Key and secret, for other endpoints only; None: those of the AWS configuration.
    credentials: tuple[str, str] | None = field(default=None, repr=False)
    #: Empty: that of the AWS configuration.
    region: str = ""
    #: Any text; keeps two apps in one account apart.
    namespace: str = DEFAULT_NAMESPACE
    #: The account that owns the queues, 12 digits; empty: that of the credentials.
    account: str = ""
    #: A profile of the AWS configuration; empty: the default one.
    profile: str = ""
    #: Whether the driver makes queues that do not exist when they are first used.
    create: bool = False
    #: Whether all queues are FIFO queues.
    fifo: bool = False
    #: How many calls one batch makes at the same time.
    calls_in_flight: int = 8
    #: The largest message that the queues accept, in bytes as SQS counts them.
    message_bytes: int = MESSAGE_BYTES
    #: For queues that the driver makes: the receives after which SQS itself dead-letters a message; 0: never.
    max_receive_count: int = 0
    #: How long opening a connection may take, in seconds.
    connect_timeout_seconds: float = 5.0
    #: How long an answer may take, in seconds. A receive call may also wait for messages.
    call_timeout_seconds: float = 10.0
    #: How long the receive call of an idle worker waits, in seconds.
    wait_seconds: int = LONGEST_POLL_SECONDS
    #: How long `close` waits for open receive calls, so that it can release their messages, in seconds.
    close_seconds: int = 0
    #: None: the endpoint does not use TLS.
    tls: TlsOptions | None = field(factory=TlsOptions)
    #: The application's own `boto3.Session`, from ``driver_options``.
    session: Any = field(default=None, repr=False)
    #: The application's own `botocore.config.Config`, from ``driver_options``.
    config: Any = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, context: DriverContext | None = None) -> Options:
        """Read ``url`` and check it.

        Args:
            url: the URL.
            context: supplies the namespace if the URL names none, the directory of relative paths, and the
                application's ``driver_options["sqs"]``.

        Raises:
            ConfigurationError: the URL or a driver option is wrong; it names every fault.
        """
        context = context or DriverContext()
        check_driver_options("sqs", context.options, ("session", "config"))
        parts = DriverUrl.parse(url)
        local = parts.scheme != "sqs"
        scheme = "http" if parts.scheme == "sqs+http" else "https"
        options, faults = read_options(parts.options, _READERS)
        tls, tls_faults = take_tls_options(options, tls=scheme == "https", how="write sqs+https://…")
        faults += [*(_endpoint_faults(parts) if local else _region_faults(parts)), *_path_faults(parts), *tls_faults]
        faults += _driver_option_faults(context.options, parts)
        raise_for_faults("sqs", parts, faults)
        return cls(
            endpoint=f"{scheme}://{parts.hosts_text}" if local else "",
            credentials=None if parts.user is None else (parts.user, parts.password or ""),
            region=options.pop("region", "" if local else parts.hosts_text),
            tls=tls and tls.in_directory(context.directory),
            **{"namespace": context.namespace, **options, **context.options},
        )

    @property
    def prefix(self) -> str:
        """The start of the names of all queues; empty: none. See `drivetrain_sqs.queue_names.QueueNames`."""
        if self.namespace == DEFAULT_NAMESPACE:
            return ""
        return service_name(self.namespace, also=ascii_uppercase, longest=LONGEST_PREFIX)

    @property
    def largest_message_bytes(self) -> int:
        """The largest body and headers of a message, together, in bytes."""
        return self.message_bytes - RESERVED_BYTES


def _path_faults(parts: DriverUrl) -> list[str]:
    path = parts.path.strip("/")
    return (
        [f"the path {path!r} has no meaning; keep apps apart with the option namespace: ?namespace=…"] if path else []
    )


def _endpoint_faults(parts: DriverUrl) -> list[str]:
    hosts, faults = parts.hosts(port=443)
    if len(hosts) > 1:
        faults.append(f"it names several endpoints; write {parts.scheme}://host:port")
    if parts.user is not None and not (parts.user and parts.password):
        faults.append("the key or the secret before the @ is missing; write key:secret@host")
    return faults


def _region_faults(parts: DriverUrl) -> list[str]:
    faults = []
    if parts.user is not None:
        faults.append(
            "it holds credentials; put them into the AWS configuration (environment, profile or role), "
            "because only sqs+http:// and sqs+https:// take them"
        )
    elif not _REGION.fullmatch(parts.hosts_text):
        faults.append(
            f"{parts.hosts_text!r} is not an AWS region; write one like sqs://eu-central-1, "
            "or sqs+https:// in front of an endpoint"
        )
    if parts.hosts_text and "region" in parts.options:
        faults.append("it names two regions, before the options and as an option; leave one out")
    return faults


def _driver_option_faults(passed: Mapping[str, Any], parts: DriverUrl) -> list[str]:
    """The faults of the application's driver options, each a sentence."""
    faults: list[str] = []
    session, config = passed.get("session"), passed.get("config")
    if session is not None:
        if not callable(getattr(session, "client", None)):
            faults.append(f"driver_options['sqs']['session'] is a {type(session).__name__}; pass a boto3.Session")
        if parts.user is not None or "profile" in parts.options:
            faults.append("credentials come from the URL and from a boto3 session; pass one of the two")
    if config is not None:
        faults += _config_faults(config)
    return faults


def _config_faults(config: Any) -> list[str]:
    from botocore.config import Config  # type: ignore[import-untyped]

    if not isinstance(config, Config):
        return [f"driver_options['sqs']['config'] is a {type(config).__name__}; pass a botocore.config.Config"]
    default = Config()
    return [
        f"driver_options['sqs']['config'] sets {name}; {advice}"
        for name, advice in _DRIVER_SETS.items()
        if getattr(config, name) != getattr(default, name)
    ]


def _text(pattern: str, use: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"is {text!r}; use {use}")
        return text

    return read


_REGION = re.compile("[a-z0-9-]*")

_READERS: Mapping[str, OptionReader] = {
    "namespace": namespace_option,
    "account": _text("([0-9]{12})?", "a number of 12 digits"),
    "create": boolean_option,
    "fifo": boolean_option,
    "profile": str,
    "region": _text(_REGION.pattern, "one like eu-central-1"),
    "calls_in_flight": whole_number_option(1, 64),
    "close_seconds": whole_number_option(0, 60),
    "message_bytes": whole_number_option(SMALLEST_MESSAGE_BYTES, MESSAGE_BYTES),
    "max_receive_count": whole_number_option(1, 1000),
    **TIMEOUT_OPTIONS,
    **TLS_OPTIONS,
    "wait_seconds": whole_number_option(1, LONGEST_POLL_SECONDS),
}

#: Settings of a botocore Config that the driver makes itself, and what to use instead.
_DRIVER_SETS = {
    "retries": "leave it out, because drivetrain retries failed calls itself",
    "connect_timeout": "set connect_timeout_seconds in the URL instead",
    "read_timeout": "set call_timeout_seconds in the URL instead",
    "max_pool_connections": "set calls_in_flight in the URL instead",
}
