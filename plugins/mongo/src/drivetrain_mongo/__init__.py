"""``mongodb://host/database``: results, groups and locks of drivetrain in MongoDB.

Also ``mongodb+srv://``. The URL is MongoDB's own, with the options of `drivetrain_mongo.options` besides.
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
        ConfigurationError: the URL is wrong; every fault is named.
    """
    return MongoBackend(Options.parse(url, context.namespace).in_directory(context.directory), context.clock)
