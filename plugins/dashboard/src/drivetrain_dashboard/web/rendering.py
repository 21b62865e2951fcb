"""HTML of pages, from the templates of this package. Every value is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import Response

from drivetrain_dashboard.drawing import FILTERS, GLOBALS

__all__ = ["page_response"]


def page_response(name: str, values: Mapping[str, Any], *, status: int = 200) -> Response:
    """A page. Thread-safe.

    Args:
        name: the name of the template.
        values: what it is filled with.
        status: the status of the answer.
    """
    text = _environment().get_template(name).render(values)
    # UTF-8 cannot hold a lone surrogate, which the name of a task may have.
    content = text.encode("utf-8", "backslashreplace")
    return Response(content, status_code=status, media_type="text/html; charset=utf-8")


@cache
def _environment() -> Environment:
    """The templates. They are compiled once in a process, however many dashboards it has."""
    environment = Environment(
        loader=PackageLoader("drivetrain_dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    environment.globals.update(GLOBALS)
    return environment
