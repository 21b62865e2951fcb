"""The frames of ticks, made from stored definitions. Pure, except for the interface of what sends them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from attrs import frozen

from drivetrain.worker.schedules.state import Definition, Entry
from drivetrain.worker.schedules.tick import SentTick, TickKind, tick_header, tick_ids
from drivetrain.workflow.frames import TICK_HEADER, Call, Fork, Frames
from drivetrain.workflow.renaming import rename_frames
from drivetrain.workflow.wire import load_frames

__all__ = ["FrameSender", "Outgoing", "StoredWorkflow", "TickLost", "outgoing"]


class TickLost(Exception):
    """This scheduler has lost the lock: another one sends the ticks, and this one must not."""


class FrameSender(Protocol):
    """Sends planned workflows."""

    def send_frames(self, planned: Sequence[Frames], fence: Callable[[], None]) -> None:
        """Record and publish workflows with ids of their own, as one batch. To repeat it sends nothing twice.

        Args:
            planned: the frames of each workflow.
            fence: called after tasks are recorded, and right before they are published; may raise TickLost.

        Raises:
            PublishFailed: the broker refused some; all others were sent.
            DrivetrainError: nothing was sent, or (ServiceError) perhaps a part.
        """
        ...

    def cancel(self, task_ids: Sequence[str]) -> None:
        """Cancel those of these tasks that have not ended; may raise ServiceError."""
        ...


class StoredWorkflow:
    """The workflow of a definition.

    Args:
        definition: the definition.

    Attributes:
        size: how many ids it has.
        last: the number of its last task or group.
        first: the number of its first task or group.

    Raises:
        SerializationError: this version of drivetrain cannot read it.
    """

    def __init__(self, definition: Definition) -> None:
        self._frames = load_frames(definition.frames)
        self.size = sum(1 for _ in _all_ids(self._frames))
        self.first = int(_id_of(self._frames[0]))
        self.last = int(_id_of(self._frames[-1]))

    def frames(self, incarnation: str, schedule: str, sent: SentTick, kind: TickKind) -> Frames:
        """The frames of a tick."""
        nth = tick_ids(incarnation, sent.instant, sent.label)
        headers = {TICK_HEADER: tick_header(schedule, sent.instant, kind)}
        return rename_frames(self._frames, lambda number: nth(int(number)), headers)


@frozen(eq=False)
class Outgoing:
    """A tick that is about to be sent.

    Attributes:
        entry: the entry of its schedule.
        sent: the tick.
        frames: its workflow.
        first_id: the id of the first task or group of its workflow.
    """

    entry: Entry
    sent: SentTick
    frames: Frames
    first_id: str


def outgoing(entry: Entry, workflow: StoredWorkflow, instant: float, kind: TickKind, label: str = "") -> Outgoing:
    """The tick of this instant.

    Args:
        entry: the entry of the schedule.
        workflow: the workflow of the schedule.
        instant: the instant of the tick, in Unix seconds.
        kind: why it is sent.
        label: see `SentTick.label`.
    """
    sent = SentTick(instant, label, workflow.size, workflow.last)
    frames = workflow.frames(entry.incarnation, entry.id, sent, kind)
    return Outgoing(entry, sent, frames, _id_of(frames[0]))


def _id_of(frame: object) -> str:
    if isinstance(frame, Call):
        return frame.id
    if isinstance(frame, Fork):
        return frame.group_id
    raise TypeError(f"a workflow that is not sent yet has no {type(frame).__name__}")


def _all_ids(frames: Frames) -> Iterator[str]:
    """The ids of all tasks and groups, callbacks included."""
    for frame in frames:
        yield _id_of(frame)
        if isinstance(frame, Fork):
            for branch in frame.branches:
                yield from _all_ids(branch)
        elif isinstance(frame, Call):
            for callback in (*frame.on_success, *frame.on_error, *frame.workflow_on_error):
                yield from _all_ids(callback)
