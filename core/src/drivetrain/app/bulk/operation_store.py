"""Stores operations as versioned values, which change only if nobody else has changed them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from attrs import evolve, frozen
from msgspec import Struct
from msgspec.structs import replace

from drivetrain.app.bulk.operation_record import AuditEntry, OperationRecord, TaskIds
from drivetrain.contract import ValueOutcome, ValueWrite, VersionedValue, chunks
from drivetrain.worker import value_codec
from drivetrain.worker.logs import get_logger
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.value_listing import values_under

__all__ = ["OperationStore", "StoredOperation", "TakenOver"]

T = TypeVar("T", bound=Struct)
logger = get_logger("drivetrain.operations")

_ACTIVE, _ENDED, _IDS, _AUDIT = "operations/active/", "operations/ended/", "operations/ids/", "audit/"
#: How many ids one value holds.
_IDS_IN_VALUE = 1000
#: How long an ended operation is stored, in seconds.
_ENDED_SECONDS = 86400.0
#: How long an audit entry is stored, in seconds.
_AUDIT_SECONDS = 90 * 86400.0


class TakenOver(Exception):
    """Another process works on the operation."""


@frozen
class StoredOperation:
    """An operation, and the version of its value. Immutable."""

    record: OperationRecord
    version: int
    #: Whether its end is stored completely.
    settled: bool = False


class OperationStore:
    """Reads and writes operations. Thread-safe. All methods may raise what ``retrier`` raises."""

    def __init__(self, runtime: Runtime, retrier: Retrier) -> None:
        self._runtime = runtime
        self._retrier = retrier

    def create(self, record: OperationRecord, task_ids: Sequence[str]) -> None:
        """Store a new operation with the ids of its tasks. The operation comes last: nobody sees half of it."""
        writes = [
            ValueWrite(key=_ids_key(record.id, number), value=value_codec.encode(TaskIds(tuple(part))))
            for number, part in enumerate(chunks(task_ids, _IDS_IN_VALUE))
        ]
        self._write([*writes, ValueWrite(key=_ACTIVE + record.id, value=value_codec.encode(record))])

    def read(self, operation_id: str) -> StoredOperation | None:
        """An operation, ended or not; None: it is unknown, or it ended more than a day ago.

        Raises:
            ValueError: another version of drivetrain has stored it.
        """
        keys = [_ENDED + operation_id, _ACTIVE + operation_id]
        ended, active = self._retrier.call("read operation", lambda: self._runtime.backend.read_values(keys))
        if ended is not None:
            return evolve(_stored(ended), settled=True)
        return None if active is None else _stored(active)

    def update(self, stored: StoredOperation, record: OperationRecord) -> StoredOperation:
        """Replace ``stored``. A request to stop that has come meanwhile is kept.

        Raises:
            TakenOver: another process works on it, or has ended it.
        """
        key, version = _ACTIVE + record.id, stored.version
        while True:
            value = value_codec.encode(record)
            (outcome,) = self._write([ValueWrite(key=key, value=value, if_version=version)])
            current = outcome.current
            if current is None:
                raise TakenOver(record.id)
            if outcome.written or current.value == value:  # the same value: only the first reply was lost
                return StoredOperation(record, current.version)
            other = _stored(current).record
            if other.runner not in {stored.record.runner, record.runner}:
                raise TakenOver(record.id)
            record = replace(record, stop=other.stop, stopped_by=other.stopped_by)
            version = current.version

    def end(self, stored: StoredOperation, record: OperationRecord) -> None:
        """Store the end of an operation. It is removed a day later.

        To repeat it is harmless: after a crash, the next process finds an active operation that has ended.

        Raises:
            TakenOver: another process works on it, or has ended it.
        """
        record = self.update(stored, record).record
        ended = ValueWrite(key=_ENDED + record.id, value=value_codec.encode(record), expires_in_seconds=_ENDED_SECONDS)
        numbers = range(len(range(0, record.ids, _IDS_IN_VALUE)))
        gone = [_ACTIVE + record.id, *(_ids_key(record.id, number) for number in numbers)]
        self._write([ended])
        self._write([ValueWrite(key=key, value=None) for key in gone])

    def ids(self, operation_id: str, first: int, count: int) -> Sequence[str]:
        """``count`` of the ids that were given, from the ``first`` on; fewer at their end."""
        numbers = range(first // _IDS_IN_VALUE, (first + count - 1) // _IDS_IN_VALUE + 1)
        keys = [_ids_key(operation_id, number) for number in numbers]
        stored = self._retrier.call("read operation", lambda: self._runtime.backend.read_values(keys))
        found = [one for value in stored if value is not None for one in value_codec.decode(value.value, TaskIds).ids]
        begin = first - numbers[0] * _IDS_IN_VALUE
        return found[begin : begin + count]

    def active(self) -> Iterator[OperationRecord]:
        """The operations that have not ended. One that cannot be read is logged."""
        return self._list(_ACTIVE, OperationRecord)

    def all(self) -> Iterator[OperationRecord]:
        """The operations that have not ended, or ended within the last day. One that cannot be read is logged."""
        ended = {one.id: one for one in self._list(_ENDED, OperationRecord)}
        yield from ended.values()
        yield from (one for one in self.active() if one.id not in ended)

    # Audit

    def write_audit(self, entry: AuditEntry) -> None:
        """Store an audit entry for 90 days, in place of the earlier one of the same operation."""
        key = f"{_AUDIT}{entry.operation}"
        self._write([ValueWrite(key=key, value=value_codec.encode(entry), expires_in_seconds=_AUDIT_SECONDS)])

    def audit(self) -> Iterator[AuditEntry]:
        """The audit entries of the last 90 days, in any order. One that cannot be read is logged."""
        return self._list(_AUDIT, AuditEntry)

    def _list(self, prefix: str, to: type[T]) -> Iterator[T]:
        stored_values = self._retrier.call("list operations", lambda: list(values_under(self._runtime.backend, prefix)))
        for name, stored in stored_values:
            try:
                yield value_codec.decode(stored.value, to)
            except ValueError as error:
                logger.warning("cannot read %s: %s; it may have a newer version", prefix + name, error)

    def _write(self, writes: Sequence[ValueWrite]) -> Sequence[ValueOutcome]:
        return self._retrier.call("write operation", lambda: self._runtime.backend.write_values(writes))


def _ids_key(operation_id: str, number: int) -> str:
    return f"{_IDS}{operation_id}/{number}"


def _stored(value: VersionedValue) -> StoredOperation:
    return StoredOperation(value_codec.decode(value.value, OperationRecord), value.version)
