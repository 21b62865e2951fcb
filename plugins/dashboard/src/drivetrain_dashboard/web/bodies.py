"""Bodies of requests, up to a size."""

from __future__ import annotations

from starlette.requests import Request

__all__ = ["BodyTooLarge", "read_body"]

#: The largest body in bytes: a thousand ids, and what else a form has.
LARGEST_BODY = 256 * 1024


class BodyTooLarge(Exception):
    """The body of a request is too large."""


async def read_body(request: Request) -> bytes:
    """The body of a request.

    Raises:
        BodyTooLarge: it has more than 256 KiB.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise BodyTooLarge
    return bytes(body)
