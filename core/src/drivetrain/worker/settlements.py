"""Settling deliveries: each call of the broker, with retries, and the observers of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from drivetrain.contract import Delivery, Settlement
from drivetrain.worker.log_text import shortened
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.shown import ShownMessages, count_queues

__all__ = ["Settlements"]


class Settlements:
    """Settles deliveries, and notifies observers. Thread-safe.

    All methods raise `GaveUp` if the worker stops while the broker is unavailable.
    """

    def __init__(self, runtime: Runtime, retrier: Retrier) -> None:
        self._broker = runtime.broker
        self._observers = runtime.observers
        self._clock = runtime.clock
        self._retrier = retrier
        self._observed = runtime.observers.watches("messages_settled")

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge messages."""
        self._settle(Settlement.ACKNOWLEDGE, deliveries, lambda: self._broker.acknowledge(deliveries))

    def release(self, deliveries: Sequence[Delivery], *, delay_seconds: float = 0.0) -> None:
        """Make messages ready again after ``delay_seconds``."""
        broker = self._broker
        self._settle(Settlement.RELEASE, deliveries, lambda: broker.release(deliveries, delay_seconds=delay_seconds))

    def dead_letter(self, deliveries: Sequence[tuple[Delivery, str]]) -> None:
        """Move messages to the dead letters, each with its reason."""
        bounded = [(delivery, shortened(reason)) for delivery, reason in deliveries]
        of_messages = [delivery for delivery, _ in deliveries]
        self._settle(Settlement.DEAD_LETTER, of_messages, lambda: self._broker.dead_letter(bounded))

    def _settle(self, settlement: Settlement, deliveries: Sequence[Delivery], settle: Callable[[], None]) -> None:
        operation = settlement.value.replace("_", "-")
        if not self._observed:
            self._retrier.call(operation, settle)
            return
        began = self._clock.monotonic()
        self._retrier.call(operation, settle)
        messages = [delivery.message for delivery in deliveries]
        self._observers.notify(
            "messages_settled",
            messages=ShownMessages(messages),
            queues=count_queues(messages),
            settlement=settlement,
            seconds=self._clock.monotonic() - began,
        )
