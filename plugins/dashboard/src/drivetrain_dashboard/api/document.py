"""The OpenAPI document of ``/api/v1``, made from the types of the view-models and of the arguments. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from inspect import cleandoc
from typing import Any

import msgspec

from drivetrain_dashboard.actions.catalog import ACTIONS
from drivetrain_dashboard.actions.kinds import ActionKind, Done
from drivetrain_dashboard.api.errors import ApiError
from drivetrain_dashboard.views.catalog import PAGES, PageKind
from drivetrain_dashboard.web.links import API_PATHS

__all__ = ["document"]

_REFERENCE = "#/components/schemas/{name}"
#: What each status of an error means.
_ERRORS: Mapping[int, str] = {
    401: "The request has no valid credentials.",
    403: "The viewer may not do it, or the request may come from another site.",
    404: "There is no such object, or the viewer's role is read-only.",
    409: "A driver cannot do it, or it conflicts with the state of the app.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "A parameter, or the body, is wrong.",
    500: "An unexpected error, which the dashboard has logged.",
    503: "A service cannot be reached.",
}
_PAGE_ERRORS = (401, 403, 404, 409, 422, 500, 503)
_ACTION_ERRORS = (401, 403, 404, 409, 413, 415, 422, 500, 503)


def document(*, base: str, with_actions: bool) -> dict[str, Any]:
    """The document.

    Args:
        base: the address of the interface.
        with_actions: whether actions exist for the viewer.
    """
    actions: Sequence[ActionKind] = tuple(ACTIONS.values()) if with_actions else ()
    pages = tuple(PAGES.values())
    models = [*(kind.model for kind in pages), *(kind.query for kind in pages), ApiError]
    if actions:
        models += [Done, *(kind.arguments for kind in actions)]
    schemas, components = msgspec.json.schema_components(list(dict.fromkeys(models)), ref_template=_REFERENCE)
    references = dict(zip(dict.fromkeys(models), schemas, strict=True))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "drivetrain dashboard",
            "version": version("drivetrain-dashboard"),
            "description": "Queues, tasks, workflows, workers, schedules and limits of an app. Times are Unix seconds.",
        },
        "servers": [{"url": base}],
        "paths": {
            **{API_PATHS[kind.name]: {"get": _page(kind, references, components)} for kind in pages},
            **{f"/actions/{kind.name}": {"post": _action(kind, references)} for kind in actions},
        },
        "components": {"schemas": {name: _described(schema) for name, schema in components.items()}},
    }


def _described(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema whose description, the docstring of the type, is not indented."""
    return {**schema, **({"description": cleandoc(schema["description"])} if "description" in schema else {})}


def _page(kind: PageKind, references: Mapping[Any, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "operationId": kind.name,
        "summary": kind.title,
        "parameters": _parameters(kind, components),
        "responses": _responses(references, references[kind.model], _PAGE_ERRORS),
    }


def _parameters(kind: PageKind, components: Mapping[str, Any]) -> list[dict[str, Any]]:
    schema = components[kind.query.__name__]
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": one}
        for name, one in schema["properties"].items()
    ]


def _action(kind: ActionKind, references: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        "operationId": kind.name,
        "summary": kind.summary,
        "description": f"Needs the role {kind.role.value}.",
        "requestBody": {"required": True, "content": _content(references[kind.arguments])},
        "responses": _responses(references, references[Done], _ACTION_ERRORS),
    }


def _responses(references: Mapping[Any, Any], good: Any, errors: Sequence[int]) -> dict[str, Any]:
    failed = {
        str(status): {"description": _ERRORS[status], "content": _content(references[ApiError])} for status in errors
    }
    return {"200": {"description": "Done.", "content": _content(good)}, **failed}


def _content(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
