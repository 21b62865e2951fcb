"""The receiving stage of a worker: takes messages while there is room, and hands their runs to the pools."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from drivetrain.contract import Delivery
from drivetrain.worker.batches.collecting import BatchCollector
from drivetrain.worker.finishing.releasing import Releaser
from drivetrain.worker.flow_control import STUCK_SECONDS, FlowControl
from drivetrain.worker.in_flight import InFlight
from drivetrain.worker.limits.pacer import Pacer
from drivetrain.worker.logs import get_logger
from drivetrain.worker.pauses import PauseWatch
from drivetrain.worker.pool_set import PoolSet
from drivetrain.worker.queue_order import QueueOrder
from drivetrain.worker.receiving.receiver import Receiver
from drivetrain.worker.registry import Pool
from drivetrain.worker.retrying import GaveUp, Retrier
from drivetrain.worker.run import Run
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.settlements import Settlements
from drivetrain.worker.suspects import Suspects

__all__ = ["ReceiveLoop"]

logger = get_logger("drivetrain.worker")

#: How long to wait for the only run in flight before more messages are received, in seconds. Most runs are shorter.
_SINGLE_RUN_SECONDS = 0.001
#: How long messages stay back for which this worker has no room, in seconds, so that other workers get them first.
_EXCESS_DELAY_SECONDS = 0.05
#: How long to wait after an unexpected error, in seconds; and how long runs stay back that could not begin.
_ERROR_DELAY_SECONDS = 1.0


class ReceiveLoop:
    """Receives until the worker stops. Used by one thread.

    Args:
        runtime: the drivers and settings of the app.
        receiver: receives messages and records starts.
        releaser: releases runs that do not begin here.
        flow_control: tells how many messages to receive.
        in_flight: the runs of the worker.
        pools: run most tasks.
        pacer: hands runs to the batches and the pools.
        batches: puts rows together.
        suspects: runs tasks that may have killed a worker.
        settlements: releases deliveries while the worker stops.
        pauses: tells which queues are paused.
        order: orders the queues for each receive.
        stopping: set when the worker stops.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        receiver: Receiver,
        releaser: Releaser,
        flow_control: FlowControl,
        in_flight: InFlight,
        pools: PoolSet,
        pacer: Pacer,
        batches: BatchCollector,
        suspects: Suspects,
        settlements: Settlements,
        pauses: PauseWatch,
        order: QueueOrder,
        stopping: threading.Event,
    ) -> None:
        self._runtime = runtime
        self._receiver = receiver
        self._releaser = releaser
        self._flow_control = flow_control
        self._in_flight = in_flight
        self._pools = pools
        self._pacer = pacer
        self._batches = batches
        self._suspects = suspects
        self._settlements = settlements
        self._pauses = pauses
        self._order = order
        self._open_queues = pauses.open_queues
        self._stopping = stopping
        self._receive_retrier = Retrier(runtime.clock, give_up=stopping)

    def run(self) -> None:
        """Receive until the worker stops."""
        self._pauses.wait_until_known()
        while not self._stopping.is_set():
            self._receive_once()

    def release_waiting(self) -> None:
        """Release all runs that wait: for their instant, for their batch, or for a slot."""
        waiting = [*self._pacer.take_back(), *self._batches.take_back(), *self._pools.take_back()]
        self._releaser.release(waiting)

    def _receive_once(self) -> None:
        try:
            self._return_stuck()
            self._return_paused()
            if self._suspects.want_worker:
                self._make_room_for_suspect()
                return
            room = self._flow_control.room()
            if room <= 0:
                self._in_flight.wait_below(max(1, len(self._in_flight) - self._flow_control.slack()), STUCK_SECONDS)
                return
            deliveries = self._receive_retrier.call("receive", lambda: self._receive(room))
            self._take(deliveries)
        except GaveUp:
            return
        except Exception:  # the loop must survive any error; each message is delivered again when its hold ends
            logger.exception("unexpected error while receiving; retrying in %.0f s", _ERROR_DELAY_SECONDS)
            self._runtime.clock.wait_event(self._stopping, _ERROR_DELAY_SECONDS)

    def _receive(self, room: int) -> Sequence[Delivery]:
        if self._stopping.is_set():
            return ()
        wait = self._runtime.broker.capabilities.receive_wait_seconds
        # While a run waits in a pool, check now and then whether it is stuck there.
        waiting = any(map(self._flow_control.waits, Pool))
        wait = min(wait, STUCK_SECONDS) if waiting else wait
        if not self._open_queues:
            self._pauses.wait_for_change(self._open_queues, wait)
            return ()
        return self._receiver.receive(self._order.order(self._open_queues), room, wait)

    def _take(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        if self._stopping.is_set():
            self._settlements.release(deliveries)
            return
        deliveries = self._without_paused(deliveries)
        runs = self._isolate(self._receiver.start(deliveries))
        excess = self._flow_control.excess(runs)
        if excess:
            self._releaser.release(excess, delay_seconds=_EXCESS_DELAY_SECONDS)
            runs = [run for run in runs if run not in excess]
        self._pacer.submit(runs)
        if len(runs) == len(self._in_flight) == 1:
            # Receiving at the same time would take the interpreter and the broker from the only run.
            self._in_flight.wait_below(1, _SINGLE_RUN_SECONDS)
        if excess and not runs:
            self._in_flight.wait_below(len(self._in_flight), STUCK_SECONDS)

    def _without_paused(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Release deliveries of queues that were paused while they were received; the others."""
        open_queues = self._pauses.open_queues
        if self._open_queues is open_queues:
            return deliveries
        paused = [each for each in deliveries if each.message.queue not in open_queues]
        if paused:
            self._settlements.release(paused)
        return [each for each in deliveries if each.message.queue in open_queues]

    def _isolate(self, runs: list[Run]) -> list[Run]:
        """Hand over the suspects among ``runs``; the other runs."""
        suspects = [run for run in runs if run.lone is not None]
        if not suspects:
            return runs
        try:
            self._suspects.submit(suspects)
        except Exception:  # the system may start no more threads here; another worker may have room
            logger.exception("%d suspect tasks cannot begin; releasing them", len(suspects))
            self._releaser.release(suspects, delay_seconds=_ERROR_DELAY_SECONDS)
        return [run for run in runs if run.lone is None]

    def _make_room_for_suspect(self) -> None:
        """Receive nothing, until the worker runs nothing but one suspect and that suspect has ended."""
        if not self._suspects.have_worker:
            self.release_waiting()
            if self._in_flight.only_suspects():
                self._suspects.grant_worker()
        self._in_flight.wait_below(max(1, len(self._in_flight)), STUCK_SECONDS)

    def _return_stuck(self) -> None:
        """Release runs that wait behind long tasks: another worker may run them at once."""
        self._releaser.release(self._pools.take_back(self._flow_control.stuck))
        self._suspects.return_stuck()

    def _return_paused(self) -> None:
        """Release runs that have not begun, of queues that were paused meanwhile."""
        if self._open_queues is self._pauses.open_queues:
            return
        self._open_queues = self._pauses.open_queues
        waiting = [*self._pacer.take_back(), *self._pools.take_back()]
        paused = [run for run in waiting if run.delivery.message.queue not in self._open_queues]
        paused += self._batches.take_back(lambda row: row.delivery.message.queue not in self._open_queues)
        self._pacer.submit([run for run in waiting if run.delivery.message.queue in self._open_queues])
        self._releaser.release(paused)
