"""Errors of ``/api/v1`` as JSON. Pure."""

from __future__ import annotations

from msgspec import Struct
from starlette.responses import Response

from drivetrain_dashboard.web.encoding import encode

__all__ = ["ApiError", "error_response"]


class ApiError(Struct, frozen=True, kw_only=True):
    """Why a request was not answered, or an action not done.

    Attributes:
        status: the status of the answer.
        error: the reason, in words.
    """

    status: int
    error: str


def error_response(status: int, text: str) -> Response:
    """The answer that reports an error."""
    return Response(encode(ApiError(status=status, error=text)), status_code=status, media_type="application/json")
