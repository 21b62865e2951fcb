"""The driver of ``mongodb://host/database`` and ``mongodb+srv://``: results, groups and versioned values in MongoDB.

The URL is MongoDB's own, with the options of `drivetrain_mongo.options` in addition.
"""

from __future__ import annotations

from drivetrain.contract import DriverContext, hookimpl
from drivetrain_mongo.backend import MongoBackend
from drivetrain_mongo.options import Options

__all__ = ["MongoBackend", "make_backend"]


@hookimpl
def make_backend(url: str, context: DriverContext) -> MongoBackend:
    """Make the backend of a ``mongodb://`` or ``mongodb+srv://`` URL. Does no I/O.

    Raises:
        ConfigurationError: the URL or a driver option is wrong; it names every fault.
    """
    options = Options.parse(url, context.namespace, context.options)
    return MongoBackend(options.in_directory(context.directory), context.clock)
