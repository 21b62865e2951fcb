"""The options of a ``sqlite://`` URL.

``synchronous``
    ``full`` (the default): a commit survives the loss of power. ``normal``: a commit survives ``kill -9`` and costs a
    fraction, but the loss of power may undo the last ones.
``namespace``
    Apps of different namespaces share the file without seeing each other. By default the app's name.
``busy_timeout_seconds``
    How long a call waits for other writers before it fails with `ServiceUnavailable`: 0 to 86,400, by default 10.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from drivetrain.contract import (
    DEFAULT_NAMESPACE,
    DriverContext,
    DriverUrl,
    Durability,
    check_driver_options,
    choice_option,
    evolve,
    namespace_option,
    raise_for_faults,
    read_options,
    seconds_option,
    service_name,
)

__all__ = ["Options"]

_DURABILITY = {"full": Durability.POWER, "normal": Durability.PROCESS}
_READERS = {
    "synchronous": choice_option(*_DURABILITY),
    "namespace": namespace_option,
    # SQLite counts its time-out in milliseconds, in 32 bits.
    "busy_timeout_seconds": seconds_option(0, 86_400),
}


@frozen(kw_only=True)
class Options:
    """The checked options of a ``sqlite://`` URL.

    Attributes:
        path: the database file.
        synchronous: ``full`` or ``normal``.
        namespace: any text; apps of different namespaces share the file without seeing each other.
        busy_timeout_seconds: how long a call waits for other writers.
    """

    path: Path
    synchronous: str = "full"
    namespace: str = DEFAULT_NAMESPACE
    busy_timeout_seconds: float = 10.0

    @classmethod
    def parse(cls, url: str, namespace: str = DEFAULT_NAMESPACE) -> Options:
        """Check ``url`` and take it apart.

        Args:
            url: the URL.
            namespace: the namespace of a URL without the option ``namespace``.

        Raises:
            ConfigurationError: the URL is wrong; the error names every fault.
        """
        parts = DriverUrl.parse(url)
        options, faults = read_options(parts.options, _READERS)
        raise_for_faults("sqlite", parts, [*_path_faults(parts), *faults])
        return cls(path=Path(parts.path[1:]), **{"namespace": namespace, **options})

    @classmethod
    def in_context(cls, url: str, context: DriverContext) -> Options:
        """The options of ``url`` in an app.

        Raises:
            ConfigurationError: the URL is wrong, or `DriverContext.options` is not empty; the error names every fault.
        """
        check_driver_options("sqlite", context.options)
        return cls.parse(url, context.namespace).in_directory(context.directory)

    def in_directory(self, directory: Path) -> Options:
        """The same options with an absolute path: a change of the current directory must not move the file."""
        return evolve(self, path=directory / self.path)

    @property
    def durability(self) -> Durability:
        """What survives which failure."""
        return _DURABILITY[self.synchronous]

    @property
    def store(self) -> str:
        """See `BrokerCapabilities.store`."""
        return f"sqlite:{self.path}#{self.prefix}"

    def sibling(self, suffix: str) -> Path:
        """The path of a file of this driver next to the database."""
        return self.path.with_name(f"{self.path.name}-{suffix}")

    @property
    def prefix(self) -> str:
        """The prefix of all tables and indexes, in lower case: SQLite ignores the case of their names."""
        default = self.namespace == DEFAULT_NAMESPACE
        return "drivetrain_" if default else f"drivetrain_{service_name(self.namespace)}_"


def _path_faults(parts: DriverUrl) -> Iterator[str]:
    name = parts.path.strip("/")
    if parts.netloc:
        yield "it names a host; write three slashes before a relative path, four before an absolute one"
    elif not name or parts.path.endswith("/"):
        yield "it names no file; write sqlite:///work.db or sqlite:////var/lib/work.db"
    if name == ":memory:":
        yield "processes cannot share a database in memory; use memory:// instead"
    if "\0" in name:
        yield "its path contains a NUL, which no file system takes"
