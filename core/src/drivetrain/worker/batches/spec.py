"""What applications write: ``@app.task(batch=Batch(100, wait=5))``. An immutable value."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

from drivetrain.contract import InvalidSignature
from drivetrain.worker.limits.durations import Duration, seconds

__all__ = ["Batch"]

#: The most rows of a batch: each is a message that one worker has in flight.
_LARGEST_SIZE = 10_000
#: The longest wait, in seconds. RabbitMQ closes the channel of a consumer that keeps a message for half an hour.
_LONGEST_WAIT_SECONDS = 600.0


def _check_size(_record: object, _attribute: object, value: Any) -> None:
    if type(value) is not int or not 1 <= value <= _LARGEST_SIZE:
        raise InvalidSignature(f"the size of a Batch is {value!r}; use a whole number from 1 to {_LARGEST_SIZE}")


def _wait(value: Duration) -> float:
    wait = seconds("the wait of a Batch", value)
    if wait > _LONGEST_WAIT_SECONDS:
        raise InvalidSignature(
            f"the wait of a Batch is {wait:g} s; use {_LONGEST_WAIT_SECONDS:g} s at most, since a worker keeps the "
            "messages meanwhile; to collect for longer, send the rows from a schedule"
        )
    return wait


@frozen
class Batch:
    """Calls a function once for many tasks: ``def index(rows: list[Row]) -> list[int]``.

    Each task is sent with one row, ``index.send(row)``, and has an id, a state, a result and retries of its own. A
    worker collects the rows that it receives, and calls the function with up to ``size`` of them. Rows that wait for
    their batch hold no slot.

    Attributes:
        size: the most rows of one call, from 1 to 10,000.
        wait: how long after its first row a batch runs that is not full; seconds or a timedelta, 10 minutes at most.
    """

    size: int = field(validator=_check_size)
    wait: float = field(default=1.0, converter=_wait)
