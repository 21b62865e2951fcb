"""Addresses within the dashboard, below its base path. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode, urlsplit

from attrs import frozen

from drivetrain_dashboard.views.catalog import PAGES

__all__ = ["Links", "base_path"]


@frozen
class Links:
    """Makes addresses. Immutable.

    Attributes:
        base: the base path, without a slash at its end; empty: the dashboard is at the root.
    """

    base: str

    def __call__(self, name: str, /, **parameters: object) -> str:
        """The address of something by its name.

        Args:
            name: a page; ``static`` (with ``file``), ``action`` (with ``action``), ``live`` or ``api`` (with ``page``,
                and the parameters of that page).
            parameters: of the page; None, False and "" are left out.

        Raises:
            KeyError: there is no page of this name.
        """
        if name == "static":
            return f"{self.base}/static/{quote(str(parameters['file']))}"
        if name == "action":
            return f"{self.base}/do/{quote(str(parameters['action']))}"
        if name == "live":
            return f"{self.base}/live{_query(parameters)}"
        if name == "api":
            page = PAGES[str(parameters.pop("page"))]
            return f"{self.base}/api/v1{API_PATHS[page.name]}{_query(parameters)}"
        return f"{self.base}{PAGES[name].path}{_query(parameters)}"

    def is_within(self, address: str) -> bool:
        """Whether an address is a path within the dashboard, so that a form may lead back to it."""
        parts = urlsplit(address)
        inside = address.startswith(f"{self.base}/") and not address.startswith("//") and "\\" not in address
        return inside and not parts.scheme and not parts.netloc and address.isprintable()


#: The paths of the pages below ``/api/v1``.
API_PATHS: Mapping[str, str] = {page.name: "/overview" if page.path == "/" else page.path for page in PAGES.values()}


def base_path(root_path: str, forwarded_prefix: str) -> str:
    """The base path, as the browser sees it.

    Args:
        root_path: the path at which the server or an application has mounted the dashboard.
        forwarded_prefix: what a trusted proxy has removed from the path; empty: nothing.
    """
    joined = "/".join(part for path in (forwarded_prefix, root_path) for part in path.split("/") if part)
    return f"/{joined}" if joined else ""


def _query(parameters: Mapping[str, object]) -> str:
    given = [
        (name, "1" if value is True else str(value))
        for name, value in parameters.items()
        if value is not None and value is not False and value != ""
    ]
    return f"?{urlencode(given, errors='replace')}" if given else ""
