"""What a ``sqlite://`` URL may say.

``synchronous``
    ``full`` (the default): a commit survives the loss of power. ``normal``: it survives ``kill -9`` and costs a
    fraction, but the last commits before a loss of power may be gone.
``namespace``
    Apps of different namespaces share the file and do not meet. By default the app's name.
``busy_timeout_seconds``
    How long to wait for other writers before a call fails with `ServiceUnavailable` (default 10).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from drivetrain.contract import (
    DEFAULT_NAMESPACE,
    ConfigurationError,
    DriverUrl,
    Durability,
    choice_option,
    evolve,
    namespace_option,
    read_options,
    redact,
    seconds_option,
    service_name,
)

__all__ = ["Options"]

_DURABILITY = {"full": Durability.POWER, "normal": Durability.PROCESS}
_READERS = {
    "synchronous": choice_option(*_DURABILITY),
    "namespace": namespace_option,
    # SQLite counts its timeout in milliseconds, in 32 bits.
    "busy_timeout_seconds": seconds_option(0, 86_400),
}


@frozen(kw_only=True)
class Options:
    """A ``sqlite://`` URL, checked."""

    #: The file.
    path: Path
    #: ``full`` or ``normal``.
    synchronous: str = "full"
    #: Any text; apps of different namespaces share the file and do not meet.
    namespace: str = DEFAULT_NAMESPACE
    busy_timeout_seconds: float = 10.0

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
        options, faults = read_options(parts.options, _READERS)
        if faults := [*_place_faults(parts), *faults]:
            raise ConfigurationError(f"{redact(url)} is no URL of the sqlite driver", faults)
        return cls(path=Path(parts.path[1:]), **{"namespace": namespace, **options})

    def in_directory(self, directory: Path) -> Options:
        """The same with an absolute path, so that a change of the current directory does not move the file."""
        return evolve(self, path=directory / self.path)

    @property
    def durability(self) -> Durability:
        """What survives."""
        return _DURABILITY[self.synchronous]

    @property
    def store(self) -> str:
        """See `BrokerCapabilities.store`."""
        return f"sqlite:{self.path}#{self.prefix}"

    def beside(self, suffix: str) -> Path:
        """A file of ours beside the database."""
        return self.path.with_name(f"{self.path.name}-{suffix}")

    @property
    def prefix(self) -> str:
        """What the names of all tables and indexes begin with. SQLite does not tell upper from lower case in them."""
        default = self.namespace == DEFAULT_NAMESPACE
        return "drivetrain_" if default else f"drivetrain_{service_name(self.namespace)}_"


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
