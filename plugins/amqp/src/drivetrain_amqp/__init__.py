"""The RabbitMQ broker of drivetrain: the driver of ``amqp://`` and ``amqps://`` URLs.

The URL's options are those of `drivetrain_amqp.options.Options`. What no URL can hold comes by ``driver_options``:
pika's ``ConnectionParameters``, ``SSLOptions`` and credentials, client properties, and a source of OAuth 2 tokens.
"""

from __future__ import annotations

from drivetrain.contract import DriverContext, hookimpl
from drivetrain_amqp.broker import AmqpBroker
from drivetrain_amqp.options import AccessToken, Options

__all__ = ["AccessToken", "AmqpBroker", "make_broker"]


@hookimpl
def make_broker(url: str, context: DriverContext) -> AmqpBroker:
    """Make the broker of an ``amqp://`` or ``amqps://`` URL. Does no I/O.

    Raises:
        ConfigurationError: the URL or ``context.options`` is wrong; the error lists every fault.
    """
    options = Options.parse(url, context.namespace, context.options)
    return AmqpBroker(options.in_directory(context.directory), context.clock)
