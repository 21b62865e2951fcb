"""Results as Django's tasks framework shows them, from records of drivetrain."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from attrs import field, frozen
from django.conf import settings
from django.utils.module_loading import import_string

from drivetrain import Failure, State, TaskRecord
from drivetrain_django.tasks_api import AnyTask, AnyTaskResult, TaskError, TaskResult, TaskResultStatus

__all__ = ["StoredCall", "moment", "task_error", "task_result"]

_STATUS: Final = {
    State.PENDING: TaskResultStatus.READY,
    State.RECEIVED: TaskResultStatus.READY,
    State.RETRY: TaskResultStatus.READY,
    State.STARTED: TaskResultStatus.RUNNING,
    State.SUCCESS: TaskResultStatus.SUCCESSFUL,
    State.FAILURE: TaskResultStatus.FAILED,
    State.CANCELLED: TaskResultStatus.FAILED,
    State.EXPIRED: TaskResultStatus.FAILED,
}
#: The error classes of failures that no exception of the task has caused.
_OWN_ERRORS: Final = {
    "drivetrain.Cancelled": "drivetrain.TaskCancelled",
    "drivetrain.Expired": "drivetrain.TaskExpired",
}
#: The error class of a failure whose own class cannot be imported here.
_ANY_ERROR: Final = "drivetrain.TaskFailed"


@frozen
class StoredCall:
    """What the backend of drivetrain stores of a call beside its record, since a record has no arguments."""

    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(factory=dict)
    #: What `using` has changed: ``priority``, ``queue_name`` and ``run_after``.
    using: Mapping[str, Any] = field(factory=dict)
    #: When it was enqueued; None: unknown.
    enqueued_at: datetime | None = None

    @classmethod
    def of(cls, result: AnyTaskResult) -> StoredCall:
        """What is stored of a result that is about to be sent."""
        task = result.task
        using = {"priority": task.priority, "queue_name": task.queue_name, "run_after": task.run_after}
        return cls(result.args, result.kwargs, using, result.enqueued_at)

    def dump(self) -> bytes:
        """The stored form."""
        using = {name: _iso(value) for name, value in self.using.items()}
        stored = {"args": self.args, "kwargs": self.kwargs, "using": using, "enqueued_at": _iso(self.enqueued_at)}
        return json.dumps(stored).encode()

    @classmethod
    def load(cls, stored: bytes) -> StoredCall:
        """From its stored form."""
        plain = json.loads(stored)
        using = {**plain["using"], "run_after": _moment_of(plain["using"]["run_after"])}
        return cls(plain["args"], plain["kwargs"], using, _moment_of(plain["enqueued_at"]))


def task_result(
    record: TaskRecord, task: AnyTask, call: StoredCall, *, backend: str, failure: Failure | None, value: Any
) -> AnyTaskResult:
    """The result of a task as Django shows it.

    Args:
        record: its record.
        task: the task of Django, as its module defines it.
        call: its arguments, and what the sender has changed of the task.
        backend: the alias of the backend.
        failure: why its last attempt failed; None: it has not, or that is unknown.
        value: what it has returned, if it has.
    """
    result = TaskResult(
        task=task.using(**call.using),
        id=record.task_id,
        status=_STATUS[record.state],
        enqueued_at=call.enqueued_at or _entered(record, State.PENDING),
        started_at=_entered(record, State.STARTED),
        last_attempted_at=_entered(record, State.STARTED),
        finished_at=_entered(record, record.state) if record.state.terminal else None,
        args=[*call.args],
        kwargs={**call.kwargs},
        backend=backend,
        errors=[] if failure is None else [task_error(failure)],
        worker_ids=_workers(record),
    )
    object.__setattr__(result, "_return_value", value)
    return result


def task_error(failure: Failure) -> TaskError:
    """A failure as Django shows it: the path of a class that can be imported, and the traceback."""
    name = _OWN_ERRORS.get(failure.type, failure.type)
    path = name if "." in name else f"builtins.{name}"
    return TaskError(
        exception_class_path=path if _is_error(path) else _ANY_ERROR,
        traceback=failure.traceback or f"{failure.type}: {failure.message}",
    )


def moment(seconds: float) -> datetime:
    """Unix seconds as Django writes times: aware if ``USE_TZ`` is set."""
    at = datetime.fromtimestamp(seconds, UTC)
    return at if settings.USE_TZ else at.astimezone().replace(tzinfo=None)


def _iso(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _moment_of(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _entered(record: TaskRecord, state: State) -> datetime | None:
    change = record.history.get(state)
    return None if change is None else moment(change.at)


def _workers(record: TaskRecord) -> list[str]:
    """A worker for each attempt that has begun. Records know the last one only; the earlier ones are empty texts."""
    started = record.history.get(State.STARTED)
    return [] if started is None else [*([""] * record.attempt), started.worker]


def _is_error(path: str) -> bool:
    try:
        found = import_string(path)
    except ImportError:
        return False
    return isinstance(found, type) and issubclass(found, BaseException)
