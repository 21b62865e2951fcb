"""The arguments of a task, as far as its record, its message or its dead letter still holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from drivetrain import App
from drivetrain.contract import Failure, QueueSection, SerializationError, State, TaskRecord
from drivetrain.worker.unfinished import Unfinished
from drivetrain_dashboard.views.plain import cut, shown_value

__all__ = ["Arguments", "NamedValue", "read_arguments"]

#: How many messages of each section of its queue are searched for the message of a task.
_SEARCHED = 1000


class NamedValue(Struct, frozen=True):
    """An argument that was passed by name.

    Attributes:
        name: its name.
        value: its value, as text.
    """

    name: str
    value: str


class Arguments(Struct, frozen=True, kw_only=True):
    """The arguments of a task.

    Attributes:
        args: those that were passed by position, as text.
        kwargs: those that were passed by name.
        problem: why they are not known; empty: they are.
    """

    args: tuple[str, ...] = ()
    kwargs: tuple[NamedValue, ...] = ()
    problem: str = ""


def read_arguments(app: App, record: TaskRecord) -> Arguments:
    """The arguments of a task.

    Raises:
        ServiceError: a service could not be reached.
    """
    failure = _failure(app, record)
    if failure is not None and failure.task_id == record.task_id:
        return _shown(app, failure.args, failure.kwargs)
    capabilities = app.runtime.broker.capabilities
    waits = record.state in {State.PENDING, State.RECEIVED, State.RETRY}
    sections = [QueueSection.READY, QueueSection.DELAYED] if capabilities.peeks and waits else []
    if record.state.terminal:
        sections.append(QueueSection.DEAD)
    for section in sections if record.queue else ():
        for message in app.operations.tasks(record.queue, section, limit=_SEARCHED):
            if message.task_id == record.task_id and message.task:
                return _shown(app, message.args, message.kwargs)
    return Arguments(problem=_problem(record, peeks=capabilities.peeks))


def _problem(record: TaskRecord, *, peeks: bool) -> str:
    if record.state is State.STARTED:
        return "The task runs: the broker shows no message that a worker holds."
    if record.state is State.SUCCESS:
        return "The task has succeeded: its message is gone, and the record does not hold its arguments."
    if record.state.terminal:
        return "Neither its record nor the dead letters hold them."
    if not peeks:
        return "The broker cannot show messages that wait."
    return f"Its message is not among the first {_SEARCHED:,} of its queue, or it waits for another task."


def _failure(app: App, record: TaskRecord) -> Failure | None:
    """The failure of its last attempt; None: there is none that can be read."""
    runtime = app.runtime
    try:
        if not record.state.terminal:
            plain = Unfinished.load(runtime.payloads, record).failure
        elif record.state is not State.SUCCESS and record.payload is not None:
            plain = runtime.payloads.load(record.payload)
        else:
            return None
        found: Failure | None = None if plain is None else runtime.registry.codec.decode(plain, Failure)
    except SerializationError:
        return None
    return found


def _shown(app: App, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Arguments:
    return Arguments(
        args=tuple(_value(app, one) for one in args),
        kwargs=tuple(NamedValue(cut(name), _value(app, one)) for name, one in kwargs.items()),
    )


def _value(app: App, plain: Any) -> str:
    try:
        return shown_value(app.runtime.registry.codec.decode(plain))
    except SerializationError:  # of a class that this process does not have
        return shown_value(plain)
