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

__all__ = ["ResultFactory"]

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
            return replace(result, failure=unfinished.failure, retry_at=unfinished.due)
        plain: Plain = None if record.payload is None else self._payloads.load(record.payload)
        if record.state is State.SUCCESS:
            return replace(result, value=plain)
        return replace(result, failure=plain)
