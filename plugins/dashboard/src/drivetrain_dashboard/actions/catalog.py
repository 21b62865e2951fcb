"""All actions by name."""

from __future__ import annotations

from collections.abc import Mapping

from drivetrain_dashboard.actions.dead_letters import DEAD_LETTER_ACTIONS
from drivetrain_dashboard.actions.kinds import ActionKind
from drivetrain_dashboard.actions.limits import LIMIT_ACTIONS
from drivetrain_dashboard.actions.operations import OPERATION_ACTIONS
from drivetrain_dashboard.actions.queues import QUEUE_ACTIONS
from drivetrain_dashboard.actions.schedules import SCHEDULE_ACTIONS
from drivetrain_dashboard.actions.tasks import TASK_ACTIONS
from drivetrain_dashboard.actions.workers import WORKER_ACTIONS

__all__ = ["ACTIONS"]

#: All actions by their names.
ACTIONS: Mapping[str, ActionKind] = {
    kind.name: kind
    for kind in (
        *TASK_ACTIONS,
        *QUEUE_ACTIONS,
        *SCHEDULE_ACTIONS,
        *LIMIT_ACTIONS,
        *DEAD_LETTER_ACTIONS,
        *OPERATION_ACTIONS,
        *WORKER_ACTIONS,
    )
}
