"""``sqs://eu-central-1``: a broker on Amazon SQS.

The options of its URL are those of `drivetrain_sqs.options.Options`.
"""

from __future__ import annotations

from drivetrain.contract import DriverContext, hookimpl
from drivetrain_sqs.broker import SqsBroker
from drivetrain_sqs.options import Options

__all__ = ["SqsBroker", "make_broker"]


@hookimpl
def make_broker(url: str, context: DriverContext) -> SqsBroker:
    """Make the broker of an ``sqs://``, ``sqs+http://`` or ``sqs+https://`` URL.

    Raises:
        ConfigurationError: the URL is wrong; every fault is named.
    """
    return SqsBroker(Options.parse(url, context.namespace), context.clock)
