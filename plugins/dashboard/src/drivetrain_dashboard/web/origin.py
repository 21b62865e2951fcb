"""Whether a request that changes something comes from the dashboard itself, and not from a page of somebody else. Pure.

No token and no session is needed: browsers say where a request comes from, and pages cannot change that.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

__all__ = ["foreign_origin"]


def foreign_origin(headers: Mapping[str, str], *, host: str) -> str:
    """Why a request may come from another origin; empty: it comes from this one, or from no browser.

    ``Sec-Fetch-Site`` decides where there is one: browsers send it to https addresses and to localhost. Otherwise
    ``Origin`` decides, which browsers send with each POST. A request with neither is not from a browser that is younger
    than 2020. It is let through if its body is JSON: a form of another page cannot send that.

    Args:
        headers: the headers of the request, by lower-case names.
        host: the host and port by which the browser calls the dashboard.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return "" if site == "same-origin" else f"Sec-Fetch-Site is {site[:50]!r}, and not 'same-origin'"
    origin = headers.get("origin")
    if origin is not None:
        return "" if _same_host(origin, host) else f"Origin is {origin[:200]!r}, and the dashboard is {host[:200]!r}"
    if headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        return ""
    return "it has neither Sec-Fetch-Site nor Origin"


def _same_host(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme not in {"http", "https"}:
        return False  # also "null"
    port = {"http": ":80", "https": ":443"}[parts.scheme]
    return parts.netloc.lower().removesuffix(port) == host.lower().removesuffix(port)
