"""Receiving messages: one script call, or several while waiting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any

from attrs import frozen

from drivetrain.contract import Delivery, reset_after_fork, whole_units
from drivetrain_redis.codec import unpack_message
from drivetrain_redis.connection import Client
from drivetrain_redis.keys import QUEUE_SUFFIXES, QueueKeys
from drivetrain_redis.scripts import LARGEST_BATCH, Script, command
from drivetrain_redis.waiting import Waiting

__all__ = ["ReceiveCall", "Receiver", "microseconds"]

#: As a time, about the year 2255; a double tells microseconds apart until then.
_LONGEST_SECONDS = 9e9

#: The marks of replayed messages in a token; see ``lua/queue.lua``.
_REPLAYED = b"rg"

_RECEIVE = Script.load("arrival", "fair", "queue", "receive")


@frozen
class Registration:
    """What a waiting receive has left in ``:waiting`` of its queues, for senders to wake it or to hand it a message."""

    #: The channel; for a receive that may be handed a message, also the number of the wait and the length of the hold.
    entry: str = ""
    #: The receipt of the message that was handed over.
    receipt: bytes = b""


class Receiver:
    """Receives messages. Used by one thread at a time."""

    def __init__(self, client: Client, queues: QueueKeys, waiting: Waiting) -> None:
        self._client = client
        self._queues = queues
        self._waiting = waiting
        self._numbers = count(1)
        #: What the last receive has registered and not removed.
        self._registration = Registration()
        reset_after_fork(self)

    def receive(
        self, queues: Sequence[str], *, limit: int, wait_seconds: float, hold_seconds: float
    ) -> Sequence[Delivery]:
        """See `Broker.receive`."""
        if limit <= 0 or not queues:
            return []
        names = list(dict.fromkeys(queues))
        call = ReceiveCall(
            self._client,
            names,
            [self._queues.base(name) for name in names],
            limit=min(limit, LARGEST_BATCH),
            hold_seconds=hold_seconds,
            number=next(self._numbers),
            registration=self._registration,
        )
        try:
            if wait_seconds <= 0:
                return call.take(0.0, "")[1]
            return self._waiting.until(call.take, [], wait_seconds, call.read_notifications)
        finally:
            self._registration = call.registration

    def after_fork(self) -> None:
        """See `drivetrain.contract.ForkAware`: the waits are the parent's."""
        self._registration = Registration()


class ReceiveCall:
    """One receive: its script call is made again and again until there are messages."""

    def __init__(
        self,
        client: Client,
        queues: Sequence[str],
        bases: Sequence[bytes],
        *,
        limit: int,
        hold_seconds: float,
        number: int,
        registration: Registration,
    ) -> None:
        """Describe it.

        Args:
            client: of the server.
            queues: the names of the queues.
            bases: the starts of their keys.
            limit: how many messages at most.
            hold_seconds: how long the messages are held.
            number: of this receive, which no other receive of the broker object has.
            registration: what an earlier receive has registered.
        """
        self._client = client
        self._suffixes = () if client.supports_cross_slot else QUEUE_SUFFIXES
        self._queues = queues
        #: For each call: the indexes of its queues, and their bases.
        self._parts = [(part, [bases[index] for index in part]) for part in client.by_slot(bases)]
        self._limit = limit
        self._hold = microseconds(hold_seconds)
        # Two queues could hand over more than the limit. A cluster's node cannot tell whether we are still there.
        self._accepts_handover = client.supports_cross_slot and len(queues) == 1
        self._number = number
        #: Empty again after a call without a channel.
        self.registration = registration

    def take(self, pause: float, channel: str) -> tuple[float, list[Delivery]]:
        """The messages that are ready. If none is, how long to sleep at most before the next call, in seconds."""
        if len(self._parts) == 1:
            return self._call(0, self._limit, pause, channel)
        taken = self._take_in_order()
        if taken or not channel:
            return 0.0, taken
        sleep = pause
        for index in range(len(self._parts)):
            # A message that came after the first round is found by this one. Then no other queue must expect us.
            span, taken = self._call(index, self._limit, pause, channel)
            if taken:
                self._unregister(channel)
                return 0.0, taken
            sleep = min(sleep, span)
        return sleep, []

    def _take_in_order(self) -> list[Delivery]:
        """Queues in several slots take one call each, in their order: earlier queues come first."""
        taken: list[Delivery] = []
        for index in range(len(self._parts)):
            if len(taken) < self._limit:
                taken += self._call(index, self._limit - len(taken), 0.0, "")[1]
        return taken

    def _call(self, index: int, limit: int, pause: float, channel: str) -> tuple[float, list[Delivery]]:
        part, bases = self._parts[index]
        entry = f"{channel} {self._number} {self._hold}" if channel and self._accepts_handover else channel
        before = self.registration
        arguments = (limit, self._hold, microseconds(pause), entry, before.entry, before.receipt)
        if entry:
            self.registration = Registration(entry)
        (reply,) = self._client.run([_RECEIVE.call(bases, arguments, self._suffixes)])
        deliveries = list(self._deliveries(reply, part))
        if len(self._parts) == 1 and (deliveries or not channel):
            self.registration = Registration()
        return reply[0] / 1e6, deliveries

    def read_notifications(self, notifications: Iterable[bytes]) -> list[Delivery]:
        """The messages in notifications: senders hand single messages to a waiter at once.

        One for an earlier wait is ignored: if it was not read then, a later call has asked for it.
        """
        found = [text.split(b" ", 2) for text in notifications if text]
        ours = [(receipt, data) for number, receipt, data in found if int(number) == self._number]
        if not ours:
            return []
        receipts, messages = zip(*ours, strict=True)
        self.registration = Registration(self.registration.entry, receipts[-1])
        return list(self._deliveries([0, receipts, messages], [0]))

    def _unregister(self, channel: str) -> None:
        bases = [base for _, some in self._parts for base in some]
        self._client.run([command("ZREM", base + b":waiting", channel, key=base) for base in bases])

    def _deliveries(self, reply: Sequence[Any], part: Iterable[int]) -> Iterator[Delivery]:
        values = iter(reply)
        next(values)
        for index, receipts, messages in zip(part, values, values, strict=True):
            queue = self._queues[index]
            for receipt, data in zip(receipts, messages, strict=True):
                times = 1 if receipt.endswith(b":1") else int(receipt.partition(b":")[2])
                yield Delivery(
                    message=unpack_message(data, queue),
                    receipt=receipt,
                    redelivered=times > 1 or receipt[1] in _REPLAYED,
                    delivery_count=times,
                )


def microseconds(seconds: float) -> int:
    """``seconds`` in the unit of the scripts."""
    return whole_units(seconds, per_second=1_000_000, longest_seconds=_LONGEST_SECONDS)
