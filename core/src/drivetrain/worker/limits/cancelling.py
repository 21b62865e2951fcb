"""Cancels tasks that make room for later ones: ``when_limited="cancel_oldest"``."""

from __future__ import annotations

from collections.abc import Sequence

from drivetrain.contract import Failure, State, TaskRecord
from drivetrain.worker.downstream import downstream
from drivetrain.worker.effects import EffectRunner
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.advance import End, Failed, advance

__all__ = ["PlaceCanceller"]


class PlaceCanceller:
    """Ends tasks as CANCELLED, with all that depends on them. Thread-safe."""

    def __init__(self, runtime: Runtime, effect_runner: EffectRunner, retrier: Retrier) -> None:
        self._runtime = runtime
        self._effect_runner = effect_runner
        self._retrier = retrier

    def cancel(self, task_ids: Sequence[str], limit: str) -> None:
        """Cancel tasks that have not ended, since a later one needs their place of ``limit``.

        Raises:
            GaveUp: the worker stops while the backend is unavailable.
        """
        records = [one for one in self._read(task_ids) if one is not None and not one.state.terminal]
        if not records:
            return
        ends = [self._end(record, limit) for record in records]
        transitions = [self._effect_runner.ended(end) for end in ends]
        outcomes = self._retrier.call("cancel", lambda: self._runtime.backend.record(transitions))
        load_bodies = self._effect_runner.long_chains.load_bodies
        frames = downstream(records, self._runtime.payloads, self._read, load_bodies)
        self._effect_runner.perform(
            effect
            for record, end, outcome, following in zip(records, ends, outcomes, frames, strict=True)
            if outcome.applied
            for effect in advance(following, Failed(end.failure, None, State.CANCELLED), workflow=record.workflow)
        )

    def _read(self, task_ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        return self._retrier.call("read", lambda: self._runtime.backend.read(task_ids))

    def _end(self, record: TaskRecord, limit: str) -> End:
        failure = Failure(
            type="drivetrain.Limited",
            message=f"a later task took its place of limit {limit!r}, since when_limited is 'cancel_oldest'",
            task=record.task,
            task_id=record.task_id,
            attempt=record.attempt,
        )
        return End(record.task_id, State.CANCELLED, self._runtime.registry.codec.encode(failure, Failure))
