"""Reads the progress of a task or workflow, by the id of its result alone."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from drivetrain.app.decoding import is_group
from drivetrain.app.progress import Progress
from drivetrain.app.workflow_structure import find_sequence, step_id, structure_around
from drivetrain.contract import GroupRecord, NotSupported, State, TaskRecord, UnknownResult
from drivetrain.worker.downstream import waits_for
from drivetrain.worker.progress import ReportedProgress, progress_key
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.value_codec import decode
from drivetrain.workflow.frames import Call, Fork, Frames, Join

__all__ = ["ProgressReader"]

#: How many tasks of a chain one call of the backend reads.
_PAGE = 200


class _Step(Struct, frozen=True):
    """A task or group whose end counts.

    Attributes:
        id: its id.
        members: for a group: how many members it has; None: it is a task.
    """

    id: str
    members: int | None = None

    @property
    def weight(self) -> int:
        return 1 if self.members is None else self.members


class ProgressReader:
    """Reads the progress of one result, again and again. It remembers the structure and what has ended. For one thread.

    Args:
        runtime: the drivers of the app.
        task_id: the id of the result: a task, or a group.
    """

    def __init__(self, runtime: Runtime, task_id: str) -> None:
        self._runtime = runtime
        self._id = task_id
        #: What is counted; None: not known yet.
        self._steps: Sequence[_Step] | None = None
        #: How many of the first steps have ended.
        self._ended = 0
        #: The total that the task has reported last.
        self._reported_total: float | None = None

    def read(self) -> tuple[Progress, bool]:
        """The progress now, and whether the result is there.

        Raises:
            NotSupported: the backend stores nothing.
            UnknownResult: the backend has no record of it.
            SerializationError: a record cannot be read.
            ServiceError: the backend could not be reached.
        """
        if not self._runtime.backend.capabilities.stores:
            raise NotSupported("this app's backend stores no results, so there is no progress; configure a backend")
        if self._steps is not None and self._steps[0].id == self._id and (group := self._group()) is not None:
            return Progress(group.done, group.size), group.failed or group.done == group.size
        (record,) = self._runtime.backend.read([self._id])
        if record is None:
            raise UnknownResult(self._id)
        if self._steps is None:
            self._steps = self._find_steps(record)
        if len(self._steps) == 1 and self._steps[0].members is None:
            return self._of_task(record), record.state.terminal
        return self._of_steps(self._steps), record.state.terminal

    def _group(self) -> GroupRecord | None:
        """The group, if it is all that is counted; None: it is not, or it is not open.

        The record of a large group lists thousands of members, so it is not read for each report.
        """
        steps = self._steps or ()
        if len(steps) != 1 or steps[0].members is None:
            return None
        return self._runtime.backend.read_groups([steps[0].id])[0]

    def _find_steps(self, record: TaskRecord) -> Sequence[_Step]:
        payloads = self._runtime.payloads
        alone = not (record.workflow or record.parent or is_group(record))
        if alone and waits_for(record, payloads) is None:
            return [_Step(self._id)]
        structure = structure_around(record, self._runtime.backend.read, payloads)
        counted = _counted(find_sequence(structure, self._id))
        sizes = {step_id(one): len(one.branches) for one in counted if isinstance(one, Fork)}
        groups = self._runtime.backend.read_groups(list(sizes)) if sizes else ()
        sizes |= {group.group_id: group.size for group in groups if group is not None}
        return [_Step(step_id(one), sizes.get(step_id(one))) for one in counted] or [_Step(self._id)]

    def _of_steps(self, steps: Sequence[_Step]) -> Progress:
        if (group := self._group()) is not None:
            return Progress(group.done, group.size)
        self._skip_ended(steps)
        done = sum(step.weight for step in steps[: self._ended])
        if self._ended < len(steps) and steps[self._ended].members is not None:
            (group,) = self._runtime.backend.read_groups([steps[self._ended].id])
            done += 0 if group is None else group.done
        return Progress(done, sum(step.weight for step in steps))

    def _skip_ended(self, steps: Sequence[_Step]) -> None:
        """Count the first steps that have ended. A step without a record has expired after its end."""
        while self._ended < len(steps):
            page = steps[self._ended : self._ended + _PAGE]
            records = self._runtime.backend.read([step.id for step in page])
            ended = next((n for n, one in enumerate(records) if one is not None and not one.state.terminal), len(page))
            self._ended += ended
            if ended < len(page):
                return

    def _of_task(self, record: TaskRecord) -> Progress:
        if record.state is State.SUCCESS:
            total = self._reported_total or 1
            return Progress(total, total)
        if record.state.terminal:
            return Progress(1, 1)
        reported = self._reported(record)
        if reported is None:
            return Progress(0, 1)
        self._reported_total = reported.total
        return Progress(reported.done, reported.total, reported.note)

    def _reported(self, record: TaskRecord) -> ReportedProgress | None:
        """What the run that holds the task has reported; None: nothing."""
        if record.state is not State.STARTED or record.run is None:
            return None
        (stored,) = self._runtime.backend.read_values([progress_key(self._id, record.run)])
        try:
            return None if stored is None else decode(stored.value, ReportedProgress)
        except ValueError:
            return None  # written by another version


def _counted(frames: Frames) -> Sequence[Call | Fork]:
    """The steps up to a result that its progress counts: of a chord the group alone."""
    steps = [frame for frame in frames if not isinstance(frame, Join)]
    is_chord = len(steps) == 2 and isinstance(steps[0], Fork) and isinstance(steps[1], Call)
    return steps[:1] if is_chord else steps
