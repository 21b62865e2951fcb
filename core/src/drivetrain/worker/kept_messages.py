"""Kept messages: the calls of tasks that have ended without success, stored so that an operator can retry them.

The broker drops the message of a task that has ended, and the record holds no continuation. So a worker stores what the
message said, as a versioned value that ends with the record. Dead letters are not stored twice: they hold the message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from drivetrain.contract import SerializationError, State, ValueWrite, VersionedValue
from drivetrain.worker.logs import get_logger
from drivetrain.worker.publisher import workflow_of
from drivetrain.worker.results import dead_reason_of
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.run import RunResult, log_extra
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.frames import Invocation
from drivetrain.workflow.wire import dump_invocation, load_invocation

__all__ = ["KEPT_PREFIX", "KeptMessage", "KeptMessages"]

logger = get_logger("drivetrain.worker")

#: The keys of kept messages begin with it.
KEPT_PREFIX = "messages/"
#: How long a message is kept at most, in seconds, also where the record is kept without limit.
_LONGEST_SECONDS = 30 * 86400.0


@frozen
class KeptMessage:
    """A kept message. Immutable."""

    invocation: Invocation
    #: The id of the first task or group of its workflow; empty: it is a workflow by itself.
    workflow: str = ""
    #: The version of its value; a newer one belongs to a later attempt. 0: it is not stored yet.
    version: int = 0


class KeptMessages:
    """Stores, reads and drops kept messages. Thread-safe.

    All methods may raise what ``retrier`` raises while the backend is unavailable.
    """

    def __init__(self, runtime: Runtime, retrier: Retrier) -> None:
        self._runtime = runtime
        self._retrier = retrier
        self._limit = runtime.backend.capabilities.largest_value_bytes
        self._keeps = runtime.keeps_failed and runtime.backend.capabilities.stores

    def keep_failed(self, results: Sequence[RunResult]) -> None:
        """Keep the messages of those results that are without success and go to no dead letters.

        Call it when all that follows from the results has been done, and before their messages are acknowledged: a
        retry needs the kept message, so it never overtakes the end of the attempt before.
        """
        if not self._keeps:
            return
        # Nearly every task succeeds: one comparison for each.
        failed = [one for one in results if one.state is not State.SUCCESS and one.state.terminal]
        if failed:
            self.keep(
                [
                    KeptMessage(one.invocation, workflow_of(one.delivery.message))
                    for one in failed
                    if dead_reason_of(one) is None
                ]
            )

    def keep(self, messages: Sequence[KeptMessage]) -> None:
        """Keep messages, each as long as the result of its task, at most 30 days. Too large ones are left out."""
        writes = [write for one in messages if (write := self._write(one)) is not None]
        if writes:
            self._retrier.call("keep messages", lambda: self._runtime.backend.write_values(writes))

    def read(self, task_ids: Sequence[str]) -> Mapping[str, KeptMessage]:
        """The kept messages of those of ``task_ids`` that have one. One that cannot be read is logged and left out."""
        keys = [KEPT_PREFIX + task_id for task_id in task_ids]
        stored = self._retrier.call("read kept messages", lambda: self._runtime.backend.read_values(keys))
        found = {}
        for task_id, one in zip(task_ids, stored, strict=True):
            if one is None:
                continue
            try:
                found[task_id] = self._read(one)
            except SerializationError as error:
                logger.warning("cannot read the kept message of task %s: %s", task_id, error)
        return found

    def drop(self, kept: Mapping[str, KeptMessage]) -> None:
        """Drop these messages, unless a later attempt has replaced them."""
        writes = [
            ValueWrite(key=KEPT_PREFIX + task_id, value=None, if_version=one.version) for task_id, one in kept.items()
        ]
        if writes:
            self._retrier.call("drop kept messages", lambda: self._runtime.backend.write_values(writes))

    def _read(self, stored: VersionedValue) -> KeptMessage:
        plain = self._runtime.payloads.load(stored.value)
        if not isinstance(plain, dict):
            raise SerializationError("this version of drivetrain cannot read it")
        return KeptMessage(load_invocation(plain.get("invocation")), str(plain.get("workflow", "")), stored.version)

    def _write(self, message: KeptMessage) -> ValueWrite | None:
        invocation = message.invocation
        seconds = self._runtime.result_retention_seconds(invocation.call.retention)
        seconds = _LONGEST_SECONDS if seconds is None else min(seconds, _LONGEST_SECONDS)
        plain = {"invocation": dump_invocation(invocation), "workflow": message.workflow}
        value = self._runtime.payloads.dump(plain)
        if self._limit is not None and len(value) > self._limit:
            text = "its message has %d bytes, and this backend stores up to %d: it cannot be retried by an operator"
            logger.warning(text, len(value), self._limit, extra=log_extra(invocation))
            return None
        key = KEPT_PREFIX + invocation.call.id
        return ValueWrite(key=key, value=value, expires_in_seconds=seconds) if seconds > 0 else None
