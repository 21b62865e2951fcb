"""Broker, backend and locks of drivetrain on Redis and Valkey.

Both are made from the same URLs; the README says what may stand in them.
"""

from __future__ import annotations

from drivetrain.contract import Backend, Broker, DriverContext, hookimpl
from drivetrain_redis.backend import RedisBackend
from drivetrain_redis.broker import RedisBroker
from drivetrain_redis.options import Options

__all__ = ["RedisBackend", "RedisBroker", "make_backend", "make_broker"]


@hookimpl
def make_broker(url: str, context: DriverContext) -> Broker:
    """Make the broker of a URL of this driver. The server's clock counts, not that of the context.

    Raises:
        ConfigurationError: the URL is wrong; every fault is named.
    """
    return RedisBroker(Options.parse(url, context.namespace).in_directory(context.directory))


@hookimpl
def make_backend(url: str, context: DriverContext) -> Backend:
    """Make the backend of a URL of this driver. The server's clock counts, not that of the context.

    Raises:
        ConfigurationError: the URL is wrong; every fault is named.
    """
    return RedisBackend(Options.parse(url, context.namespace).in_directory(context.directory))
