"""The stages of a worker, put together: receiving, running and settling share buffers and services."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from drivetrain.contract import Interruption
from drivetrain.worker.activity import Activity
from drivetrain.worker.batches.batch_run import BatchRun
from drivetrain.worker.batches.collecting import BatchCollector
from drivetrain.worker.blocked_slots import BlockedSlots
from drivetrain.worker.counts.writer import CountsWriter
from drivetrain.worker.effects import EffectRunner
from drivetrain.worker.events import notify_interrupted
from drivetrain.worker.execution import Execution
from drivetrain.worker.finishing.acknowledging import Acknowledger
from drivetrain.worker.finishing.finisher import Finisher
from drivetrain.worker.finishing.recording import ResultRecorder
from drivetrain.worker.finishing.releasing import Releaser
from drivetrain.worker.flow_control import FlowControl
from drivetrain.worker.heartbeat import Heartbeat
from drivetrain.worker.in_flight import InFlight
from drivetrain.worker.kept_messages import KeptMessages
from drivetrain.worker.limits.freeing import PlaceReleaser
from drivetrain.worker.limits.gate import LimitGate
from drivetrain.worker.limits.pacer import Pacer
from drivetrain.worker.limits.places import PlaceKeeper
from drivetrain.worker.limits.recovery import PlaceRecovery
from drivetrain.worker.limits.uniqueness import ClaimReleaser
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.pauses import PauseWatch
from drivetrain.worker.pool_set import PoolSet
from drivetrain.worker.progress_reports import ProgressReports
from drivetrain.worker.publisher import Publisher
from drivetrain.worker.queue_order import QueueOrder
from drivetrain.worker.receive_loop import ReceiveLoop
from drivetrain.worker.receiving.filtering import DeliveryFilter
from drivetrain.worker.receiving.reading import MessageReader
from drivetrain.worker.receiving.receiver import Receiver
from drivetrain.worker.receiving.rejecting import Rejecter
from drivetrain.worker.receiving.starting import Starter
from drivetrain.worker.registry import Pool
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.run import Run
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.settlements import Settlements
from drivetrain.worker.settler import Settler
from drivetrain.worker.status_reporter import StatusReporter
from drivetrain.worker.suspects import Suspects
from drivetrain.worker.threads import Threads

if TYPE_CHECKING:
    from drivetrain.worker.isolation import Isolation

__all__ = ["Stages"]


class Stages:
    """The stages of one worker, and what they share. Making them does no I/O and starts no thread.

    Attributes:
        activity: counts what the worker does.
        in_flight: the runs of the worker.
        progress_reports: writes the progress that tasks report.
        execution: makes a result of each run.
        finisher: settles results.
        releaser: releases runs that are not finished here.
        receiver: turns deliveries into runs.
        gate: lets runs start as the limits of their tasks allow.
        flow_control: limits the number of runs in flight.
        settler: the settling stage.
        pools: the running stage.
        place_recovery: recovers places of limits from runs that have lost their lease.
        batches: puts the rows of batched tasks together, and hands runs to the pools.
        pacer: hands runs on, each not before its instant.
        suspects: runs tasks that may have killed a worker, each alone.
        receive_loop: the receiving stage.
        heartbeat: extends the holds and leases of runs in flight.
        pauses: tells which queues are paused.
        status_reporter: reports what the worker does.
        counts_writer: writes what the worker has counted; None: the options ask for no counts over time.
    """

    def __init__(
        self,
        runtime: Runtime,
        options: WorkerOptions,
        *,
        threads: Threads,
        stopping: threading.Event,
        abandoning: threading.Event,
    ) -> None:
        """Make them.

        Args:
            runtime: the drivers and settings of the app.
            options: the options of the worker.
            threads: starts threads.
            stopping: set when the worker receives nothing more.
            abandoning: set when the worker does not wait for unavailable services any more.
        """
        self._runtime = runtime
        self._options = options
        self._threads = threads
        self._stopping = stopping
        self._retrier = Retrier(runtime.clock, give_up=abandoning)
        self._publisher = Publisher(runtime, self._retrier, worker=True)
        self._effect_runner = EffectRunner(runtime, self._publisher, self._retrier, worker=options.name)
        self._settlements = Settlements(runtime, self._retrier)
        self._place_keeper = PlaceKeeper(runtime, grace_seconds=options.lease_seconds, retrier=self._retrier)
        self._place_releaser = PlaceReleaser(runtime, self._place_keeper, self._publisher)
        self.place_recovery = PlaceRecovery(
            runtime, self._place_keeper, self._place_releaser, lease_seconds=options.lease_seconds
        )
        self._acknowledger = Acknowledger(runtime, self._retrier, self._settlements)
        self.activity = Activity(runtime.registry, runtime.clock)
        self._slots = {pool: options.loop_concurrency if pool is Pool.LOOP else options.concurrency for pool in Pool}
        self._pools_used = {definition.pool for definition in runtime.registry.values()}
        self.in_flight = InFlight(runtime.clock)
        self.pauses = PauseWatch(runtime, options.queues, options.name)
        self.progress_reports = ProgressReports(runtime, self.in_flight)
        self.execution = Execution(runtime, options, progress_sink=self.progress_reports)
        self.releaser = self._make_releaser()
        self.finisher = self._make_finisher()
        self.receiver = self._make_receiver()
        self.flow_control = self._make_flow_control()
        self.settler = Settler(self.finisher, self.flow_control, self.in_flight)
        self.pools = PoolSet(
            runtime,
            options,
            execution=self.execution,
            releaser=self.releaser,
            settler=self.settler,
            threads=threads,
        )
        self.batches = BatchCollector(
            runtime.clock,
            threads,
            registry=runtime.registry,
            in_flight=self.in_flight,
            flow_control=self.flow_control,
            submit=self.pools.submit,
        )
        self.pacer = Pacer(runtime.clock, threads, self.batches.submit)
        self.suspects = Suspects(self._make_isolation)
        self.receive_loop = self._make_receive_loop()
        self.heartbeat = Heartbeat(
            runtime,
            self.in_flight,
            lease_seconds=options.lease_seconds,
            interrupt=self.interrupt,
            activity=self.activity,
        )
        self.status_reporter = self._make_status_reporter()
        self.counts_writer = self._make_counts_writer()

    def interrupt(self, run: Run, reason: Interruption) -> None:
        """Stop a run whose result does not count any more, where its pool can stop one.

        A batch is stopped when all its rows are.
        """
        notify_interrupted(self._runtime, self._options.name, run, reason)
        self.suspects.cancel(run)
        if isinstance(run.batch, BatchRun):
            if not all(row.stopped for row in run.batch.rows):
                return
            run = run.batch
            run.stopped = True
        self.pools.cancel(run)

    def _make_releaser(self) -> Releaser:
        return Releaser(
            self._runtime,
            self._options,
            publisher=self._publisher,
            effect_runner=self._effect_runner,
            place_releaser=self._place_releaser,
            acknowledger=self._acknowledger,
            retrier=self._retrier,
            settlements=self._settlements,
            in_flight=self.in_flight,
        )

    def _make_finisher(self) -> Finisher:
        runtime, options, retrier = self._runtime, self._options, self._retrier
        return Finisher(
            runtime,
            options,
            recorder=ResultRecorder(runtime, options, effect_runner=self._effect_runner, retrier=retrier),
            publisher=self._publisher,
            effect_runner=self._effect_runner,
            acknowledger=self._acknowledger,
            kept_messages=KeptMessages(runtime, retrier),
            claim_releaser=ClaimReleaser(runtime, retrier),
            place_releaser=self._place_releaser,
            releaser=self.releaser,
            in_flight=self.in_flight,
            activity=self.activity,
            retrier=retrier,
        )

    def _make_receiver(self) -> Receiver:
        runtime, options, retrier, acknowledger = self._runtime, self._options, self._retrier, self._acknowledger
        rejecter = Rejecter(runtime, self.finisher)
        reader = MessageReader(runtime, rejecter=rejecter, acknowledger=acknowledger, retrier=retrier)
        delivery_filter = DeliveryFilter(
            runtime,
            options,
            publisher=self._publisher,
            rejecter=rejecter,
            acknowledger=acknowledger,
            releaser=self.releaser,
            retrier=retrier,
        )
        self.gate = LimitGate(
            runtime,
            options,
            publisher=self._publisher,
            effect_runner=self._effect_runner,
            rejecter=rejecter,
            acknowledger=acknowledger,
            place_keeper=self._place_keeper,
            place_releaser=self._place_releaser,
            retrier=retrier,
        )
        starter = Starter(
            runtime,
            options,
            finisher=self.finisher,
            rejecter=rejecter,
            acknowledger=acknowledger,
            retrier=retrier,
            settlements=self._settlements,
            in_flight=self.in_flight,
        )
        return Receiver(
            runtime,
            options,
            reader=reader,
            delivery_filter=delivery_filter,
            gate=self.gate,
            starter=starter,
            activity=self.activity,
        )

    def _make_flow_control(self) -> FlowControl:
        clock, limit = self._runtime.clock, self._options.prefetch_limit
        return FlowControl(clock, self.in_flight, self._slots, self._pools_used, limit)

    def _make_status_reporter(self) -> StatusReporter:
        slots = {pool: count for pool, count in self._slots.items() if pool in self._pools_used}
        return StatusReporter(
            self._runtime,
            self._options,
            activity=self.activity,
            in_flight=self.in_flight,
            slots=slots,
            stopping=self._stopping.is_set,
            replaced_children=self.pools.replaced_children,
            blocked=BlockedSlots(self._runtime, self._options, self.in_flight, slots).reason,
        )

    def _make_counts_writer(self) -> CountsWriter | None:
        seconds = self._options.counts_retention_seconds
        return CountsWriter(self._runtime, self.activity, seconds) if seconds > 0 else None

    def _make_isolation(self) -> Isolation:
        from drivetrain.worker.isolation import Isolation  # megabytes that most workers do not need

        return Isolation(
            self._runtime,
            self._options,
            execution=self.execution,
            releaser=self.releaser,
            retrier=self._retrier,
            in_flight=self.in_flight,
            stopping=self._stopping,
            run_here=self.pools.submit,
            done=self.settler.put,
            threads=self._threads,
        )

    def _make_receive_loop(self) -> ReceiveLoop:
        return ReceiveLoop(
            self._runtime,
            receiver=self.receiver,
            releaser=self.releaser,
            flow_control=self.flow_control,
            in_flight=self.in_flight,
            pools=self.pools,
            pacer=self.pacer,
            batches=self.batches,
            suspects=self.suspects,
            settlements=self._settlements,
            pauses=self.pauses,
            order=QueueOrder(self._options.queue_weights),
            stopping=self._stopping,
        )
