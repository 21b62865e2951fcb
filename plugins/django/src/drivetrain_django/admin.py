"""The page of tasks in the admin: what is queued, and the tasks in a state; with a link to the dashboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from drivetrain import DrivetrainError, FoundTask, State
from drivetrain.contract import QueueSizes
from drivetrain_django.application import get_app
from drivetrain_django.models import TaskPage
from drivetrain_django.options import read_options
from drivetrain_django.records import moment

__all__ = ["TaskPageAdmin"]

#: How many tasks a page shows.
_LIMIT: Final = 100
_STATES: Final = tuple(state.value for state in State)


@frozen
class _Row:
    """A task, as the page shows it."""

    task: FoundTask
    changed: Any


@frozen
class _Found:
    """What the page shows."""

    rows: Sequence[_Row] = ()
    cursor: str | None = None
    queues: Mapping[str, QueueSizes] = {}
    error: str = ""


@admin.register(TaskPage)
class TaskPageAdmin(admin.ModelAdmin):  # type: ignore[type-arg, unused-ignore]
    """Shows tasks to users with the permission ``drivetrain_django.view_taskpage``. It changes nothing."""

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - named by Django
        """Nothing can be added."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:  # noqa: ARG002 - named by Django
        """Nothing can be changed."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:  # noqa: ARG002 - named by Django
        """Nothing can be deleted."""
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The page."""
        state = request.GET.get("state", State.FAILURE.value)
        found = _find(state if state in _STATES else "", request.GET.get("text", ""), request.GET.get("cursor") or None)
        context = {
            **self.admin_site.each_context(request),
            "title": "Tasks",
            "opts": self.opts,
            "found": found,
            "state": state,
            "states": _STATES,
            "text": request.GET.get("text", ""),
            "dashboard_url": read_options().dashboard_url,
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/drivetrain_django/taskpage.html", context)


def _find(state: str, text: str, cursor: str | None) -> _Found:
    operations = get_app().operations
    try:
        queues = operations.sizes()
        page = operations.find(state=state or None, text=text, limit=_LIMIT, cursor=cursor)
    except DrivetrainError as error:  # a service is away, or the search cannot be made: the page says so
        return _Found(error=str(error))
    rows = [_Row(one, None if one.changed is None else moment(one.changed)) for one in page.tasks]
    return _Found(rows, page.cursor, queues)
