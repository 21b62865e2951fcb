"""``sqlite:///work.db``: a broker and a backend in one file, for all processes and threads of one machine.

``sqlite:///relative.db`` and ``sqlite:////absolute.db``, with the options of `drivetrain.drivers.sqlite.options`.
Acknowledged calls survive ``kill -9``, and with ``synchronous=full`` (the default) also the loss of power.

Next to the file are SQLite's ``-wal`` and ``-shm``, the write lock ``-lock``, and ``-published`` and ``-finished``, by
which processes notify each other. All of them must be on a local disk.
"""

from __future__ import annotations

from drivetrain.contract import DriverContext, hookimpl
from drivetrain.drivers.sqlite.backend import SqliteBackend
from drivetrain.drivers.sqlite.broker import SqliteBroker
from drivetrain.drivers.sqlite.options import Options

__all__ = ["SqliteBackend", "SqliteBroker", "make_backend", "make_broker"]


@hookimpl
def make_broker(url: str, context: DriverContext) -> SqliteBroker:
    """Make the broker of a ``sqlite://`` URL. Does no I/O.

    Raises:
        ConfigurationError: the URL or `DriverContext.options` is wrong; the error names every fault.
    """
    return SqliteBroker(Options.in_context(url, context), context.clock)


@hookimpl
def make_backend(url: str, context: DriverContext) -> SqliteBackend:
    """Make the backend of a ``sqlite://`` URL. Does no I/O.

    Raises:
        ConfigurationError: the URL or `DriverContext.options` is wrong; the error names every fault.
    """
    return SqliteBackend(Options.in_context(url, context), context.clock)
