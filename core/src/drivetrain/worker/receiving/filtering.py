"""Removes deliveries that must not start here and now: delayed, expired or spent ones, and those of unknown tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from drivetrain.contract import Durability, State
from drivetrain.worker.finishing.acknowledging import Acknowledger
from drivetrain.worker.finishing.releasing import Releaser
from drivetrain.worker.logs import get_logger
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.publisher import Publisher
from drivetrain.worker.receiving.reading import Received
from drivetrain.worker.receiving.rejecting import Rejecter
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.run import log_extra
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.version_mismatch import next_offer_seconds
from drivetrain.workflow.frames import TICK_HEADER

__all__ = ["DeliveryFilter"]

logger = get_logger("drivetrain.worker")

#: The states of a task that has started and not ended.
_BEGUN = frozenset({State.STARTED, State.RETRY})


class DeliveryFilter:
    """Settles deliveries that must not start in this worker now. Used by one thread."""

    def __init__(
        self,
        runtime: Runtime,
        options: WorkerOptions,
        *,
        publisher: Publisher,
        rejecter: Rejecter,
        acknowledger: Acknowledger,
        releaser: Releaser,
        retrier: Retrier,
    ) -> None:
        self._runtime = runtime
        self._options = options
        self._publisher = publisher
        self._rejecter = rejecter
        self._acknowledger = acknowledger
        self._releaser = releaser
        self._retrier = retrier
        #: Whether a record lasts as long as messages do.
        self._keeps_records = _keeps_records(runtime)

    def startable(self, received: Sequence[Received], now: float) -> Sequence[Received]:
        """The deliveries that may start at ``now``, in Unix seconds; the other ones are settled."""
        due = self._without_spent_ticks(self._without_delayed(received, now))
        in_time = self._without_expired(due, now)
        return list(self._known(in_time))

    def _without_delayed(self, received: Sequence[Received], now: float) -> Sequence[Received]:
        early = [one.delivery for one in received if one.due is not None and one.due > now]
        if not early:
            return received
        self._publisher.republish_delayed(early, now)
        self._acknowledger.acknowledge_copied(early)
        gone = {id(delivery) for delivery in early}
        return [one for one in received if id(one.delivery) not in gone]

    def _without_spent_ticks(self, received: Sequence[Received]) -> Sequence[Received]:
        """Without the ticks of schedules that have run, and whose records have expired.

        A scheduler records a task before it publishes the message. So a message without a record comes from a scheduler
        that was stopped in between, while another one sent the tick.
        """
        ticks = [one for one in received if TICK_HEADER in one.invocation.call.headers]
        if not ticks or not self._keeps_records:
            return received
        records = self._retrier.call("read", lambda: self._runtime.backend.read([one.task_id for one in ticks]))
        spent = [one for one, record in zip(ticks, records, strict=True) if record is None]
        for one in spent:
            logger.warning("dropping message %s: its tick has run before", one.task_id, extra=log_extra(one.invocation))
        if spent:
            self._acknowledger.acknowledge([one.delivery for one in spent])
        return [one for one in received if one not in spent]

    def _without_expired(self, received: Sequence[Received], now: float) -> Sequence[Received]:
        late = [one for one in received if one.expires_at is not None and one.expires_at < now]
        if not late:
            return received
        begun = self._begun(late)
        self._rejecter.expire([(one.delivery, one.invocation) for one in late if one.task_id not in begun])
        in_time = [one for one in received if one.expires_at is None or one.expires_at >= now]
        # A task that started in time may start again at any time.
        return in_time + [replace(one, expires_at=None) for one in late if one.task_id in begun]

    def _begun(self, late: Sequence[Received]) -> set[str]:
        """The ids of tasks that started in time: they run, their worker has died, or a retry follows."""
        task_ids = [one.task_id for one in late]
        records = self._retrier.call("read", lambda: self._runtime.backend.read(task_ids))
        return {record.task_id for record in records if record is not None and record.state in _BEGUN}

    def _known(self, received: Sequence[Received]) -> Iterator[Received]:
        for one in received:
            if one.invocation.call.task in self._runtime.registry:
                yield one
            else:
                self._settle_unknown(one)

    def _settle_unknown(self, one: Received) -> None:
        if one.invocation.call.ignore_unknown:
            self._rejecter.cancel_unknown(one.delivery, one.invocation)
            return
        delay = next_offer_seconds(one.offers, self._options.version_mismatch_seconds)
        if delay is not None:
            self._releaser.offer([(one.delivery, delay)])
            return
        try:
            self._runtime.registry.find(one.invocation.call.task)
        except Exception as error:  # noqa: BLE001 - UnknownTask, raised for its traceback, which the failure records
            self._rejecter.dead_letter(one.delivery, one.invocation, f"unknown task: {error}", error)


def _keeps_records(runtime: Runtime) -> bool:
    backend, broker = runtime.backend.capabilities, runtime.broker.capabilities
    if backend.durability is Durability.NONE:
        return backend.stores and broker.durability is Durability.NONE
    return backend.durability is not Durability.CACHE
