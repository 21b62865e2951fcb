"""Releases runs that this worker does not finish, so that another worker may run their tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from drivetrain.contract import Delivery, Interruption, RunLease, State, Transition
from drivetrain.worker.batches.batch_run import rows_of
from drivetrain.worker.effects import EffectRunner
from drivetrain.worker.events import notify_interrupted
from drivetrain.worker.finishing.acknowledging import Acknowledger
from drivetrain.worker.in_flight import InFlight
from drivetrain.worker.limits.freeing import PlaceReleaser
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.publisher import POSTPONED_HEADER, Publisher, postponed_since
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.run import Run
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.settlements import Settlements

__all__ = ["Releaser"]

_AT_ONCE: Mapping[str, float] = {}


class Releaser:
    """Ends the leases of runs, and releases their messages. Thread-safe.

    All methods raise `GaveUp` if the worker stops while a service is unavailable.
    """

    def __init__(
        self,
        runtime: Runtime,
        options: WorkerOptions,
        *,
        publisher: Publisher,
        effect_runner: EffectRunner,
        place_releaser: PlaceReleaser,
        acknowledger: Acknowledger,
        retrier: Retrier,
        settlements: Settlements,
        in_flight: InFlight,
    ) -> None:
        self._runtime = runtime
        self._options = options
        self._publisher = publisher
        self._effect_runner = effect_runner
        self._place_releaser = place_releaser
        self._acknowledger = acknowledger
        self._retrier = retrier
        self._settlements = settlements
        self._in_flight = in_flight

    def release(self, runs: Sequence[Run], *, delay_seconds: float = 0.0) -> None:
        """Release runs: their starts do not count, and their messages are ready again after ``delay_seconds``.

        Of a batch, all rows are released.
        """
        if not runs:
            return
        runs = rows_of(runs)
        self._record_released(runs)
        self._place_releaser.release_runs(runs)
        self._settlements.release([run.delivery for run in runs], delay_seconds=delay_seconds)
        self._in_flight.remove(runs)

    def postpone(self, postponed: Sequence[tuple[Run, float]]) -> None:
        """Release runs whose task asked for it, each until a due time in Unix seconds; the attempt stays the same."""
        if not postponed:
            return
        now = self._runtime.clock.now()
        self._record_released([run for run, _ in postponed], {run.id: due for run, due in postponed})
        self._place_releaser.release_runs([run for run, _ in postponed])
        self._publisher.publish_later([(run.delivery, due, _postponed(run, now)) for run, due in postponed])
        self._acknowledger.acknowledge_copied([run.delivery for run, _ in postponed])
        self._in_flight.remove(run for run, _ in postponed)

    def release_crashed(self, run: Run) -> None:
        """Release a run whose process died: another worker may start it now, and the unfinished start counts."""
        notify_interrupted(self._runtime, self._options.name, run, Interruption.CRASHED)
        lease = RunLease(task_id=run.task_id, run=run.id, seconds=0)
        self._retrier.call("end the lease", lambda: self._runtime.backend.renew([lease]))
        self._place_releaser.release_runs([run])
        self._settlements.release([run.delivery])
        self._in_flight.remove([run])

    def offer_runs(self, offered: Sequence[tuple[Run, float]]) -> None:
        """Release runs, and offer their messages to workers with another version; see `offer`."""
        runs = [run for run, _ in offered]
        self._record_released(runs)
        self._place_releaser.release_runs(runs)
        self.offer([(run.delivery, delay) for run, delay in offered])
        self._in_flight.remove(runs)

    def offer(self, offered: Sequence[tuple[Delivery, float]]) -> None:
        """Publish messages again for workers with another version, each after its delay in seconds."""
        self._publisher.offer_again(offered)
        self._acknowledger.acknowledge_copied([delivery for delivery, _ in offered])

    def _record_released(self, runs: Sequence[Run], due: Mapping[str, float] = _AT_ONCE) -> None:
        """Record that runs have not ended.

        Args:
            runs: the runs.
            due: when the tasks of some of them are due, in Unix seconds, by the id of the run.
        """
        now = self._runtime.clock.now()
        transitions = [
            Transition(
                task_id=run.task_id,
                state=State.RECEIVED,
                attempt=run.invocation.attempt,
                at=now,
                worker=self._options.name,
                run=run.id,
                payload=self._payload(run, due.get(run.id)),
            )
            for run in runs
        ]
        self._retrier.call("record the release", lambda: self._runtime.backend.record(transitions))

    def _payload(self, run: Run, due: float | None) -> bytes | None:
        """The payload of the record of a run that has not ended; None: the record keeps its own."""
        unfinished = None if run.lone is None else run.lone.before
        if due is not None:
            unfinished = replace(unfinished or self._effect_runner.unfinished(run.invocation, due=due), due=due)
        return None if unfinished is None else unfinished.dump(self._runtime.payloads)


def _postponed(run: Run, now: float) -> Mapping[str, str]:
    since = postponed_since(run.delivery.message)
    return {POSTPONED_HEADER: repr(now if since is None else since)}
