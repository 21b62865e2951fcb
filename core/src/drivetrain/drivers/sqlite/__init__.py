"""``sqlite:///work.db``: a broker and a backend in one file, for all processes and threads of one machine.

``sqlite:///relative.db`` and ``sqlite:////absolute.db``, with the options of `drivetrain.drivers.sqlite.options`. What
was acknowledged survives ``kill -9``, and with ``synchronous=full`` (the default) the loss of power. Beside the file
lie SQLite's ``-wal`` and ``-shm``, ``-lock``, in which writers queue, and ``-published`` and ``-finished``, by
which those who wait are woken; all of them must be on a local disk.
"""

from __future__ import annotations

from drivetrain.contract import DriverContext, hookimpl
from drivetrain.drivers.sqlite.backend import SqliteBackend
from drivetrain.drivers.sqlite.broker import SqliteBroker
from drivetrain.drivers.sqlite.options import Options

__all__ = ["SqliteBackend", "SqliteBroker", "make_backend", "make_broker"]


@hookimpl
def make_broker(url: str, context: DriverContext) -> SqliteBroker:
    """Make the broker of a ``sqlite://`` URL.

    Raises:
        ConfigurationError: the URL is wrong; every fault is named.
    """
    return SqliteBroker(Options.parse(url, context.namespace).in_directory(context.directory), context.clock)


@hookimpl
def make_backend(url: str, context: DriverContext) -> SqliteBackend:
    """Make the backend of a ``sqlite://`` URL.

    Raises:
        ConfigurationError: the URL is wrong; every fault is named.
    """
    return SqliteBackend(Options.parse(url, context.namespace).in_directory(context.directory), context.clock)
