"""The end of messages: acknowledged or dead-lettered; then their bodies are dropped, and retention is shortened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial

from drivetrain.contract import Delivery
from drivetrain.worker.publisher import BODY_HEADER, FOLLOWS_HEADER
from drivetrain.worker.results import dead_reason_of
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.run import RunResult
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.settlements import Settlements

__all__ = ["Acknowledger"]


class Acknowledger:
    """Acknowledges or dead-letters messages, and drops what the backend stores for them. Thread-safe.

    All methods raise `GaveUp` if the worker stops while a service is unavailable.
    """

    def __init__(self, runtime: Runtime, retrier: Retrier, settlements: Settlements) -> None:
        self._runtime = runtime
        self._retrier = retrier
        self._settlements = settlements

    def finish(self, results: Sequence[RunResult]) -> None:
        """Acknowledge or dead-letter the messages of results that are recorded and followed up."""
        reasons = [dead_reason_of(result) for result in results]
        dead = [(one.delivery, reason) for one, reason in zip(results, reasons, strict=True) if reason is not None]
        done = [one for one, reason in zip(results, reasons, strict=True) if reason is None]
        if dead:
            self.dead_letter(dead)
        if done:
            self.acknowledge([result.delivery for result in done])
        self._shorten_retention(done)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge messages, and drop their bodies from the backend."""
        self._settlements.acknowledge(deliveries)
        keys = [key for one in deliveries if (key := one.message.headers.get(BODY_HEADER)) is not None]
        if keys:
            self._retrier.call("drop bodies", lambda: self._runtime.backend.drop_bodies(keys))

    def acknowledge_copied(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge messages that were published again; the copies need their bodies."""
        self._settlements.acknowledge(deliveries)

    def dead_letter(self, deliveries: Sequence[tuple[Delivery, str]]) -> None:
        """Dead-letter messages, each with its reason. Their bodies stay for a replay."""
        self._settlements.dead_letter(deliveries)

    def _shorten_retention(self, results: Sequence[RunResult]) -> None:
        """Keep results only as long as the app wants them, now that their messages are gone."""
        soon: dict[float, list[str]] = defaultdict(list)
        window = self._runtime.redelivery_window_seconds
        for result in results:
            wanted = self._runtime.result_retention_seconds(result.invocation.call.retention)
            if wanted is None or wanted >= window or not result.state.terminal:
                continue
            if FOLLOWS_HEADER not in result.delivery.message.headers:
                soon[wanted].append(result.task_id)
        shorten = self._runtime.backend.shorten_retention
        for seconds, task_ids in soon.items():
            self._retrier.call("shorten retention", partial(shorten, task_ids, retention_seconds=seconds))
