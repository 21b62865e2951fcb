"""All pages: their names, addresses, view-models, and the actions that they offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from drivetrain_dashboard.views.context import ReadContext
from drivetrain_dashboard.views.dead_letters import DeadLettersPage, DeadLettersQuery, read_dead_letters
from drivetrain_dashboard.views.drivers import DriversPage, DriversQuery, read_drivers
from drivetrain_dashboard.views.limits import LimitsPage, LimitsQuery, read_limits
from drivetrain_dashboard.views.operations import (
    OperationPage,
    OperationQuery,
    OperationsPage,
    OperationsQuery,
    read_operation,
    read_operations,
)
from drivetrain_dashboard.views.overview import OverviewPage, OverviewQuery, read_overview
from drivetrain_dashboard.views.page import Page, Query
from drivetrain_dashboard.views.queues import QueuesPage, QueuesQuery, read_queues
from drivetrain_dashboard.views.schedules import SchedulesPage, SchedulesQuery, read_schedules
from drivetrain_dashboard.views.task import TaskPage, TaskQuery, read_task
from drivetrain_dashboard.views.tasks import TasksPage, TasksQuery, read_tasks
from drivetrain_dashboard.views.workers import WorkersPage, WorkersQuery, read_workers
from drivetrain_dashboard.views.workflow import WorkflowPage, WorkflowQuery, read_workflow

__all__ = ["PAGES", "PageKind"]


@frozen(kw_only=True)
class PageKind:
    """A page.

    Attributes:
        name: its name. The template is ``<name>.html``.
        path: its address below the base path. ``/api/v1`` has its JSON at the same path.
        title: its title.
        query: the type of its parameters.
        model: the type of its view-model.
        read: fills the view-model. It may block, and raise DrivetrainError.
        actions: the names of the actions that it offers.
        in_menu: whether the menu has it.
    """

    name: str
    path: str
    title: str
    query: type[Query]
    model: type[Page]
    read: Callable[[ReadContext, Any], Page]
    actions: tuple[str, ...] = ()
    in_menu: bool = True


_TASK_ACTIONS = ("tasks.cancel", "tasks.retry", "tasks.run_now")
_QUEUE_ACTIONS = ("queues.pause", "queues.resume", "queues.purge")

#: All pages by name, in the order of the menu.
PAGES: Mapping[str, PageKind] = {
    kind.name: kind
    for kind in (
        PageKind(
            name="overview",
            path="/",
            title="Overview",
            query=OverviewQuery,
            model=OverviewPage,
            read=read_overview,
            actions=_QUEUE_ACTIONS,
        ),
        PageKind(
            name="tasks",
            path="/tasks",
            title="Tasks",
            query=TasksQuery,
            model=TasksPage,
            read=read_tasks,
            actions=_TASK_ACTIONS,
        ),
        PageKind(
            name="task",
            path="/task",
            title="Task",
            query=TaskQuery,
            model=TaskPage,
            read=read_task,
            actions=_TASK_ACTIONS,
            in_menu=False,
        ),
        PageKind(
            name="workflow",
            path="/workflow",
            title="Workflow",
            query=WorkflowQuery,
            model=WorkflowPage,
            read=read_workflow,
            actions=_TASK_ACTIONS,
            in_menu=False,
        ),
        PageKind(
            name="queues",
            path="/queues",
            title="Queues",
            query=QueuesQuery,
            model=QueuesPage,
            read=read_queues,
            actions=(*_QUEUE_ACTIONS, *_TASK_ACTIONS),
        ),
        PageKind(
            name="workers",
            path="/workers",
            title="Workers",
            query=WorkersQuery,
            model=WorkersPage,
            read=read_workers,
            actions=("workers.stop",),
        ),
        PageKind(
            name="schedules",
            path="/schedules",
            title="Schedules",
            query=SchedulesQuery,
            model=SchedulesPage,
            read=read_schedules,
            actions=(
                "schedules.pause",
                "schedules.resume",
                "schedules.trigger",
                "schedules.backfill",
                "schedules.remove",
            ),
        ),
        PageKind(
            name="limits",
            path="/limits",
            title="Limits",
            query=LimitsQuery,
            model=LimitsPage,
            read=read_limits,
            actions=("limits.set", "limits.reset"),
        ),
        PageKind(
            name="dead_letters",
            path="/dead-letters",
            title="Dead letters",
            query=DeadLettersQuery,
            model=DeadLettersPage,
            read=read_dead_letters,
            actions=("dead_letters.replay", "dead_letters.drop"),
        ),
        PageKind(
            name="operations",
            path="/operations",
            title="Operations",
            query=OperationsQuery,
            model=OperationsPage,
            read=read_operations,
            actions=("operations.stop",),
        ),
        PageKind(
            name="operation",
            path="/operation",
            title="Operation",
            query=OperationQuery,
            model=OperationPage,
            read=read_operation,
            actions=("operations.stop",),
            in_menu=False,
        ),
        PageKind(
            name="drivers",
            path="/drivers",
            title="Drivers",
            query=DriversQuery,
            model=DriversPage,
            read=read_drivers,
        ),
    )
}
