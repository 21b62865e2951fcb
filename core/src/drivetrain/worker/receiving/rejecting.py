"""Settles deliveries that are not run: unreadable ones, expired ones, and those of an unknown task."""

from __future__ import annotations

from collections.abc import Sequence

from drivetrain.contract import Delivery, State
from drivetrain.worker.execution import failure_of
from drivetrain.worker.finishing.finisher import Finisher
from drivetrain.worker.log_text import shortened
from drivetrain.worker.logs import get_logger
from drivetrain.worker.results import ResultFactory
from drivetrain.worker.run import log_extra
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.frames import Invocation

__all__ = ["Rejecter"]

logger = get_logger("drivetrain.worker")


class Rejecter:
    """Ends tasks that are not run, with all that depends on them, and settles their deliveries. Thread-safe.

    All methods raise `GaveUp` if the worker stops while a service is unavailable.
    """

    def __init__(self, runtime: Runtime, finisher: Finisher) -> None:
        self._finisher = finisher
        self._results = ResultFactory(runtime)

    def dead_letter(self, delivery: Delivery, invocation: Invocation, reason: str, error: Exception) -> None:
        """Fail a task that cannot be run because of ``error``, and dead-letter its message with ``reason``."""
        details = (delivery.message.id, invocation.call.queue, shortened(reason))
        logger.error("moving message %s to the dead letters of %s: %s", *details, extra=log_extra(invocation))
        failure = failure_of(invocation, error)
        result = self._results.not_run(delivery, invocation, failure, state=State.FAILURE, dead_reason=reason)
        self._finisher.settle([result])

    def expire(self, late: Sequence[tuple[Delivery, Invocation]]) -> None:
        """End tasks that did not start in time as EXPIRED."""
        self._finisher.settle(
            [
                self._results.not_run(
                    delivery,
                    invocation,
                    failure_of(invocation, None, "drivetrain.TaskExpired", "not started in time"),
                    state=State.EXPIRED,
                    dead_reason=None,
                )
                for delivery, invocation in late
            ]
        )

    def drop(self, delivery: Delivery, invocation: Invocation, text: str) -> None:
        """End a task as CANCELLED that a limit holds back, and whose calls do not wait; ``text`` says which limit."""
        failure = failure_of(invocation, None, "drivetrain.Limited", text)
        result = self._results.not_run(delivery, invocation, failure, state=State.CANCELLED, dead_reason=None)
        self._finisher.settle([result])

    def cancel_unknown(self, delivery: Delivery, invocation: Invocation) -> None:
        """End a task as CANCELLED that this worker does not know, and that was sent with ``ignore_unknown``."""
        text = "this worker has no such task, and it was sent with ignore_unknown"
        failure = failure_of(invocation, None, "drivetrain.UnknownTask", text)
        result = self._results.not_run(delivery, invocation, failure, state=State.CANCELLED, dead_reason=None)
        self._finisher.settle([result])
