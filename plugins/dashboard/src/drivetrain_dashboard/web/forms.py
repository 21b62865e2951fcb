"""The routes of actions in forms: they work without a script, and lead back to the page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from drivetrain_dashboard.actions.catalog import ACTIONS
from drivetrain_dashboard.actions.kinds import ActionKind, Arguments, Done
from drivetrain_dashboard.web.bodies import BodyTooLarge, read_body
from drivetrain_dashboard.web.dashboard import Dashboard
from drivetrain_dashboard.web.doing import ActionRefused, perform, question_of
from drivetrain_dashboard.web.notices import Notice
from drivetrain_dashboard.web.queries import WrongInput, read_arguments
from drivetrain_dashboard.web.rendering import page_response
from drivetrain_dashboard.web.threads import in_thread
from drivetrain_dashboard.web.visit import Visit, visit_of

__all__ = ["BACK", "CONFIRMED", "form_routes"]

#: Fields that every form may have: the page to go back to, and that a question was answered.
BACK, CONFIRMED = "back", "confirmed"
_MOST_FIELDS = 2000

_Fields = Sequence[tuple[str, str]]


def form_routes(dashboard: Dashboard) -> list[BaseRoute]:
    """A route for each action."""
    return [Route(f"/do/{kind.name}", _endpoint(dashboard, kind), methods=["POST"]) for kind in ACTIONS.values()]


def _endpoint(dashboard: Dashboard, kind: ActionKind) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        visit = visit_of(request)
        if not dashboard.permissions.acts(visit.viewer):
            return dashboard.error(request, 404, "There is no such page.")
        try:
            fields = _fields(await read_body(request))
            arguments = read_arguments(kind.arguments, [one for one in fields if one[0] not in {BACK, CONFIRMED}])
        except BodyTooLarge:
            return dashboard.error(request, 413, "The form is too large: choose fewer tasks, or all that match.")
        except (WrongInput, ValueError) as error:
            text = f"The form is wrong: {error}."  # the exception is unset when the block ends
            return dashboard.error(request, 422, text)
        response = await in_thread(lambda: _answer(dashboard, request, kind, arguments, fields))
        dashboard.snapshots.forget()
        return response

    return endpoint


def _answer(
    dashboard: Dashboard, request: Request, kind: ActionKind, arguments: Arguments, fields: _Fields
) -> Response:
    """Ask, or act and lead back. It may block."""
    visit, given = visit_of(request), dict(fields)
    back = given.get(BACK, "")
    back = back if visit.links.is_within(back) else visit.links(_page_of(kind))
    try:
        if CONFIRMED not in given:
            question = question_of(dashboard.permissions, visit.viewer, kind, arguments)
            if question:
                return _confirm(dashboard, visit, kind, question=question, fields=fields, back=back)
        notice = _notice(visit, perform(dashboard.permissions, visit.viewer, kind, arguments))
    except ActionRefused as refused:
        notice = Notice(text=refused.text, done=False, viewer=visit.viewer.name)
    to = visit.links("operation", id=notice.operation) if notice.operation else back
    return RedirectResponse(_with_notice(to, dashboard.notices.add(notice)), status_code=303)


def _confirm(
    dashboard: Dashboard, visit: Visit, kind: ActionKind, *, question: str, fields: _Fields, back: str
) -> Response:
    """A page that asks the question. Its form has the same fields."""
    values = {
        **dashboard.values(visit),
        "title": kind.label,
        "question": question,
        "action": kind.name,
        "fields": [*(field for field in fields if field[0] != BACK), (BACK, back), (CONFIRMED, "1")],
        "back": back,
    }
    return page_response("confirm.html", values)


def _notice(visit: Visit, done: Done) -> Notice:
    acted = not done.outcomes or any(one.verdict == "done" for one in done.outcomes)
    return Notice(text=done.text, done=acted, operation=done.operation, task_id=done.task_id, viewer=visit.viewer.name)


def _page_of(kind: ActionKind) -> str:
    """The page that an action belongs to: the first part of its name."""
    return kind.name.partition(".")[0]


def _with_notice(address: str, key: str) -> str:
    parts = urlsplit(address)
    kept = [part for part in parts.query.split("&") if part and not part.startswith("notice=")]
    return parts._replace(query="&".join([*kept, f"notice={key}"])).geturl()


def _fields(body: bytes) -> list[tuple[str, str]]:
    """The fields of a form, as browsers encode them by default.

    Raises:
        ValueError: it is not such a form, or has too many fields.
    """
    return parse_qsl(
        body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=_MOST_FIELDS
    )
