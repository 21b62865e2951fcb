"""What a ``sqlite://`` URL may say.

``synchronous``
    ``full`` (the default): a commit survives the loss of power. ``normal``: it survives ``kill -9`` and costs a
    fraction, but the last commits before a loss of power may be gone.
``namespace``
    Small letters, digits and underscores: apps that name different ones share the file and do not meet.
``busy_timeout_seconds``
    How long to wait for other writers before a call fails with `ServiceUnavailable` (default 10).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from attrs import frozen

from drivetrain.contract import ConfigurationError, DriverUrl, Durability, redact

__all__ = ["Options"]

_DURABILITY = {"full": Durability.POWER, "normal": Durability.PROCESS}
_NAMES = ("synchronous", "namespace", "busy_timeout_seconds")
_BUSY_TIMEOUT_SECONDS = "10"
#: SQLite counts its timeout in milliseconds, in 32 bits.
_LONGEST_TIMEOUT_SECONDS = 86_400.0


@frozen(kw_only=True)
class Options:
    """A ``sqlite://`` URL, checked."""

    #: The file, absolute: a later change of directory does not move it.
    path: Path
    #: ``full`` or ``normal``.
    synchronous: str = "full"
    #: Empty: the file's own.
    namespace: str = ""
    busy_timeout_seconds: float = float(_BUSY_TIMEOUT_SECONDS)

    @classmethod
    def parse(cls, url: str) -> Options:
        """Check ``url`` and take it apart.

        Raises:
            ConfigurationError: it is wrong; every fault is named.
        """
        parts = DriverUrl.parse(url)
        faults = [*_place_faults(parts), *_option_faults(parts.options)]
        if "#" in url:
            faults.append("it holds a #, after which a URL is not read on; write %23")
        if faults:
            raise ConfigurationError(f"{redact(url)} is no URL of the sqlite driver", faults)
        return cls(
            path=Path(parts.path[1:]).absolute(),
            synchronous=parts.options.get("synchronous", "full"),
            namespace=parts.options.get("namespace", ""),
            busy_timeout_seconds=float(parts.options.get("busy_timeout_seconds", _BUSY_TIMEOUT_SECONDS)),
        )

    @property
    def durability(self) -> Durability:
        """What survives."""
        return _DURABILITY[self.synchronous]

    @property
    def store(self) -> str:
        """See `BrokerCapabilities.store`."""
        return f"sqlite:{self.path}#{self.namespace}"

    def beside(self, suffix: str) -> Path:
        """A file of ours beside the database."""
        return self.path.with_name(f"{self.path.name}-{suffix}")

    @property
    def prefix(self) -> str:
        """What the names of all tables and indexes begin with."""
        return f"drivetrain_{self.namespace}_" if self.namespace else "drivetrain_"


def _place_faults(parts: DriverUrl) -> Iterator[str]:
    name = parts.path.strip("/")
    if parts.netloc:
        yield "it names a host; write three slashes before a relative path, four before an absolute one"
    elif not name or parts.path.endswith("/"):
        yield "it names no file; write sqlite:///work.db or sqlite:////var/lib/work.db"
    if name == ":memory:":
        yield "a database in memory cannot be shared; use memory:// instead"
    if "\0" in name:
        yield "the path of a file holds no NUL"


def _option_faults(options: Mapping[str, str]) -> Iterator[str]:
    for name in options:
        if name not in _NAMES:
            near = get_close_matches(name, _NAMES, 1)
            yield f"there is no option {name!r}; " + (
                f"did you mean {near[0]!r}?" if near else f"use {_listed(_NAMES)}"
            )
    if options.get("synchronous", "full") not in _DURABILITY:
        yield f"synchronous is {_listed(_DURABILITY)}, not {options['synchronous']!r}"
    if not re.fullmatch("[a-z0-9_]*", options.get("namespace", "")):
        yield f"namespace is made of small letters, digits and underscores, not {options['namespace']!r}"
    if not _is_timeout(options.get("busy_timeout_seconds", _BUSY_TIMEOUT_SECONDS)):
        yield f"busy_timeout_seconds is a number from 0 to 86400, not {options['busy_timeout_seconds']!r}"


def _is_timeout(text: str) -> bool:
    try:
        seconds = float(text)
    except ValueError:
        return False
    return math.isfinite(seconds) and 0 <= seconds <= _LONGEST_TIMEOUT_SECONDS


def _listed(names: Mapping[str, object] | tuple[str, ...]) -> str:
    return ", ".join(list(names)[:-1]) + f" or {list(names)[-1]}"
