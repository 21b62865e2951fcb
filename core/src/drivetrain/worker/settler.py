"""The settling stage of a worker: results wait in a queue, and one thread settles them in batches."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

from drivetrain.worker.batches.batch_run import BatchResult, results_of
from drivetrain.worker.finishing.finisher import Finisher
from drivetrain.worker.flow_control import FlowControl
from drivetrain.worker.in_flight import InFlight
from drivetrain.worker.logs import get_logger
from drivetrain.worker.retrying import GaveUp
from drivetrain.worker.run import RunResult

__all__ = ["Settler"]

logger = get_logger("drivetrain.worker")

#: The largest number of results that are settled as one batch.
_LARGEST_BATCH = 1000


class Settler:
    """Settles the results of runs, in batches of all that have ended meanwhile. Thread-safe.

    Args:
        finisher: records results and acknowledges messages.
        flow_control: learns how long runs take.
        in_flight: the runs of the worker.
    """

    def __init__(self, finisher: Finisher, flow_control: FlowControl, in_flight: InFlight) -> None:
        self._finisher = finisher
        self._flow_control = flow_control
        self._in_flight = in_flight
        #: None ends `run`.
        self._results: SimpleQueue[RunResult | None] = SimpleQueue()
        #: Whether there was ever the result of a batch.
        self._batches = False

    def put(self, result: RunResult) -> None:
        """Leave a result to the thread of `run`."""
        if type(result) is BatchResult:
            self._batches = True
        self._results.put(result)

    def settle_or_put(self, result: RunResult) -> None:
        """Settle the only run in flight in this thread, which saves waking another one; leave all others to `run`."""
        # None is in flight if it was released, and another worker may have it.
        if len(self._in_flight) != 1 or type(result) is BatchResult:
            self.put(result)
            return
        with suppress(GaveUp):  # the worker stops while a service is unavailable: the message is delivered again
            self._settle([result])

    def run(self) -> None:
        """Settle results until `stop`, or until the worker stops while a service is unavailable."""
        while (first := self._results.get()) is not None:
            try:
                self._settle([first, *self._more()])
            except GaveUp:
                return

    def stop(self) -> None:
        """End `run` when it has settled the results before this call."""
        self._results.put(None)

    def _settle(self, results: Sequence[RunResult]) -> None:
        if self._batches:
            results = results_of(results)
        try:
            self._flow_control.settled(results)
            self._finisher.settle(results)
        except GaveUp:
            raise
        except BaseException:  # this thread must survive any error
            # The heartbeat must not renew runs that are not settled.
            self._in_flight.remove(result.run for result in results if result.run is not None)
            logger.exception("%d tasks cannot be settled; their messages will be delivered again", len(results))

    def _more(self) -> list[RunResult]:
        results: list[RunResult] = []
        try:
            while len(results) < _LARGEST_BATCH:
                result = self._results.get_nowait()
                if result is None:
                    self._results.put(None)
                    break
                results.append(result)
        except Empty:
            pass  # the batch is what has ended so far
        return results
