"""What a URL of this driver may say.

``sqs://REGION`` for AWS, ``sqs+http://HOST:PORT`` and ``sqs+https://…`` for other endpoints. The region may be left
out. The options are those of `Options`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from string import ascii_uppercase

from attrs import field, frozen

from drivetrain.contract import (
    DEFAULT_NAMESPACE,
    ConfigurationError,
    DriverUrl,
    OptionReader,
    boolean_option,
    namespace_option,
    read_options,
    service_name,
    whole_number_option,
)
from drivetrain_sqs.limits import LONGEST_POLL_SECONDS, MESSAGE_BYTES, RESERVED_BYTES, SMALLEST_MESSAGE_BYTES
from drivetrain_sqs.names import LONGEST_PREFIX

__all__ = ["Options"]


@frozen(kw_only=True)
class Options:
    """A URL, checked."""

    #: Where SQS is; empty: AWS, at the region's own endpoint.
    endpoint: str = ""
    #: Key and secret, for other endpoints only; None: those that the AWS configuration of this machine gives.
    credentials: tuple[str, str] | None = field(default=None, repr=False)
    #: Empty: as the AWS configuration of this machine says.
    region: str = ""
    #: Any text; apps of different namespaces share the account and do not meet.
    namespace: str = DEFAULT_NAMESPACE
    #: The account whose queues these are, 12 digits; empty: that of the credentials.
    account: str = ""
    #: A profile of the AWS configuration; empty: the default one.
    profile: str = ""
    #: Whether queues are made when they are first used.
    create: bool = False
    #: Whether all queues are FIFO queues.
    fifo: bool = False
    #: How many calls of one batch are made at the same time.
    calls_in_flight: int = 8
    #: The largest message that the queues take, as SQS counts; lower where they were made with a lower limit.
    message_bytes: int = MESSAGE_BYTES
    #: After so many receives SQS itself moves a message to the dead letters, in queues that are made; 0: never.
    max_receive_count: int = 0
    #: How long a call may take before the service counts as away, in seconds; receiving adds what it waits.
    timeout_seconds: int = 10
    #: How long the receive call of an idle worker waits, in seconds.
    wait_seconds: int = LONGEST_POLL_SECONDS
    #: How long `close` waits for receive calls that still wait, to give back what they bring, in seconds.
    close_seconds: int = 0

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
        local = parts.scheme != "sqs"
        options, wrong = read_options(parts.options, _READERS)
        faults = [*(_endpoint_faults(parts) if local else _region_faults(parts)), *_path_faults(parts), *wrong]
        if faults:
            raise ConfigurationError(f"{parts.shown} is no URL of the sqs driver", faults)
        secure = parts.scheme == "sqs+https"
        return cls(
            endpoint=f"{'https' if secure else 'http'}://{parts.place}" if local else "",
            credentials=None if parts.user is None else (parts.user, parts.password or ""),
            region=options.pop("region", "" if local else parts.place),
            **{"namespace": namespace, **options},
        )

    @property
    def prefix(self) -> str:
        """What the names of all queues begin with; empty: nothing. See `drivetrain_sqs.names.Names`."""
        if self.namespace == DEFAULT_NAMESPACE:
            return ""
        return service_name(self.namespace, also=ascii_uppercase, longest=LONGEST_PREFIX)

    @property
    def largest_message_bytes(self) -> int:
        """Body and headers of the largest message that is carried."""
        return self.message_bytes - RESERVED_BYTES


def _path_faults(parts: DriverUrl) -> list[str]:
    wrong = parts.path.strip("/")
    return ["it has a path; what sets apps apart is an option: ?namespace=…"] if wrong else []


def _endpoint_faults(parts: DriverUrl) -> list[str]:
    hosts, faults = parts.hosts(port=443)
    if len(hosts) > 1:
        faults.append(f"it names several endpoints; write {parts.scheme}://host:port")
    if parts.user is not None and not (parts.user and parts.password):
        faults.append("before the @ stand a key and a secret, as in key:secret@host")
    return faults


def _region_faults(parts: DriverUrl) -> list[str]:
    faults = []
    if parts.user is not None:
        faults.append(
            "it holds credentials, which belong into the AWS configuration (environment, profile or role); "
            "only sqs+http:// and sqs+https:// take them"
        )
    elif not _REGION.fullmatch(parts.place):
        faults.append(
            f"after sqs:// stands a region, like eu-central-1, and not {parts.place!r}; "
            "for an endpoint use sqs+https://"
        )
    if parts.place and "region" in parts.options:
        faults.append("it names two regions, before the options and as an option")
    return faults


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
    "timeout_seconds": whole_number_option(1, 600),
    "wait_seconds": whole_number_option(1, LONGEST_POLL_SECONDS),
}
