"""Actions on workers: stop."""

from __future__ import annotations

from collections.abc import Sequence

from drivetrain import App
from drivetrain_dashboard.actions.kinds import ActionKind, Arguments, Done
from drivetrain_dashboard.actions.refusals import stores_nothing
from drivetrain_dashboard.actions.roles import Role
from drivetrain_dashboard.views.page import Id, Text

__all__ = ["WORKER_ACTIONS", "WorkerStop"]


class WorkerStop(Arguments, frozen=True, kw_only=True):
    """Which worker to stop, and why.

    Attributes:
        worker: its name.
        why: the reason, shown to other operators.
    """

    worker: Id
    why: Text = ""


def _stop(app: App, chosen: WorkerStop, by: str) -> Done:
    (worker,) = app.operations.stop_workers(chosen.worker, why=chosen.why, by=by)
    runs = (
        "It runs nothing." if not worker.running_count else f"It waits for its {worker.running_count:,} running tasks."
    )
    return Done(text=f"Worker {chosen.worker} is asked to stop, and receives nothing more. {runs}")


def _question(_app: App, chosen: WorkerStop) -> str:
    return (
        f"Stop worker {chosen.worker}? Running tasks end in its grace period, and the others are released. "
        "Its supervisor starts no other in its place; start it again on its machine."
    )


def _workers_of(chosen: WorkerStop) -> Sequence[str]:
    return [chosen.worker]


WORKER_ACTIONS = (
    ActionKind(
        name="workers.stop",
        label="Stop",
        role=Role.ADMIN,
        arguments=WorkerStop,
        question=_question,
        objects_of=_workers_of,
        refusal=stores_nothing,
        perform=_stop,
        summary="Stop a worker: it receives nothing more, and its running tasks end in its grace period.",
    ),
)
