"""Sends the workflows of ticks, with the means of every other sender."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from drivetrain.app.sending import Sender
from drivetrain.app.task_ids import parts
from drivetrain.contract import UnknownResult
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.frames import Call, Frames

__all__ = ["TickSender"]

#: How long a call is tried again while a service is unavailable, in seconds: less than the lock of the schedules lasts.
_LIMIT_SECONDS = 3.0


class TickSender:
    """Sends ticks; see `drivetrain.worker.schedules.sending.FrameSender`. For one thread.

    Its messages may be sent again after their tasks have ended, as those of a worker. So the records of the tasks are
    kept for the redelivery window, whatever their retention.

    Args:
        runtime: the drivers of the app.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._sender = Sender(runtime, limit_seconds=_LIMIT_SECONDS, fence=self._check)
        self._fence: Callable[[], None] = _nothing

    def send_frames(self, planned: Sequence[Frames], fence: Callable[[], None]) -> None:
        """Record and publish workflows."""
        made = {part.id if isinstance(part, Call) else part.group_id for part in parts(planned)}
        self._fence = fence
        try:
            self._sender.send_frames(planned, made)
        finally:
            self._fence = _nothing

    def cancel(self, task_ids: Sequence[str]) -> None:
        """Cancel tasks that have not ended."""
        with suppress(UnknownResult):  # they have ended, and their records have expired
            self._sender.cancel(task_ids)

    def _check(self) -> None:
        self._fence()


def _nothing() -> None:
    """No fence: what is published outside of `TickSender.send_frames` follows from a cancellation."""
