"""The page of a workflow: its tasks and groups as a tree, with their states and times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, field
from msgspec.structs import replace

from drivetrain.app.workflow_tree import WorkflowTree
from drivetrain.contract import NotSupported, SerializationError, UnknownResult
from drivetrain_dashboard.views.context import ReadContext
from drivetrain_dashboard.views.page import Id, Page, Query

__all__ = ["WorkflowPage", "WorkflowQuery", "read_workflow"]


class WorkflowQuery(Query, frozen=True, kw_only=True):
    """Which workflow to show.

    Attributes:
        id: the id of any of its tasks or groups.
        members: how many members of each group are shown; the others are counted.
    """

    id: Id
    members: Annotated[int, Meta(ge=0, le=500)] = 50


class WorkflowPage(Page, frozen=True, kw_only=True):
    """The page of a workflow.

    Attributes:
        task_id: the id that was asked for.
        found: whether the backend has a record of it.
        tree: the workflow; None: it cannot be shown.
        states: how many of the tasks that the tree shows are in each state; ``?``: unknown. Groups do not count.
        hidden: how many members of groups the tree leaves out.
        members: how many members of each group it shows.
    """

    task_id: str
    found: bool = True
    tree: WorkflowTree | None = None
    states: Mapping[str, int] = field(default_factory=dict)
    hidden: int = 0
    members: int = 50


def read_workflow(context: ReadContext, query: WorkflowQuery) -> WorkflowPage:
    """Read the page. A workflow that is unknown has a page that says so.

    Raises:
        ServiceError: a service could not be reached.
    """
    page = WorkflowPage(at=context.now(), task_id=query.id, members=query.members)
    try:
        tree = context.operations.workflow(query.id, limit=query.members)
    except UnknownResult:
        problem = "The backend has no record of this id. The id is wrong, or the record has expired."
        return replace(page, found=False, problem=problem)
    except (NotSupported, SerializationError) as error:
        return replace(page, found=False, problem=str(error))
    steps = list(tree.all_steps())
    states = Counter("?" if one.state is None else one.state.value for one in steps if not one.group)
    return replace(
        page, tree=tree, states=dict(states.most_common()), hidden=sum(max(0, one.hidden) for one in steps if one.group)
    )
