"""``amqp://user:password@host:5672/vhost``: a broker on RabbitMQ 3.10 or later; ``amqps://`` over TLS.

Several hosts, separated by commas, are tried in turn at every connect. The options of a URL are those of
`drivetrain_amqp.options`.
"""

from __future__ import annotations

from drivetrain.contract import DriverContext, hookimpl
from drivetrain_amqp.broker import AmqpBroker
from drivetrain_amqp.options import Options

__all__ = ["AmqpBroker", "make_broker"]


@hookimpl
def make_broker(url: str, context: DriverContext) -> AmqpBroker:
    """Make the broker of an ``amqp://`` or ``amqps://`` URL.

    Raises:
        ConfigurationError: the URL is wrong; every fault is named.
    """
    return AmqpBroker(Options.parse(url, context.namespace).in_directory(context.directory), context.clock)
