"""The receiver: turns deliveries into runs whose start is recorded. It settles what cannot or must not run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from uuid import uuid4

from drivetrain.contract import Delivery
from drivetrain.worker.activity import Activity
from drivetrain.worker.events import event_of, event_of_run, notify_step
from drivetrain.worker.limits.gate import LimitGate
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.receiving.filtering import DeliveryFilter
from drivetrain.worker.receiving.reading import MessageReader, Received
from drivetrain.worker.receiving.starting import Starter
from drivetrain.worker.run import Run
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.shown import ShownMessages, count_queues

__all__ = ["Receiver"]


class Receiver:
    """Turns deliveries into runs whose start is recorded. Used by one thread."""

    def __init__(
        self,
        runtime: Runtime,
        options: WorkerOptions,
        *,
        reader: MessageReader,
        delivery_filter: DeliveryFilter,
        gate: LimitGate,
        starter: Starter,
        activity: Activity,
    ) -> None:
        self._runtime = runtime
        self._options = options
        self._reader = reader
        self._filter = delivery_filter
        self._gate = gate
        self._starter = starter
        self._activity = activity
        # Not the worker's name, which another worker may share: the owner of a lease must be unique.
        self._series = f"{uuid4().hex[:16]}."
        self._numbers = count(1)

    def receive(self, queues: Sequence[str], limit: int, wait_seconds: float) -> Sequence[Delivery]:
        """Receive up to ``limit`` deliveries; may raise ServiceError."""
        clock = self._runtime.clock
        began = clock.monotonic()
        deliveries = self._runtime.broker.receive(
            queues, limit=limit, wait_seconds=wait_seconds, hold_seconds=self._options.lease_seconds
        )
        observers = self._runtime.observers
        if deliveries and observers.watches("messages_received"):
            messages = [delivery.message for delivery in deliveries]
            observers.notify(
                "messages_received",
                messages=ShownMessages(messages),
                queues=count_queues(messages),
                seconds=clock.monotonic() - began,
            )
        return deliveries

    def start(self, deliveries: Sequence[Delivery]) -> list[Run]:
        """Record starts; the runs. All other ``deliveries`` are settled.

        Runs with a `LoneStart` must run alone, in `Isolation`.

        Raises:
            GaveUp: the worker stops while a service is unavailable; the messages will be delivered again.
        """
        now = self._runtime.clock.now()
        received = list(self._reader.read(deliveries))
        self._activity.received(
            [one.invocation.call.task for one in received], [one.delivery.message.queue for one in received]
        )
        self._notify_received(received, now)
        startable = self._filter.startable(received, now)
        owned_until = self._runtime.clock.monotonic() + self._options.lease_seconds
        runs = [self._run(one, now, owned_until) for one in startable]
        if self._runtime.registry.limited or self._runtime.registry.unique:
            runs = self._gate.admit(runs, now)
        started = self._starter.start(runs, now)
        self._notify_started(started, now)
        return started

    def _run(self, one: Received, now: float, owned_until: float) -> Run:
        return Run(
            id=f"{self._series}{next(self._numbers)}",
            delivery=one.delivery,
            invocation=one.invocation,
            definition=self._runtime.registry[one.invocation.call.task],
            received_at=now,
            ready_at=one.due,
            owned_until=owned_until,
            expires_at=one.expires_at,
        )

    def _notify_received(self, received: Sequence[Received], now: float) -> None:
        observers = self._runtime.observers
        if observers.watches("task_received"):
            for one in received:
                event = event_of(one.invocation, self._options.name, one.delivery.message, received_at=now)
                observers.notify("task_received", event=event)
        notify_step(observers, "received", received)

    def _notify_started(self, runs: Sequence[Run], now: float) -> None:
        observers = self._runtime.observers
        if runs and observers.watches("task_started"):
            for run in runs:
                message = run.delivery.message
                event = event_of(
                    run.invocation,
                    self._options.name,
                    message,
                    received_at=now,
                    started_at=now,
                    limit_waits=run.limit_waits,
                )
                observers.notify("task_started", event=event)
        if self._runtime.registry.limited and observers.watches("limited_tasks_started"):
            self._notify_limited(runs)
        notify_step(observers, "started", runs)

    def _notify_limited(self, runs: Sequence[Run]) -> None:
        clock = self._runtime.clock
        events = [event_of_run(run, self._options.name, clock) for run in runs if run.limit_waits]
        if events:
            self._runtime.observers.notify("limited_tasks_started", events=events)
