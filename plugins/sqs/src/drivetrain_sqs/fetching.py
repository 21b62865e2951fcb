"""One receive call."""

from __future__ import annotations

from attrs import frozen

from drivetrain.contract import Clock, ServiceError
from drivetrain_sqs.errors import is_missing_queue
from drivetrain_sqs.opening import Opener
from drivetrain_sqs.queues import Queues
from drivetrain_sqs.receipts import Receipt, visibility
from drivetrain_sqs.service import Service
from drivetrain_sqs.source import Source

__all__ = ["Fetched", "Fetcher"]


@frozen
class Fetched:
    """What a call has brought."""

    #: How many messages came.
    number: int
    #: Those of them that are for the caller.
    receipts: list[Receipt]


class Fetcher:
    """Receives messages and opens them. Thread-safe."""

    def __init__(self, service: Service, queues: Queues, opener: Opener, clock: Clock) -> None:
        self._service = service
        self._queues = queues
        self._opener = opener
        self._clock = clock

    def fetch(self, source: Source, *, size: int, wait_seconds: int, hold_seconds: float) -> Fetched:
        """Receive up to ``size`` (ten at most) messages, waiting for the first one."""
        hidden = visibility(hold_seconds)
        began = self._clock.monotonic()
        try:
            answer = self._service.call(
                "ReceiveMessage",
                source.where.name,
                QueueUrl=source.where.url,
                MaxNumberOfMessages=size,
                WaitTimeSeconds=wait_seconds,
                VisibilityTimeout=hidden,
                AttributeNames=["ApproximateReceiveCount"],
                MessageAttributeNames=["All"],
            )
        except ServiceError as error:
            if is_missing_queue(error):
                self._queues.forget(source.where.name)
            raise
        raws = answer.get("Messages", ())
        receipts = self._opener.open(source, raws, began=began, waited=wait_seconds, hidden=hidden)
        return Fetched(len(raws), receipts)
