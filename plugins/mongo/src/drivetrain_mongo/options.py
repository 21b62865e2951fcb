"""What a ``mongodb://`` URL may say.

All options of MongoDB's own connection strings, but for those by which acknowledged states would be lost, and

``namespace``
    Apps of different namespaces share the database and do not meet. By default the app's name.
``waiting``
    How to learn that a task has ended. ``auto`` (the default): by a change stream on a replica set, else by polling;
    ``stream``: by a change stream; ``poll``: by polling, for users that may not read change streams.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode

from attrs import field, frozen
from pymongo.common import URI_OPTIONS_VALIDATOR_MAP
from pymongo.errors import PyMongoError
from pymongo.uri_parser import split_options

from drivetrain.contract import (
    DEFAULT_NAMESPACE,
    ConfigurationError,
    DriverUrl,
    OptionReader,
    choice_option,
    evolve,
    namespace_option,
    read_hosts,
    read_options,
    redact,
    service_name,
    unknown_option,
)

__all__ = ["OVERRULED", "Options", "Waiting"]

_SRV = "mongodb+srv"
_PORT = 27017

#: For options of the client of which the URL says nothing: no call may last for ever.
_TIMEOUTS = {
    "serverSelectionTimeoutMS": 5_000,
    "connectTimeoutMS": 5_000,
    "socketTimeoutMS": 30_000,
    "wTimeoutMS": 20_000,
}

#: What the driver relies on: another value would lose what was acknowledged, or do a write twice.
_FIXED: Mapping[str, tuple[str, ...]] = {
    "w": ("majority",),
    "journal": ("true",),
    "readconcernlevel": ("majority",),
    "readpreference": ("primary",),
}
#: Named by many URLs, and without effect here: core repeats calls, the client never does.
OVERRULED = ("retryWrites", "retryReads")


class Waiting(StrEnum):
    """How the end of tasks is learnt."""

    AUTO = "auto"
    STREAM = "stream"
    POLL = "poll"


_OWN: Mapping[str, OptionReader] = {"namespace": namespace_option, "waiting": choice_option(*Waiting)}


@frozen(kw_only=True)
class Options:
    """A ``mongodb://`` URL, understood. ``repr`` shows no secret."""

    #: The URL for the client: without our own options, and with its secrets.
    url: str = field(repr=False)
    #: The URL for messages.
    shown: str
    database: str
    #: Any text; apps of different namespaces share the database and do not meet.
    namespace: str = DEFAULT_NAMESPACE
    waiting: Waiting = Waiting.AUTO
    #: Options of the client for which the URL names nothing, by name, in milliseconds.
    timeouts: Mapping[str, int] = field(factory=dict)

    @classmethod
    def parse(cls, url: str, namespace: str = DEFAULT_NAMESPACE) -> Options:
        """Take a URL apart.

        Args:
            url: the URL.
            namespace: the namespace where the URL names none.

        Raises:
            ConfigurationError: it is wrong; every fault is named, secrets are not.
        """
        parts = DriverUrl.parse(url)
        own, wrong = read_options({name: text for name, text in parts.options.items() if name in _OWN}, _OWN)
        faults = [*_place_faults(parts), *wrong, *_option_faults(parts.options)]
        if faults:
            raise ConfigurationError(f"{redact(url)} is no URL of the mongo driver", faults)
        given = {name.lower() for name in parts.options}
        return cls(
            url=_without_own(url, parts),
            shown=parts.shown,
            database=_database(parts),
            namespace=own.get("namespace", namespace),
            waiting=Waiting(own.get("waiting", Waiting.AUTO)),
            timeouts={name: most for name, most in _TIMEOUTS.items() if name.lower() not in given},
        )

    def in_directory(self, directory: Path) -> Options:
        """The same with absolute paths of certificates: relative ones begin in ``directory``."""
        place, _, query = self.url.partition("?")
        given = parse_qsl(query, keep_blank_values=True)
        options = [(name, str(directory / text) if _is_file(name) else text) for name, text in given]
        return evolve(self, url=f"{place}?{urlencode(options)}" if options else place)

    @property
    def srv(self) -> bool:
        """Whether the hosts are looked up in the DNS."""
        return self.url.startswith(f"{_SRV}://")

    @property
    def prefix(self) -> str:
        """What the names of all collections begin with."""
        default = self.namespace == DEFAULT_NAMESPACE
        return "drivetrain_" if default else f"drivetrain_{service_name(self.namespace)}_"


def _database(parts: DriverUrl) -> str:
    return parts.path.removeprefix("/")


def _without_own(url: str, parts: DriverUrl) -> str:
    kept = {name: text for name, text in parts.options.items() if name not in _OWN}
    place = url.partition("?")[0]  # MongoDB wants the signs of secrets quoted
    return f"{place}?{urlencode(kept)}" if kept else place


def _place_faults(parts: DriverUrl) -> Iterator[str]:
    yield from _host_faults(parts)
    name = _database(parts)
    if not name:
        yield "it names no database; write mongodb://host/database"
    elif not re.fullmatch(r'[^/\\. "$*<>:|?\0]{1,63}', name):
        yield f"{name!r} is no name of a database"


def _host_faults(parts: DriverUrl) -> Iterator[str]:
    # The path of a socket is percent-encoded, and stands among the hosts.
    hosts = [host for host in parts.place.split(",") if not unquote(host).endswith(".sock")]
    if parts.scheme == _SRV and (len(hosts) != 1 or ":" in hosts[0]):
        yield "mongodb+srv:// takes one name without a port; the DNS knows the rest"
    elif hosts:
        yield from read_hosts(",".join(hosts), port=_PORT)[1]


def _option_faults(options: Mapping[str, str]) -> Iterator[str]:
    for name, text in options.items():
        if name in _OWN:
            continue
        if name.lower() not in URI_OPTIONS_VALIDATOR_MAP:
            yield unknown_option(name, dict.fromkeys((*_OWN, *_SPELLED)))
        elif text.lower() not in _FIXED.get(name.lower(), (text.lower(),)):
            yield f"{name} must be {_FIXED[name.lower()][0]}: else what was acknowledged may be lost"
        elif not _is_valid(name, text):
            yield f"the value of {name} is not one that it takes"  # which may be a secret


#: As they are usually written; the map has small letters only.
_SPELLED = ("authSource", "authMechanism", "replicaSet", "directConnection", "appName", "tlsCAFile", *_TIMEOUTS)


def _is_file(name: str) -> bool:
    return name.lower().endswith("file")


def _is_valid(name: str, text: str) -> bool:
    if _is_file(name):
        return bool(text)  # to look whether it is there is for the first call
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            split_options(f"{name}={quote(text, safe='')}", validate=True, warn=True)
    except (PyMongoError, ValueError, TypeError, Warning):
        return False
    return True
