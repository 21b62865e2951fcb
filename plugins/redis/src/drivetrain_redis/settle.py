"""Settling deliveries: acknowledge, release, extend, dead-letter."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from drivetrain.contract import Delivery, chunks, utf8
from drivetrain_redis.connection import Client
from drivetrain_redis.keys import QueueKeys, by_queue
from drivetrain_redis.receive import microseconds
from drivetrain_redis.scripts import LARGEST_BATCH, Script

__all__ = ["Settler"]

_ACKNOWLEDGE = Script.load("arrival", "fair", "queue", "acknowledge")
_RELEASE = Script.load("arrival", "fair", "queue", "release")
_DEAD_LETTER = Script.load("arrival", "fair", "queue", "dead_letter")
_EXTEND = Script.load("arrival", "fair", "queue", "extend")


class Settler:
    """Settles deliveries by their receipts. Thread-safe."""

    def __init__(self, client: Client, queues: QueueKeys) -> None:
        self._client = client
        self._queues = queues
        self._counts_listeners = "1" if client.supports_cross_slot else "0"

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See `Broker.acknowledge`."""
        self._settle(_ACKNOWLEDGE, (), deliveries)

    def release(self, deliveries: Sequence[Delivery], *, delay_seconds: float) -> None:
        """See `Broker.release`."""
        self._settle(_RELEASE, (self._counts_listeners, microseconds(delay_seconds)), deliveries)

    def extend(self, deliveries: Sequence[Delivery], *, hold_seconds: float) -> Sequence[bool]:
        """See `Broker.extend`."""
        extended: dict[Any, bool] = {}
        for part, reply in self._settle(_EXTEND, (microseconds(hold_seconds),), deliveries):
            receipts = [(queue, one.receipt) for queue, some in part.items() for one in some]
            extended.update(zip(receipts, map(bool, reply), strict=True))
        return [extended[one.message.queue, one.receipt] for one in deliveries]

    def _settle(
        self, script: Script, before: tuple[Any, ...], deliveries: Sequence[Delivery]
    ) -> list[tuple[Mapping[str, list[Delivery]], Any]]:
        """Call a script with the receipts of deliveries; its replies, each with its deliveries."""
        settled: list[tuple[Mapping[str, list[Delivery]], Any]] = []
        for batch in chunks(deliveries, LARGEST_BATCH):
            parts = list(self._queues.by_slot(by_queue(batch, lambda one: one.message.queue)))
            calls = [self._queues.call(script, before, part, _receipts) for part in parts]
            settled += zip(parts, self._client.run(calls), strict=True)
        return settled

    def dead_letter(self, deliveries: Sequence[tuple[Delivery, str]]) -> None:
        """See `Broker.dead_letter`."""
        for batch in chunks(deliveries, LARGEST_BATCH):
            parts = self._queues.by_slot(by_queue(batch, lambda one: one[0].message.queue))
            self._client.run([self._queues.call(_DEAD_LETTER, (), part, _dead_letters) for part in parts])


def _receipts(deliveries: Sequence[Delivery]) -> list[Any]:
    return [one.receipt for one in deliveries]


def _dead_letters(deliveries: Sequence[tuple[Delivery, str]]) -> list[Any]:
    return [part for one, reason in deliveries for part in (one.receipt, _note(one.message.id, reason))]


def _note(message_id: str, reason: str) -> bytes:
    """What is kept next to a dead message: its id, by which scripts find it, and the reason."""
    known = utf8(message_id)
    return struct.pack(">I", len(known)) + known + utf8(reason)
