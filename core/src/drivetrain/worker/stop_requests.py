"""Requests of an operator to stop one worker. Stored as versioned values, which the worker watches."""

from __future__ import annotations

from msgspec import Struct

from drivetrain.worker.value_codec import decode

__all__ = ["STOP_SECONDS", "StopRequest", "decode_stop_request", "stop_key"]

#: The keys of requests begin with it.
_PREFIX = "stops/"
#: How long a request lasts, in seconds. The worker removes it when it has stopped; this is for one that was killed.
STOP_SECONDS = 86_400.0


class StopRequest(Struct, frozen=True, kw_only=True):
    """A request to stop a worker.

    Attributes:
        started: when the worker started, as its status says: another worker of the same name does not stop.
        since: when it was made, in Unix seconds.
        why: the reason that the operator gave; empty: none.
        by: the operator; empty: unknown.
    """

    started: float
    since: float
    why: str = ""
    by: str = ""

    def __str__(self) -> str:
        return f"{self.by or 'an operator'} has asked for it{': ' if self.why else ''}{self.why}"


def stop_key(worker: str) -> str:
    """The key of the request to stop the worker of this name."""
    return _PREFIX + worker


def decode_stop_request(value: bytes) -> StopRequest | None:
    """The request; None: it cannot be read, so nobody knows which worker it means."""
    try:
        return decode(value, StopRequest)
    except ValueError:
        return None
