"""Decoding results: the plain value of a record becomes the type that its task declares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from drivetrain.contract import Failure, Plain, ResultLost, TaskRecord
from drivetrain.worker.effects import GROUP_TASK
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.runtime import Runtime

__all__ = ["ResultDecoder", "ResultShape", "is_group"]


class ResultShape(Protocol):
    """What a result consists of: one task, or the members of a group."""

    @property
    def task(self) -> str:
        """The name of the task; empty where it is not known."""
        ...

    @property
    def members(self) -> Sequence[ResultShape]:
        """The members of a group; empty for a task."""
        ...


def is_group(record: TaskRecord) -> bool:
    """Whether a record stands for a group as a whole."""
    return record.task == GROUP_TASK


class ResultDecoder:
    """Decodes results, with the types that registered tasks declare. Thread-safe."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._codec = runtime.registry.codec

    def value(self, record: TaskRecord, shape: ResultShape, *, limit_seconds: float | None) -> Any:
        """The value of a successful record.

        Args:
            record: the record of the task or group.
            shape: its members, and the name of its task.
            limit_seconds: how long to retry while the backend is unavailable; None: without limit.

        Raises:
            ResultLost: the backend has dropped results of members of the group.
            SerializationError: the stored value cannot be decoded.
            ServiceUnavailable: the backend could not be reached in time.
        """
        if is_group(record):
            return self._members(self._read_members(record.task_id, limit_seconds), shape.members)
        return self._typed(record.task, None if record.payload is None else self._load(record.payload))

    def failure(self, record: TaskRecord) -> Failure:
        """The failure of a record that ended without success.

        Raises:
            SerializationError: it cannot be decoded.
        """
        plain = None if record.payload is None else self._load(record.payload)
        failure: Failure = self._codec.decode(plain, Failure)
        return failure

    def _load(self, payload: bytes) -> Plain:
        return self._runtime.payloads.load(payload)

    def _read_members(self, group_id: str, limit_seconds: float | None) -> list[Plain]:
        backend = self._runtime.backend
        retrier = Retrier(self._runtime.clock, limit_seconds=limit_seconds)
        payloads = retrier.call("read members", lambda: backend.read_members(group_id))
        if None in payloads:
            raise ResultLost(group_id, f"the backend has lost results of members of group {group_id}")
        return [None if payload is None else self._load(payload) for payload in payloads]

    def _members(self, values: Sequence[Plain], shapes: Sequence[ResultShape]) -> list[Any]:
        if len(shapes) != len(values):  # a handle made from an id alone does not know the members
            return [self._codec.decode(value) for value in values]
        return [self._member(value, shape) for value, shape in zip(values, shapes, strict=True)]

    def _member(self, plain: Plain, shape: ResultShape) -> Any:
        if shape.members and isinstance(plain, list):
            return self._members(plain, shape.members)
        value = self._codec.decode(plain)
        return value if isinstance(value, Failure) else self._typed(shape.task, plain)

    def _typed(self, task: str, plain: Plain) -> Any:
        definition = self._runtime.registry.get(task)
        return self._codec.decode(plain) if definition is None else definition.binding.decode_result(plain)
