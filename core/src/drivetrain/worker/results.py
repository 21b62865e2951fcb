"""Makes the results of deliveries that no function has returned: failed, crashed, or recorded before."""

from __future__ import annotations

from msgspec.structs import replace

from drivetrain.contract import Delivery, Failure, Plain, State, TaskRecord
from drivetrain.worker.execution import failure_of
from drivetrain.worker.logs import get_logger
from drivetrain.worker.run import Run, RunResult, log_extra
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.unfinished import Unfinished
from drivetrain.workflow.frames import Invocation
from drivetrain.workflow.wire import load_frames

__all__ = ["ResultFactory", "dead_reason_of"]

logger = get_logger("drivetrain.worker")


class ResultFactory:
    """Makes `RunResult` objects. Does no I/O. Thread-safe."""

    def __init__(self, runtime: Runtime) -> None:
        self._codec = runtime.registry.codec
        self._payloads = runtime.payloads

    def not_run(
        self, delivery: Delivery, invocation: Invocation, failure: Failure, *, state: State, dead_reason: str | None
    ) -> RunResult:
        """The result of a delivery that was not run.

        Args:
            delivery: the delivery.
            invocation: the call in its message, as far as it is known.
            failure: why it was not run.
            state: FAILURE, CANCELLED or EXPIRED.
            dead_reason: why its message is dead-lettered; None: it is acknowledged.
        """
        return RunResult(
            delivery=delivery,
            invocation=invocation,
            state=state,
            failure=self._codec.encode(failure),
            error=failure,
            dead_reason=dead_reason,
        )

    def crashed(self, run: Run, text: str) -> RunResult:
        """The result of a task that has killed its process too often; ``text`` describes what happened."""
        logger.error("moving task %s to the dead letters: %s", run.task_id, text, extra=log_extra(run.invocation))
        failure = failure_of(run.invocation, None, "drivetrain.WorkerDied", text)
        result = self.not_run(
            run.delivery, run.invocation, failure, state=State.FAILURE, dead_reason=f"crashed: {text}"
        )
        return replace(result, run=run)

    def recorded(self, delivery: Delivery, invocation: Invocation, record: TaskRecord) -> RunResult:
        """The result of a delivery whose end is recorded already.

        Raises:
            SerializationError: the payload of the record is unreadable.
        """
        result = RunResult(delivery=delivery, invocation=invocation, state=record.state, recorded=True)
        if record.state is State.RETRY:
            unfinished = Unfinished.load(self._payloads, record)
            replacement = () if unfinished.replacement is None else load_frames(unfinished.replacement)
            return replace(result, failure=unfinished.failure, retry_at=unfinished.due, replacement=replacement)
        plain: Plain = None if record.payload is None else self._payloads.load(record.payload)
        if record.state is State.SUCCESS:
            return replace(result, value=plain)
        return replace(result, failure=plain, dead_reason=self._recorded_dead_reason(result, plain))

    def _recorded_dead_reason(self, result: RunResult, plain: Plain) -> str | None:
        """Why the message of a recorded result is dead-lettered: its worker may have died before it did that."""
        failure = self._codec.decode(plain) if result.state is State.FAILURE else None
        # A task that failed because of an earlier one has the failure of that one.
        if not isinstance(failure, Failure) or failure.task_id != result.task_id:
            return None
        return failure.dead_reason or None


def dead_reason_of(result: RunResult) -> str | None:
    """Why the message of a result is dead-lettered; None: it is not. Pure."""
    if result.dead_reason is None and result.state is State.FAILURE and result.invocation.call.dead_letter:
        return "finally failed" if result.error is None else f"finally failed: {_described(result.error)}"
    return result.dead_reason


def _described(failure: Failure) -> str:
    return f"{failure.type}: {failure.message}"
