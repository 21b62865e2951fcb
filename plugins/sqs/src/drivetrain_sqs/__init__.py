"""``sqs://eu-central-1``: a broker on Amazon SQS.

`drivetrain_sqs.options.Options` lists the options of the URL.
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
        ConfigurationError: the URL or a driver option is wrong; it names every fault.
    """
    return SqsBroker(Options.parse(url, context), context.clock)
