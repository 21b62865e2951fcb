"""HTML of pages, from the templates of this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import Response

from drivetrain_dashboard.drawing import FILTERS, GLOBALS

__all__ = ["Renderer"]


class Renderer:
    """Renders templates. Every value is escaped. Thread-safe."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=PackageLoader("drivetrain_dashboard"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(FILTERS)
        self._environment.globals.update(GLOBALS)

    def response(self, name: str, values: Mapping[str, Any], *, status: int = 200) -> Response:
        """A page.

        Args:
            name: the name of the template.
            values: what it is filled with.
            status: the status of the answer.
        """
        text = self._environment.select_template([name, "plain.html"]).render(values)
        # A lone surrogate, which the name of a task may have, has no UTF-8.
        content = text.encode("utf-8", "backslashreplace")
        return Response(content, status_code=status, media_type="text/html; charset=utf-8")
