"""Run now: makes delayed tasks, and tasks that wait for their next attempt, due at once."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from drivetrain.app.bulk.messages import FoundMessage, MessageSearch, carried_invocation
from drivetrain.app.bulk.outcomes import TaskOutcome, done, failed, skipped
from drivetrain.app.sending import Sender
from drivetrain.contract import (
    Message,
    NotSupported,
    QueueSection,
    SerializationError,
    State,
    TaskRecord,
    evolve,
)
from drivetrain.worker.downstream import waits_for
from drivetrain.worker.effects import GROUP_TASK
from drivetrain.worker.publisher import BODY_HEADER, ETA_HEADER, due
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.unfinished import Unfinished
from drivetrain.workflow.wire import dump_invocation

__all__ = ["DelayEnder", "check_run_now"]


def check_run_now(runtime: Runtime) -> None:
    """Check that delayed tasks can be found.

    Raises:
        NotSupported: the broker cannot show delayed messages.
    """
    if not runtime.broker.capabilities.peeks:
        raise NotSupported(
            "this app's broker cannot show delayed messages (see `drivetrain describe`), so none can be made due now; "
            "cancel the tasks, and send them again without a delay"
        )


class DelayEnder:
    """Publishes delayed messages once more, due at once. Used by one thread.

    No broker can change the time of one message. So a copy is published, and the delayed message is dropped when it
    comes, since its task has been started. The record of the task is kept until then. Repeating it is harmless: several
    messages of one task run it once.

    Args:
        runtime: the drivers of the app.
        sender: publishes.
        messages: searches the queues.
    """

    def __init__(self, runtime: Runtime, sender: Sender, messages: MessageSearch) -> None:
        self._runtime = runtime
        self._sender = sender
        self._messages = messages

    def run_now(self, task_ids: Sequence[str]) -> list[TaskOutcome]:
        """Make tasks due now; the outcome of each, in order.

        Raises:
            NotSupported: the broker cannot show delayed messages.
            ServiceError: a service could not be reached.
        """
        check_run_now(self._runtime)
        records = self._runtime.backend.read(task_ids)
        refused = {name: _refusal(name, record, self._runtime) for name, record in zip(task_ids, records, strict=True)}
        wanted = {
            record.task_id: record.queue or self._recorded_queue(record)
            for record in records
            if record is not None and refused[record.task_id] is None
        }
        found = self._messages.find(wanted, [QueueSection.DELAYED])
        self._sender.publisher.publish_messages([self._copy(one) for one in found.values()])
        return [refused[task_id] or _outcome(task_id, found.get(task_id)) for task_id in task_ids]

    def _recorded_queue(self, record: TaskRecord) -> str:
        try:
            return Unfinished.load(self._runtime.payloads, record).queue
        except SerializationError:
            return ""

    def _copy(self, found: FoundMessage) -> Message:
        """The message without its delay."""
        message, now = found.message, self._runtime.clock.now()
        invocation = carried_invocation(self._runtime, message)  # both name the same parts of a long chain
        retention = self._runtime.result_retention_seconds(invocation.call.retention)
        if retention is not None:
            remaining = max(0.0, (due(message) or now) - now)
            # Without the record, the task would run again when the delayed message comes.
            retention = max(retention, remaining + self._runtime.redelivery_window_seconds)
        call = replace(invocation.call, eta=None, delay=None, retention=retention)
        headers = {name: text for name, text in message.headers.items() if name not in {ETA_HEADER, BODY_HEADER}}
        body = self._runtime.payloads.dump_body(dump_invocation(replace(invocation, call=call)))
        return evolve(message, body=body, headers=headers, eta=None)


def _refusal(task_id: str, record: TaskRecord | None, runtime: Runtime) -> TaskOutcome | None:
    """Why a task is not made due now; None: it can be."""
    if record is None:
        return failed(task_id, "the backend has no record of it: the id is wrong, or its retention is over")
    if record.task == GROUP_TASK:
        return skipped(task_id, "it is a group, which has no delay of its own")
    if (waiting := waits_for(record, runtime.payloads)) is not None:
        return skipped(task_id, f"it waits for task {waiting.after or waiting.first}, not for a time")
    if record.state not in {State.PENDING, State.RECEIVED, State.RETRY}:
        return skipped(task_id, f"it does not wait for a time: it is {record.state}")
    return None


def _outcome(task_id: str, found: FoundMessage | None) -> TaskOutcome:
    return skipped(task_id, "it has no delayed message: it is due already") if found is None else done(task_id)
