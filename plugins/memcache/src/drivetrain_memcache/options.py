"""What a ``memcache://`` URL may say; the README lists the options with their units."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from urllib.parse import unquote

from attrs import field, frozen

from drivetrain.contract import ConfigurationError, DriverUrl, redact

__all__ = ["DEFAULT_PORT", "Options", "Server"]

DEFAULT_PORT = 11211

_DEFAULTS = {
    "prefix": "drivetrain",
    "timeout_seconds": "5",
    "connect_timeout_seconds": "2",
    "item_bytes": str(1024 * 1024),
    "largest_value_bytes": str(8 * 1024 * 1024),
    "tls": "no",
    "ca_file": "",
}
_SECONDS = ("timeout_seconds", "connect_timeout_seconds")
_BYTES = ("item_bytes", "largest_value_bytes")
_YES_NO = {"yes": True, "no": False}
#: No colon: it ends the prefix in a key. Keys have 250 bytes, of which names need their share.
_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,60}")
#: Of a name no part is empty or longer than 63 signs: Python cannot even look such a one up.
_LABEL = "[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"\[[0-9A-Fa-f:.%]+\]|{_LABEL}(\.{_LABEL})*")
_LONGEST_TIMEOUT_SECONDS = 86_400.0
_SMALLEST_ITEM_BYTES = 16 * 1024
_LARGEST_BYTES = 1024 * 1024 * 1024


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
    #: What all keys begin with: apps that name different ones share the servers and do not meet.
    prefix: str = _DEFAULTS["prefix"]
    user: str = ""
    password: str = field(default="", repr=False)
    #: How long one exchange with a server may take.
    timeout_seconds: float = float(_DEFAULTS["timeout_seconds"])
    connect_timeout_seconds: float = float(_DEFAULTS["connect_timeout_seconds"])
    #: The servers' largest item (their option -I).
    item_bytes: int = int(_DEFAULTS["item_bytes"])
    #: The largest payload that is taken; it is split over several items.
    largest_value_bytes: int = int(_DEFAULTS["largest_value_bytes"])
    tls: bool = False
    #: A file of certificates to trust; empty: the system's.
    ca_file: str = ""

    @classmethod
    def parse(cls, url: str) -> Options:
        """Check ``url`` and take it apart.

        Raises:
            ConfigurationError: it is wrong; every fault is named.
        """
        parts = DriverUrl.parse(url)
        secret, _, places = parts.netloc.rpartition("@")
        faults = [*_place_faults(places, parts.path), *_secret_faults(secret), *_option_faults(parts.options)]
        if "#" in url:
            faults.append("it holds a #, after which a URL is not read on; write %23")
        if faults:
            raise ConfigurationError(f"{redact(url)} is no URL of the memcache driver", faults)
        told = {**_DEFAULTS, **parts.options}
        user, _, password = secret.partition(":")
        return cls(
            servers=_servers(places, parts.path),
            prefix=told["prefix"],
            user=unquote(user),
            password=unquote(password),
            timeout_seconds=float(told["timeout_seconds"]),
            connect_timeout_seconds=float(told["connect_timeout_seconds"]),
            item_bytes=int(told["item_bytes"]),
            largest_value_bytes=int(told["largest_value_bytes"]),
            tls=_YES_NO[told["tls"]],
            ca_file=told["ca_file"],
        )


def _servers(places: str, path: str) -> tuple[Server, ...]:
    if not places:
        return (Server(host="", port=0, path=path),)
    return tuple(_server(place) for place in places.split(","))


def _server(place: str) -> Server:
    host, port = _split(place)
    return Server(host=host.strip("[]").lower(), port=int(port) if port else DEFAULT_PORT)


def _split(place: str) -> tuple[str, str]:
    host, colon, port = place.rpartition(":")
    return (place, "") if not colon or place.endswith("]") else (host, port)


def _place_faults(places: str, path: str) -> Iterator[str]:
    if not places:
        if not path.strip("/"):
            yield "it names no server; write memcache://host:11211, or memcache:///path/of/a/socket"
        return
    if path.strip("/"):
        yield "it has a path; Memcached has no databases, write ?prefix=… to keep apps apart"
    listed = places.split(",")
    for place in listed:
        yield from _server_faults(place)
    named = [_split(place) for place in listed]
    if len({(host.lower(), port or str(DEFAULT_PORT)) for host, port in named}) != len(listed):
        yield "it names a server twice"


def _server_faults(place: str) -> Iterator[str]:
    host, port = _split(place)
    if not _HOST.fullmatch(host):
        yield f"{host!r} is no host"
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        yield f"{port!r} is no port"


def _secret_faults(secret: str) -> Iterator[str]:
    if not secret:
        return
    user, _, password = (unquote(part) for part in secret.partition(":"))
    if not user or not password:
        yield "of user and password it names only one"
    if re.search(r"[\s\0]", user + password):
        yield "Memcached takes no blanks in user and password"


def _option_faults(options: Mapping[str, str]) -> Iterator[str]:
    for name in options:
        if name not in _DEFAULTS:
            near = get_close_matches(name, _DEFAULTS, 1)
            yield f"there is no option {name!r}; " + (
                f"did you mean {near[0]!r}?" if near else f"use {', '.join(_DEFAULTS)}"
            )
    told = {**_DEFAULTS, **options}
    if not _PREFIX.fullmatch(told["prefix"]):
        yield f"prefix is made of 1 to 60 letters, digits and . _ -, not {told['prefix']!r}"
    for name in _SECONDS:
        if not _is_timeout(told[name]):
            yield f"{name} is a number of seconds above 0, at most 86400, not {told[name]!r}"
    for name in _BYTES:
        if not _is_size(told[name]):
            yield f"{name} is a number of bytes from {_SMALLEST_ITEM_BYTES} to {_LARGEST_BYTES}, not {told[name]!r}"
    if told["tls"] not in _YES_NO:
        yield f"tls is yes or no, not {told['tls']!r}"
    if told["ca_file"] and told["tls"] != "yes":
        yield "ca_file is for tls=yes"


def _is_timeout(text: str) -> bool:
    try:
        seconds = float(text)
    except ValueError:
        return False
    return math.isfinite(seconds) and 0 < seconds <= _LONGEST_TIMEOUT_SECONDS


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdigit() and _SMALLEST_ITEM_BYTES <= int(text) <= _LARGEST_BYTES
