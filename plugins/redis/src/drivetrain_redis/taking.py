"""Receiving: a look for messages, and what is left at queues meanwhile."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import frozen

from drivetrain.contract import Delivery
from drivetrain_redis.keys import BESIDE_QUEUE
from drivetrain_redis.packing import unpack_message
from drivetrain_redis.scripts import Script
from drivetrain_redis.server import Server, command, script

__all__ = ["Left", "Look", "microseconds"]

#: About the year 2255; up to there a double tells microseconds apart.
_END_OF_TIME = 9e15

_RECEIVE = Script.load("arrival", "queue", "receive")


@frozen
class Left:
    """What a receive has left at queues, for somebody to wake it or to hand it a message unasked."""

    #: The name of its channel, and if it may be handed one, the number of its wait and for how long it holds.
    waiter: str = ""
    #: Of what it was handed.
    receipt: bytes = b""


class Look:
    """One look for messages, made again and again by one `receive`."""

    def __init__(
        self,
        server: Server,
        queues: Sequence[str],
        bases: Sequence[bytes],
        *,
        limit: int,
        hold_seconds: float,
        number: int,
        left: Left,
    ) -> None:
        """Describe it.

        Args:
            server: where.
            queues: their names.
            bases: what their keys begin with.
            limit: at most how many messages.
            hold_seconds: for how long these are held.
            number: of this receive, which no other one of the broker object has.
            left: what an earlier receive has left.
        """
        self._server = server
        self._beside = () if server.whole else BESIDE_QUEUE
        self._queues = queues
        #: The places of queues that can be asked by one call, and what their keys begin with.
        self._lanes = [(lane, [bases[place] for place in lane]) for lane in server.lanes(bases)]
        self._limit = limit
        self._hold = microseconds(hold_seconds)
        # Two queues could hand over more than the limit. On a cluster nobody can tell whether we are there to take it.
        self._takes = server.whole and len(queues) == 1
        self._number = number
        #: Nothing once a look without a channel has been made.
        self.left = left

    def take(self, pause: float, channel: str) -> tuple[float, list[Delivery]]:
        """What is there; if nothing is, how long to sleep at most, after which to look again."""
        if len(self._lanes) == 1:
            return self._ask(0, self._limit, pause, channel)
        taken = self._ask_in_turn()
        if taken or not channel:
            return 0.0, taken
        sleep = pause
        for place in range(len(self._lanes)):
            # What comes between two looks is seen by the second; then nobody is to expect us at the others.
            span, taken = self._ask(place, self._limit, pause, channel)
            if taken:
                self._leave(channel)
                return 0.0, taken
            sleep = min(sleep, span)
        return sleep, []

    def _ask_in_turn(self) -> list[Delivery]:
        """Where queues are of several slots, one is asked after the other: earlier ones come first."""
        taken: list[Delivery] = []
        for place in range(len(self._lanes)):
            if len(taken) < self._limit:
                taken += self._ask(place, self._limit - len(taken), 0.0, "")[1]
        return taken

    def _ask(self, place: int, limit: int, pause: float, channel: str) -> tuple[float, list[Delivery]]:
        lane, bases = self._lanes[place]
        waiter = f"{channel} {self._number} {self._hold}" if channel and self._takes else channel
        asked = (limit, self._hold, microseconds(pause), waiter, self.left.waiter, self.left.receipt)
        if waiter:
            self.left = Left(waiter)
        (reply,) = self._server.run([script(_RECEIVE, bases, asked, self._beside)])
        deliveries = list(self._deliveries(reply, lane))
        if len(self._lanes) == 1 and (deliveries or not channel):
            self.left = Left()
        return reply[0] / 1e6, deliveries

    def handed(self, said: Iterable[bytes]) -> list[Delivery]:
        """What we were handed unasked. What is said of an earlier wait was asked for since, if it was not heard."""
        found = [text.split(b" ", 2) for text in said if text]
        ours = [(receipt, data) for number, receipt, data in found if int(number) == self._number]
        if not ours:
            return []
        receipts, messages = zip(*ours, strict=True)
        self.left = Left(self.left.waiter, receipts[-1])
        return list(self._deliveries([0, receipts, messages], [0]))

    def _leave(self, channel: str) -> None:
        bases = [base for _, some in self._lanes for base in some]
        self._server.run([command("ZREM", base + b":waiting", channel, key=base) for base in bases])

    def _deliveries(self, reply: Sequence[Any], lane: Iterable[int]) -> Iterator[Delivery]:
        parts = iter(reply)
        next(parts)
        for place, receipts, messages in zip(lane, parts, parts, strict=True):
            queue = self._queues[place]
            for receipt, data in zip(receipts, messages, strict=True):
                times = 1 if receipt.endswith(b":1") else int(receipt.partition(b":")[2])
                yield Delivery(
                    message=unpack_message(data, queue),
                    receipt=receipt,
                    redelivered=times > 1 or receipt[1] == 114,  # "r": it was replayed
                    delivery_count=times,
                )


def microseconds(seconds: float) -> int:
    """``seconds`` as the scripts count them."""
    return math.ceil(min(max(0.0, seconds * 1e6), _END_OF_TIME))  # never early
