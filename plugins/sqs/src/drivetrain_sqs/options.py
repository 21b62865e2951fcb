"""What a URL of this driver may say.

``sqs://REGION/PREFIX`` for AWS, ``sqs+http://HOST:PORT/PREFIX`` and ``sqs+https://…`` for other endpoints. Region and
prefix may be left out. The options are those of `Options`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from urllib.parse import unquote, urlsplit

from attrs import field, frozen

from drivetrain.contract import ConfigurationError, DriverUrl
from drivetrain_sqs.limits import LONGEST_POLL_SECONDS, MESSAGE_BYTES, RESERVED_BYTES, SMALLEST_MESSAGE_BYTES
from drivetrain_sqs.names import LONGEST_PREFIX

__all__ = ["Options"]

_WORDS = {"true": True, "false": False}
#: The smallest and the largest of each option that is a number.
_NUMBERS = {
    "calls_in_flight": (1, 64),
    "close_seconds": (0, 60),
    "message_bytes": (SMALLEST_MESSAGE_BYTES, MESSAGE_BYTES),
    "max_receive_count": (1, 1000),
    "timeout_seconds": (1, 600),
    "wait_seconds": (1, LONGEST_POLL_SECONDS),
}
_NAMES = ("account", "create", "fifo", "profile", "region", *_NUMBERS)


@frozen(kw_only=True)
class Options:
    """A URL, checked."""

    #: Where SQS is; empty: AWS, at the region's own endpoint.
    endpoint: str = ""
    #: Key and secret, for other endpoints only; None: those that the AWS configuration of this machine gives.
    credentials: tuple[str, str] | None = field(default=None, repr=False)
    #: Empty: as the AWS configuration of this machine says.
    region: str = ""
    #: The names of all queues begin with it; see `drivetrain_sqs.names.Names`.
    prefix: str = ""
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
    def parse(cls, url: str) -> Options:
        """Check ``url`` and take it apart.

        Raises:
            ConfigurationError: it is wrong; every fault is named.
        """
        parts = DriverUrl.parse(url)
        faults = [*_place_faults(parts, url), *_option_faults(parts.options)]
        if faults:
            raise ConfigurationError(f"{parts.shown} is no URL of the sqs driver", faults)
        secure, local = parts.scheme == "sqs+https", parts.scheme != "sqs"
        user, _, place = parts.netloc.rpartition("@")
        key, _, secret = user.partition(":")
        numbers = {name: int(parts.options[name]) for name in _NUMBERS if name in parts.options}
        return cls(
            endpoint=f"{'https' if secure else 'http'}://{place}" if local else "",
            credentials=(unquote(key), unquote(secret)) if user else None,
            region=parts.options.get("region", "" if local else place),
            prefix=parts.path.strip("/"),
            account=parts.options.get("account", ""),
            profile=parts.options.get("profile", ""),
            create=_WORDS[parts.options.get("create", "false")],
            fifo=_WORDS[parts.options.get("fifo", "false")],
            **numbers,
        )

    @property
    def largest_message_bytes(self) -> int:
        """Body and headers of the largest message that is carried."""
        return self.message_bytes - RESERVED_BYTES


def _place_faults(parts: DriverUrl, url: str) -> Iterator[str]:
    user, at, place = parts.netloc.rpartition("@")
    if parts.scheme == "sqs":
        yield from _region_faults(at, place, parts.options)
    elif not _is_place(place):
        yield f"it names no endpoint; write {parts.scheme}://host:port/prefix"
    elif at and not all(user.partition(":")):
        yield "before the @ stand a key and a secret, as in key:secret@host"
    prefix = parts.path.strip("/")
    if not re.fullmatch(f"[A-Za-z0-9_]{{0,{LONGEST_PREFIX}}}", prefix):
        yield (
            f"the prefix is made of at most {LONGEST_PREFIX} letters, digits and underscores, not {prefix!r}; "
            "a hyphen between it and the name of the queue is added"
        )
    if "#" in url:
        yield "it holds a #, after which a URL is not read on; write %23"


def _region_faults(at: str, place: str, options: Mapping[str, str]) -> Iterator[str]:
    if at:
        yield (
            "it holds credentials, which belong into the AWS configuration (environment, profile or role); "
            "only sqs+http:// and sqs+https:// take them"
        )
    elif not re.fullmatch("[a-z0-9-]*", place):
        yield f"after sqs:// stands a region, like eu-central-1, and not {place!r}; for an endpoint use sqs+https://"
    if place and "region" in options:
        yield "it names two regions, before the path and as an option"


def _is_place(place: str) -> bool:
    try:
        found = urlsplit(f"http://{place}")
        return bool(found.hostname) and (found.port is None or found.port > 0)
    except ValueError:
        return False


def _option_faults(options: Mapping[str, str]) -> Iterator[str]:
    for name, text in options.items():
        if name not in _NAMES:
            near = get_close_matches(name, _NAMES, 1)
            yield f"there is no option {name!r}; " + (
                f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(_NAMES)}"
            )
        elif name in _NUMBERS:
            least, most = _NUMBERS[name]
            if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
                yield f"{name} is a whole number from {least} to {most}, not {text!r}"
        elif name in {"create", "fifo"} and text not in _WORDS:
            yield f"{name} is true or false, not {text!r}"
    if not re.fullmatch("([0-9]{12})?", options.get("account", "")):
        yield f"account is a number of 12 digits, not {options['account']!r}"
    if not re.fullmatch("[a-z0-9-]*", options.get("region", "")):
        yield f"region is one like eu-central-1, not {options['region']!r}"
