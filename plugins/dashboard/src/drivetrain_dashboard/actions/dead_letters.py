"""Actions on dead letters: replay them, drop them; on a selection, or on all that match."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from msgspec import Meta

from drivetrain import App
from drivetrain.app.bulk.operation import Operation
from drivetrain.app.dead_letters import DeadLetterFilter
from drivetrain.contract import ConfigurationError
from drivetrain_dashboard.actions.background import ensure_running
from drivetrain_dashboard.actions.kinds import ActionKind, Arguments, Done
from drivetrain_dashboard.actions.roles import Role
from drivetrain_dashboard.views.dead_letters import letters_filter
from drivetrain_dashboard.views.page import Id, Text

__all__ = ["DEAD_LETTER_ACTIONS", "LetterSelection"]


class LetterSelection(Arguments, frozen=True, kw_only=True):
    """Which dead letters of a queue to act on: those of ``ids``, or all that match.

    Attributes:
        queue: the name of the queue.
        ids: the ids of the tasks.
        matching: act on all dead letters of the queue that match ``task`` and ``reason`` instead.
        task: the name of the task; empty: any.
        reason: a part of the reason, in upper or lower case; empty: any.
        why: the reason of the action, shown to other operators.
    """

    queue: Id
    ids: Annotated[tuple[Id, ...], Meta(max_length=1000)] = ()
    matching: bool = False
    task: Text = ""
    reason: Text = ""
    why: Text = ""


def _filter(chosen: LetterSelection) -> DeadLetterFilter | None:
    if chosen.matching == bool(chosen.ids):
        raise ConfigurationError("choose dead letters by the ids of their tasks, or all that match; not both")
    if chosen.ids:
        return DeadLetterFilter(task_ids=chosen.ids)
    return letters_filter(task=chosen.task, reason=chosen.reason)


def _replay(app: App, chosen: LetterSelection, by: str) -> Done:
    where, operations = _filter(chosen), app.operations
    if app.runtime.backend.capabilities.stores:
        return _begun(app, operations.bulk.replay(chosen.queue, where, by=by, why=chosen.why), "Replay")
    return Done(text=f"{operations.replay(chosen.queue, where):,} dead letters of queue {chosen.queue} were replayed.")


def _drop(app: App, chosen: LetterSelection, by: str) -> Done:
    where, operations = _filter(chosen), app.operations
    if app.runtime.backend.capabilities.stores:
        return _begun(app, operations.bulk.drop(chosen.queue, where, by=by, why=chosen.why), "Drop")
    number = operations.drop_dead_letters(chosen.queue, where)
    return Done(text=f"{number:,} dead letters of queue {chosen.queue} were dropped.")


def _begun(app: App, operation: Operation, label: str) -> Done:
    ensure_running(app, operation)
    return Done(text=f"{label}: it goes on in the background.", operation=operation.id)


def _question(verb: str, end: str) -> Callable[[App, LetterSelection], str]:
    def question(_app: App, chosen: LetterSelection) -> str:
        _filter(chosen)
        if chosen.ids:
            return f"{verb} {len(chosen.ids)} dead letters of queue {chosen.queue}?{end}" if end else ""
        conditions = [
            *([f"of task {chosen.task}"] if chosen.task else []),
            *([f"whose reason has {chosen.reason!r}"] if chosen.reason else []),
        ]
        which = f", {' and '.join(conditions)}" if conditions else ""
        return f"{verb} all dead letters of queue {chosen.queue}{which}?{end}"

    return question


def _queue_of(chosen: LetterSelection) -> Sequence[str]:
    return [chosen.queue]


DEAD_LETTER_ACTIONS = (
    ActionKind(
        name="dead_letters.replay",
        label="Replay",
        summary="Run dead letters again, as if they were sent now.",
        arguments=LetterSelection,
        perform=_replay,
        objects_of=_queue_of,
        question=_question("Replay", ""),
    ),
    ActionKind(
        name="dead_letters.drop",
        label="Drop",
        summary="Delete dead letters.",
        arguments=LetterSelection,
        perform=_drop,
        objects_of=_queue_of,
        role=Role.ADMIN,
        question=_question("Drop", " This cannot be undone."),
    ),
)
