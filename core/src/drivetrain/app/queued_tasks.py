"""Messages in a queue, as operators see them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import evolve, field, frozen

from drivetrain.app.limit_waiting import LimitWaiting
from drivetrain.contract import DEAD_AT_HEADER, DEAD_REASON_HEADER, Message, SerializationError
from drivetrain.worker.publisher import due
from drivetrain.workflow.frames import Invocation

__all__ = ["QueuedTask", "queued_task"]


@frozen(kw_only=True)
class QueuedTask:
    """A message in a queue, as an operator sees it."""

    task_id: str
    #: The name of the task; empty if the message cannot be read.
    task: str
    queue: str
    attempt: int = 0
    #: The arguments, plain. ``repr`` leaves them out, since it is often logged.
    args: Sequence[Any] = field(default=(), repr=False)
    kwargs: Mapping[str, Any] = field(factory=dict, repr=False)
    eta: datetime | None = None
    #: The limit for which it waits; None: for none.
    limit: LimitWaiting | None = None
    #: For a dead letter: why and when it was dead-lettered.
    reason: str | None = None
    died_at: datetime | None = None


def queued_task(
    message: Message, read: Callable[[Message], Invocation], *, limit: LimitWaiting | None = None
) -> QueuedTask:
    """The description of a message for an operator.

    Args:
        message: the message.
        read: reads the invocation from it; raises SerializationError where it cannot.
        limit: the limit for which it waits; None: for none.
    """
    died_at = message.headers.get(DEAD_AT_HEADER)
    queued = QueuedTask(
        task_id=message.id,
        task="",
        queue=message.queue,
        eta=_eta(message),
        limit=limit,
        reason=message.headers.get(DEAD_REASON_HEADER),
        died_at=_datetime(None if died_at is None else float(died_at)),
    )
    try:
        invocation = read(message)
    except SerializationError:
        return queued  # an unreadable message is listed too, so that an operator can drop it
    call = invocation.call
    return evolve(queued, task=call.task, attempt=invocation.attempt, args=call.args, kwargs=call.kwargs)


def _eta(message: Message) -> datetime | None:
    try:
        return _datetime(due(message))
    except SerializationError:  # a worker dead-letters such a message; until then it is listed without an ETA
        return None


def _datetime(seconds: float | None) -> datetime | None:
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError):  # beyond the year 9999
        return None
