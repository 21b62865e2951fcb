"""The options of the driver: the ``mongodb://`` URL and ``driver_options``, checked. The README has the table.

A URL may have all options of MongoDB's own connection strings, except values that would lose acknowledged states. It
may also have the names that all drivers share, and ``waiting``. What no URL can hold comes by ``driver_options`` and is
passed on to pymongo's `MongoClient`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from attrs import field, frozen
from pymongo.common import URI_OPTIONS_VALIDATOR_MAP, validate
from pymongo.errors import PyMongoError
from pymongo.uri_parser import split_options

from drivetrain.contract import (
    DEFAULT_NAMESPACE,
    INDEX_OPTIONS,
    TIMEOUT_OPTIONS,
    TLS_OPTIONS,
    ConfigurationError,
    DriverUrl,
    OptionReader,
    TaskReach,
    TlsOptions,
    check_driver_options,
    choice_option,
    evolve,
    namespace_option,
    raise_for_faults,
    read_hosts,
    read_options,
    service_name,
    take_tls_options,
    unknown_option,
)

__all__ = ["OVERRULED", "Options", "Waiting"]

_SRV = "mongodb+srv"
_PORT = 27017

#: Options of the client that a URL need not have, in milliseconds: no call may last for ever.
_TIMEOUTS = {
    "serverSelectionTimeoutMS": 5_000,
    "connectTimeoutMS": 5_000,
    "socketTimeoutMS": 30_000,
    "wTimeoutMS": 20_000,
}

#: Values that the driver relies on. Any other value would lose acknowledged states, or apply a write twice.
_FIXED: Mapping[str, tuple[str, ...]] = {
    "w": ("majority",),
    "journal": ("true",),
    "readconcernlevel": ("majority",),
    "readpreference": ("primary",),
}
#: Many URLs name them. They have no effect here: core repeats calls, the client never does.
OVERRULED = ("retryWrites", "retryReads")

#: MongoDB's own names for options that all drivers have.
_SYNONYMS = {
    "connect_timeout_seconds": "connectTimeoutMS",
    "call_timeout_seconds": "socketTimeoutMS",
    "ca_file": "tlsCAFile",
    "cert_file": "tlsCertificateKeyFile",
    "verify": "tlsInsecure",
}

#: Arguments of `MongoClient` that no URL can hold, or that should not be in one.
_DRIVER_OPTIONS = (
    "authMechanismProperties",
    "auto_encryption_opts",
    "event_listeners",
    "password",
    "server_api",
    "server_selector",
    "username",
)


class Waiting(StrEnum):
    """How the driver learns that a task has ended."""

    #: By a change stream on a replica set, else by polling.
    AUTO = "auto"
    #: By a change stream.
    STREAM = "stream"
    #: By polling; for users without the privilege to read change streams.
    POLL = "poll"


_OWN: Mapping[str, OptionReader] = {
    "namespace": namespace_option,
    "waiting": choice_option(*Waiting),
    **INDEX_OPTIONS,
    **TIMEOUT_OPTIONS,
    **TLS_OPTIONS,
}


@frozen(kw_only=True)
class Options:
    """The checked options of one URL. ``repr`` shows no secret."""

    #: The URL for the client: without the options of this driver, and with its secrets.
    url: str = field(repr=False)
    #: The URL for messages, without secrets.
    shown: str
    database: str
    #: Any text; apps with different namespaces share the database and do not meet.
    namespace: str = DEFAULT_NAMESPACE
    waiting: Waiting = Waiting.AUTO
    #: Which tasks can be listed: those that succeeded too, or not.
    index: TaskReach = TaskReach.FAILED
    #: Time-outs of the client that its URL does not have, by MongoDB's names, in milliseconds.
    timeouts: Mapping[str, int] = field(factory=dict)
    #: The certificates that the URL names by the options of all drivers.
    tls: TlsOptions | None = None
    #: Arguments of the client that the application passes, by name.
    objects: Mapping[str, Any] = field(factory=dict, repr=False)

    @classmethod
    def parse(
        cls, url: str, namespace: str = DEFAULT_NAMESPACE, driver_options: Mapping[str, Any] | None = None
    ) -> Options:
        """Read and check the options.

        Args:
            url: the URL.
            namespace: the namespace where the URL names none.
            driver_options: arguments of `MongoClient` that no URL can hold, by name.

        Raises:
            ConfigurationError: the URL or a driver option is wrong; it names every fault, and shows no secret.
        """
        _check_objects(driver_options or {})
        parts = DriverUrl.parse(url)
        own, wrong = read_options({name: text for name, text in parts.options.items() if name in _OWN}, _OWN)
        tls, tls_faults = take_tls_options(own, tls=_uses_tls(parts), how="write tls=true")
        faults = [*_address_faults(parts), *wrong, *_option_faults(parts.options), *tls_faults]
        raise_for_faults("mongo", parts, [*faults, *_synonym_faults(parts.options)])
        return cls(
            url=_without_own(url, parts),
            shown=parts.shown,
            database=_database(parts),
            namespace=own.get("namespace", namespace),
            waiting=Waiting(own.get("waiting", Waiting.AUTO)),
            index=TaskReach(own.get("index", TaskReach.FAILED)),
            timeouts=_timeouts(parts.options, own),
            tls=tls,
            objects=dict(driver_options or {}),
        )

    def in_directory(self, directory: Path) -> Options:
        """The same options with absolute paths of certificates: relative ones begin in ``directory``."""
        address, _, query = self.url.partition("?")
        given = parse_qsl(query, keep_blank_values=True)
        options = [(name, str(directory / text) if _is_file(name) else text) for name, text in given]
        tls = None if self.tls is None else self.tls.in_directory(directory)
        return evolve(self, url=f"{address}?{urlencode(options)}" if options else address, tls=tls)

    @property
    def client_arguments(self) -> Mapping[str, Any]:
        """Arguments of `MongoClient` in addition to the URL."""
        return {**self.timeouts, **_tls_arguments(self.tls or TlsOptions()), **self.objects}

    @property
    def srv(self) -> bool:
        """Whether the DNS knows the hosts."""
        return self.url.startswith(f"{_SRV}://")

    @property
    def prefix(self) -> str:
        """The beginning of the names of all collections."""
        default = self.namespace == DEFAULT_NAMESPACE
        return "drivetrain_" if default else f"drivetrain_{service_name(self.namespace)}_"


def _database(parts: DriverUrl) -> str:
    return parts.path.removeprefix("/")


def _without_own(url: str, parts: DriverUrl) -> str:
    foreign = {name: text for name, text in parts.options.items() if name not in _OWN}
    address = url.partition("?")[0]  # as written: MongoDB wants the characters of secrets quoted
    return f"{address}?{urlencode(foreign)}" if foreign else address


def _timeouts(options: Mapping[str, str], own: Mapping[str, Any]) -> dict[str, int]:
    given = {name.lower() for name in options}
    defaults = {name: milliseconds for name, milliseconds in _TIMEOUTS.items() if name.lower() not in given}
    named = {_SYNONYMS[name]: round(own[name] * 1_000) for name in TIMEOUT_OPTIONS if name in own}
    return {**defaults, **named}


def _tls_arguments(tls: TlsOptions) -> dict[str, Any]:
    files = {_SYNONYMS["ca_file"]: tls.ca_file, _SYNONYMS["cert_file"]: tls.cert_file}
    insecure = {} if tls.verify else {_SYNONYMS["verify"]: True}
    return {**{name: path for name, path in files.items() if path}, **insecure}


# Faults


def _address_faults(parts: DriverUrl) -> Iterator[str]:
    yield from _host_faults(parts)
    name = _database(parts)
    if not name:
        yield "it names no database; write mongodb://host/database"
    elif not re.fullmatch(r'[^/\\. "$*<>:|?\0]{1,63}', name):
        yield f'the database is {name!r}; use 1 to 63 characters without a space and / \\ . " $ * < > : | ?'


def _host_faults(parts: DriverUrl) -> Iterator[str]:
    # The path of a socket is percent-encoded, and stands among the hosts.
    hosts = [host for host in parts.hosts_text.split(",") if not unquote(host).endswith(".sock")]
    if parts.scheme == _SRV and (len(hosts) != 1 or ":" in hosts[0]):
        yield "it must have one name without a port, because mongodb+srv:// reads hosts and ports from the DNS"
    elif hosts:
        yield from read_hosts(",".join(hosts), port=_PORT)[1]


def _option_faults(options: Mapping[str, str]) -> Iterator[str]:
    for name, text in options.items():
        if name in _OWN:
            continue
        if name.lower() not in URI_OPTIONS_VALIDATOR_MAP:
            yield unknown_option(name, dict.fromkeys((*_OWN, *_SPELLED)))
        elif text.lower() not in _FIXED.get(name.lower(), (text.lower(),)):
            yield f"{name} must be {_FIXED[name.lower()][0]}: any other value may lose acknowledged states"
        elif not _is_valid(name, text):
            yield f"the value of {name} is invalid; see MongoDB's list of options"  # it may be a secret


def _synonym_faults(options: Mapping[str, str]) -> Iterator[str]:
    given = {name.lower(): name for name in options}
    for name, synonym in _SYNONYMS.items():
        if name in options and synonym.lower() in given:
            yield f"it has both {name} and {given[synonym.lower()]}; use only one of them"
    if "key_file" in options:
        yield "MongoDB reads the key from the file of the certificate; put both into cert_file, and leave key_file out"


def _check_objects(objects: Mapping[str, Any]) -> None:
    """Check the driver options, as pymongo does.

    Raises:
        ConfigurationError: a name is unknown, or a value is wrong; it shows no value.
    """
    check_driver_options("mongo", objects, _DRIVER_OPTIONS)
    faults = []
    for name, value in objects.items():
        try:
            validate(name, value)
        except (PyMongoError, ValueError, TypeError):
            faults.append(f"pymongo refuses {name}, of type {type(value).__name__}; see its MongoClient")
    if faults:
        raise ConfigurationError("invalid driver_options for the mongo driver", faults)


#: The common spelling of frequent options; pymongo's table has lower-case letters only.
_SPELLED = ("authSource", "authMechanism", "replicaSet", "directConnection", "appName", "tlsCAFile", *_TIMEOUTS)


def _uses_tls(parts: DriverUrl) -> bool:
    switches = [text for name, text in parts.options.items() if name.lower() in {"tls", "ssl"}]
    return switches[-1].lower() == "true" if switches else parts.scheme == _SRV


def _is_file(name: str) -> bool:
    return name.lower().endswith("file")


def _is_valid(name: str, text: str) -> bool:
    if _is_file(name):
        return bool(text)  # the first call finds out whether it exists
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            split_options(f"{name}={quote(text, safe='')}", validate=True, warn=True)
    except (PyMongoError, ValueError, TypeError, Warning):
        return False
    return True
