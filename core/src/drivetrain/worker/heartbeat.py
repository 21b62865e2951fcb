"""The heartbeat of a worker: extends holds and leases of its runs, and stops runs that were lost or cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from drivetrain.contract import Hold, Interruption, RunLease, ServiceError, State
from drivetrain.worker.activity import Activity
from drivetrain.worker.in_flight import InFlight
from drivetrain.worker.logs import get_logger
from drivetrain.worker.run import Run, log_extra
from drivetrain.worker.runtime import Runtime

__all__ = ["Heartbeat"]

logger = get_logger("drivetrain.worker")

_BEATS_PER_LEASE = 3
#: How often expired results are swept, in seconds.
_SWEEP_SECONDS = 60.0


class Heartbeat:
    """Renews leases in its own thread until it is stopped."""

    def __init__(
        self,
        runtime: Runtime,
        in_flight: InFlight,
        *,
        lease_seconds: float,
        interrupt: Callable[[Run, Interruption], None],
        activity: Activity,
    ) -> None:
        """Make it.

        Args:
            runtime: the drivers of the app.
            in_flight: the runs of the worker.
            lease_seconds: the length of a lease, in seconds; renewed three times in that time.
            interrupt: stops a run whose task was cancelled or taken over.
            activity: counts runs that were taken over.
        """
        self._runtime = runtime
        self._in_flight = in_flight
        self._lease_seconds = lease_seconds
        self._interrupt = interrupt
        self._activity = activity
        self._end = threading.Event()
        self._swept_at = runtime.clock.monotonic()

    def run(self) -> None:
        """Beat until `stop`."""
        while not self._runtime.clock.wait_event(self._end, self._lease_seconds / _BEATS_PER_LEASE):
            try:
                self.beat()
                self._sweep()
            except ServiceError as error:
                logger.warning("cannot renew leases: %s; retrying at the next heartbeat", error)
            except Exception:  # this thread must survive any error: without it all leases expire
                logger.exception("unexpected error while renewing leases; retrying at the next heartbeat")

    def stop(self) -> None:
        """End `run`."""
        self._end.set()

    def beat(self) -> None:
        """Extend the holds and leases of all runs, once."""
        runs = [run for run in self._in_flight.all() if not run.stopped]
        if not runs:
            return
        self._renew(runs)
        if self._runtime.broker.capabilities.hold is Hold.LEASE:
            self._runtime.broker.extend([run.delivery for run in runs], hold_seconds=self._lease_seconds)

    def _renew(self, runs: Sequence[Run]) -> None:
        leases = [RunLease(task_id=run.task_id, run=run.id, seconds=self._lease_seconds) for run in runs]
        owned_until = self._runtime.clock.monotonic() + self._lease_seconds
        renewals = self._runtime.backend.renew(leases)
        still = set(map(id, self._in_flight.all()))
        for run, renewal in zip(runs, renewals, strict=True):
            if renewal.held:
                run.owned_until = owned_until
            elif id(run) in still and not run.settling:
                # This worker has lost the run without ending it: another worker has taken it over, or it was cancelled.
                self._stop(run, renewal.state)

    def _stop(self, run: Run, state: State | None) -> None:
        run.stopped = True
        if state is not State.CANCELLED:
            self._activity.lease_lost(run)
        text = "task %s %s while it ran; its result will be discarded"
        logger.warning(text, run.task_id, _what_happened(state), extra=log_extra(run.invocation))
        self._interrupt(run, Interruption.CANCELLED if state is State.CANCELLED else Interruption.LEASE_LOST)

    def _sweep(self) -> None:
        now = self._runtime.clock.monotonic()
        if now - self._swept_at >= _SWEEP_SECONDS:
            self._swept_at = now
            self._runtime.backend.sweep()


def _what_happened(state: State | None) -> str:
    """Why a run no longer holds its task, which is in ``state``; None: its record is gone."""
    if state is None:
        return "was dropped from the backend"
    if state is State.CANCELLED:
        return "was cancelled"
    if state.terminal:
        return f"was ended elsewhere ({state.value})"
    return "was taken over by another worker, since the lease of this run had ended,"
