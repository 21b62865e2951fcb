"""Broker and backend of drivetrain on Redis and Valkey, over redis-py's connections."""

from __future__ import annotations

from drivetrain.contract import Backend, Broker, DriverContext, hookimpl
from drivetrain_redis.backend import RedisBackend
from drivetrain_redis.broker import RedisBroker
from drivetrain_redis.options import Options

__all__ = ["RedisBackend", "RedisBroker", "make_backend", "make_broker"]


@hookimpl
def make_broker(url: str, context: DriverContext) -> Broker:
    """Make the broker of a URL of this driver.

    Times are those of the server's clock. Only the time at which a message is published is that of the context's.

    Raises:
        ConfigurationError: the URL or the options of the context are wrong; every fault is named.
    """
    return RedisBroker(_options(url, context), context.clock)


@hookimpl
def make_backend(url: str, context: DriverContext) -> Backend:
    """Make the backend of a URL of this driver. Times are those of the server's clock, not of the context's.

    Raises:
        ConfigurationError: the URL or the options of the context are wrong; every fault is named.
    """
    return RedisBackend(_options(url, context))


def _options(url: str, context: DriverContext) -> Options:
    return Options.parse(url, context.namespace, context.options).in_directory(context.directory)
