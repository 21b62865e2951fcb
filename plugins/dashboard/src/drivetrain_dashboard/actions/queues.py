"""Actions on queues: pause, resume, purge."""

from __future__ import annotations

from collections.abc import Sequence

from drivetrain import App
from drivetrain_dashboard.actions.kinds import ActionKind, Arguments, Done
from drivetrain_dashboard.actions.refusals import stores_nothing
from drivetrain_dashboard.actions.roles import Role
from drivetrain_dashboard.views.page import Id, Text

__all__ = ["QUEUE_ACTIONS", "QueueChoice", "QueuePause"]


class QueueChoice(Arguments, frozen=True, kw_only=True):
    """Which queue to act on.

    Attributes:
        queue: its name.
    """

    queue: Id


class QueuePause(Arguments, frozen=True, kw_only=True):
    """Which queue to pause, and why.

    Attributes:
        queue: its name.
        why: the reason, shown to other operators.
    """

    queue: Id
    why: Text = ""


def _pause(app: App, chosen: QueuePause, by: str) -> Done:
    app.operations.pause(chosen.queue, why=chosen.why, by=by)
    return Done(text=f"Queue {chosen.queue} is paused: no worker starts a task from it. Running tasks go on.")


def _resume(app: App, chosen: QueueChoice, _by: str) -> Done:
    resumed = app.operations.resume(chosen.queue)
    return Done(text=f"Queue {chosen.queue} {'is resumed' if resumed else 'was not paused'}.")


def _purge(app: App, chosen: QueueChoice, _by: str) -> Done:
    number = app.operations.purge(chosen.queue)
    dropped = "1 message was" if number == 1 else f"{number:,} messages were"
    return Done(text=f"{dropped} dropped from queue {chosen.queue}.")


def _purge_question(app: App, chosen: QueueChoice) -> str:
    sizes = app.operations.sizes([chosen.queue])[chosen.queue]
    known = [number for number in (sizes.ready, sizes.delayed) if number is not None]
    number = f"the {sum(known):,} tasks" if known else "all tasks"
    how = (
        "They are cancelled, with all that waits for them."
        if app.runtime.broker.capabilities.peeks
        else "The broker cannot show them, so their tasks are not cancelled: they stay pending until they are ended."
    )
    return f"Drop {number} that wait in queue {chosen.queue}? {how} This cannot be undone."


def _queue_of(chosen: QueueChoice | QueuePause) -> Sequence[str]:
    return [chosen.queue]


QUEUE_ACTIONS = (
    ActionKind(
        name="queues.pause",
        label="Pause",
        arguments=QueuePause,
        objects_of=_queue_of,
        refusal=stores_nothing,
        perform=_pause,
        summary="Pause a queue: no worker starts a task from it. Running tasks go on, and nothing is lost.",
    ),
    ActionKind(
        name="queues.resume",
        label="Resume",
        arguments=QueueChoice,
        objects_of=_queue_of,
        refusal=stores_nothing,
        perform=_resume,
        summary="Resume a paused queue.",
    ),
    ActionKind(
        name="queues.purge",
        label="Purge",
        role=Role.ADMIN,
        arguments=QueueChoice,
        question=_purge_question,
        objects_of=_queue_of,
        perform=_purge,
        summary="Cancel the tasks that wait in a queue, delayed ones included, and drop their messages.",
    ),
)
