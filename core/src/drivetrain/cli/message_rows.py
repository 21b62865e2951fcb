"""How a message in a queue is shown."""

from __future__ import annotations

from typing import Any

from drivetrain.app.application import App
from drivetrain.app.limit_waiting import LimitWaiting
from drivetrain.app.queued_tasks import QueuedTask
from drivetrain.cli.output import shown, timestamp
from drivetrain.contract import SerializationError

__all__ = ["HEADERS", "limit_document", "queued_document", "queued_row"]

HEADERS = ("ID", "TASK", "ATTEMPT", "DUE", "DIED", "REASON", "ARGUMENTS")


def queued_row(app: App, task: QueuedTask, *, with_args: bool) -> tuple[object, ...]:
    """A row under `HEADERS`."""
    return (
        task.task_id,
        task.task or "(unreadable)",
        task.attempt,
        # The message of a task in a line comes late, in case nothing wakes it: that is not when it is due.
        "" if task.limit and task.limit.ahead is not None else timestamp(task.eta) or "",
        timestamp(task.died_at) or "",
        str(task.limit) if task.limit else task.reason or "",
        _call(app, task) if with_args else "",
    )


def queued_document(app: App, task: QueuedTask, *, with_args: bool) -> dict[str, Any]:
    """The same for JSON."""
    shown: dict[str, Any] = {
        "id": task.task_id,
        "task": task.task or None,
        "queue": task.queue,
        "attempt": task.attempt,
        "due": timestamp(task.eta),
        "died_at": timestamp(task.died_at),
        "reason": task.reason,
        "limit": limit_document(task.limit),
    }
    if with_args:
        shown["args"] = [_value(app, value) for value in task.args]
        shown["kwargs"] = {name: _value(app, value) for name, value in task.kwargs.items()}
    return shown


def limit_document(limit: LimitWaiting | None) -> dict[str, Any] | None:
    """The limit for which a task waits, for JSON."""
    if limit is None:
        return None
    return {
        "limit": limit.limit,
        "key": limit.key,
        "since": timestamp(limit.since),
        "ahead": limit.ahead,
        "until": timestamp(limit.until),
    }


def _call(app: App, task: QueuedTask) -> str:
    named = (f"{name}={shown(_value(app, value))}" for name, value in task.kwargs.items())
    return f"({', '.join((*(shown(_value(app, value)) for value in task.args), *named))})"


def _value(app: App, plain: Any) -> Any:
    try:
        return app.runtime.registry.codec.decode(plain)
    except SerializationError:
        return plain
