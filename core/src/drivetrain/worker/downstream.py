"""Downstream: the frames that depend on a task, from its record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from drivetrain.contract import TaskRecord
from drivetrain.worker.payloads import Payloads
from drivetrain.workflow.advance import after
from drivetrain.workflow.frames import Frames
from drivetrain.workflow.wire import load_frames

__all__ = ["downstream"]

#: Reads records, in the order asked for.
Read = Callable[[Sequence[str]], Sequence[TaskRecord | None]]


def downstream(records: Sequence[TaskRecord], payloads: Payloads, read: Read) -> list[Frames]:
    """The frames that wait for each of ``records``, with nothing in their calls but ids.

    The record of a task that has begun holds them. One that waits for another task names the first task of its
    workflow, whose record holds the frames of all; they are unknown, and empty here, when that record is gone.
    """
    plain = [None if record.downstream is None else payloads.load(record.downstream) for record in records]
    firsts = list(dict.fromkeys(one["in"] for one in plain if isinstance(one, dict)))
    found = read(firsts) if firsts else ()
    frames: Mapping[str, Frames] = {one.task_id: _own_frames(one, payloads) for one in found if one is not None}
    return [
        (after(frames.get(one["in"], ()), record.task_id) or ()) if isinstance(one, dict) else load_frames(one or [])
        for record, one in zip(records, plain, strict=True)
    ]


def _own_frames(record: TaskRecord, payloads: Payloads) -> Frames:
    """The frames that the record itself holds; none where it holds none."""
    plain = None if record.downstream is None else payloads.load(record.downstream)
    return load_frames(plain) if isinstance(plain, list) else ()
