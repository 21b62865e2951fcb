"""The broker of ``memory://``."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import count

from attrs import define, field, frozen

from drivetrain.contract import (
    FAIR_KEY_HEADER,
    BrokerCapabilities,
    Clock,
    Delivery,
    Durability,
    Message,
    QueueSection,
    QueueSizes,
    WaitLoop,
    evolve,
    mark_dead,
)
from drivetrain.drivers.memory.fair_rounds import FairRounds
from drivetrain.drivers.memory.indexed_heap import IndexedHeap
from drivetrain.drivers.memory.stores import NamedStores

__all__ = ["MemoryBroker"]

_Key = tuple[float, int]

#: A turn is the round of a message, shifted by these bits, and a number that grows.
_ROUND_BITS = 64


@define(eq=False)
class _Entry:
    """A message in a queue."""

    message: Message
    #: Since when the message is ready, or will be; Unix seconds.
    since: float
    #: Its rank among the ready messages of its priority. A released message keeps it.
    turn: int = 0
    #: How many deliveries there were since the message was published or replayed.
    deliveries: int = 0
    #: The receipt of the last delivery.
    receipt: int = 0
    #: Whether the message was a dead letter: it was delivered before, whatever `deliveries` says.
    replayed: bool = False
    #: The heap that the entry is in, and its key there.
    heap: IndexedHeap[_Key, _Entry] | None = None
    key: _Key = (0.0, 0)

    def take(self) -> None:
        """Remove the entry from its heap, if it is still there."""
        if self.heap is not None:
            self.heap.take(self.key)

    def move(self, heap: IndexedHeap[_Key, _Entry], key: _Key) -> None:
        """Remove the entry from its heap and put it into ``heap``."""
        self.take()
        self.heap, self.key = heap, key
        heap.put(key, self)

    def deliver(self) -> Delivery:
        return Delivery(
            message=self.message,
            receipt=self.receipt,
            redelivered=self.replayed or self.deliveries > 1,
            delivery_count=self.deliveries,
        )


@frozen
class _DeadLetter:
    """A dead letter. The message stays as it was published, so that a replay restores exactly that."""

    message: Message
    reason: str
    at: float

    def shown(self) -> Message:
        return mark_dead(self.message, self.reason, self.at)


def _heap() -> IndexedHeap[_Key, _Entry]:
    return IndexedHeap()


@define(eq=False)
class _Queue:
    """One queue. Its methods are called with the store's condition held."""

    #: The source of turns, receipts and the numbers in keys; the queues of a store share it.
    numbers: Iterator[int]
    #: By (-priority, turn).
    ready: IndexedHeap[_Key, _Entry] = field(factory=_heap)
    #: By (due time, number).
    delayed: IndexedHeap[_Key, _Entry] = field(factory=_heap)
    #: In flight, by (end of the hold, number).
    in_flight: IndexedHeap[_Key, _Entry] = field(factory=_heap)
    #: Unsettled deliveries by receipt. When the hold has ended, the entry is in `ready` too.
    open: dict[int, _Entry] = field(factory=dict)
    rounds: FairRounds = field(factory=FairRounds)
    #: Oldest first.
    dead: list[_DeadLetter] = field(factory=list)

    def ripen(self, clock: Clock) -> None:
        """Make messages ready that are due or whose hold has ended.

        Called before every change and every read, so that turns follow the order in which messages became due.
        """
        for entry in self.delayed.pop_until(clock.now()):
            self.add_ready(entry)
        for entry in self.in_flight.pop_until(clock.monotonic()):
            self.give_back(entry)

    def add_ready(self, entry: _Entry) -> None:
        message = entry.message
        number = self.rounds.enter(message.priority, message.headers.get(FAIR_KEY_HEADER))
        entry.turn = (number << _ROUND_BITS) + next(self.numbers)
        self.give_back(entry)

    def add_delayed(self, entry: _Entry, due: float) -> None:
        entry.move(self.delayed, (due, next(self.numbers)))

    def give_back(self, entry: _Entry) -> None:
        entry.move(self.ready, (-entry.message.priority, entry.turn))

    def hold(self, entry: _Entry, until: float) -> None:
        entry.move(self.in_flight, (until, next(self.numbers)))

    def hand_out(self, limit: int, until: float) -> list[Delivery]:
        handed = [self.ready.pop() for _ in range(min(limit, len(self.ready)))]
        for entry in handed:
            self.rounds.deliver(entry.message.priority, entry.turn >> _ROUND_BITS)
            self.open.pop(entry.receipt, None)
            entry.deliveries += 1
            entry.receipt = next(self.numbers)
            self.open[entry.receipt] = entry
            self.hold(entry, until)
        if not self.ready:
            self.rounds.end()
        return [entry.deliver() for entry in handed]

    def settle(self, delivery: Delivery) -> _Entry | None:
        """Remove the message of a delivery; None if it was settled, purged or delivered again."""
        entry = self.open.pop(delivery.receipt, None)
        if entry is not None:
            entry.take()
        return entry

    def seconds_to_change(self, clock: Clock) -> float:
        """Seconds until a message becomes ready by itself."""
        due, end = self.delayed.first_key(), self.in_flight.first_key()
        return min(
            math.inf if due is None else due[0] - clock.now(),
            math.inf if end is None else end[0] - clock.monotonic(),
        )

    def drop(self, heap: IndexedHeap[_Key, _Entry]) -> int:
        dropped = heap.clear()
        if not self.ready:
            self.rounds.end()
        for entry in dropped:
            self.open.pop(entry.receipt, None)
        return len(dropped)

    def take_dead(self, message_ids: Sequence[str] | None) -> list[_DeadLetter]:
        """Remove and return dead letters: all, or those of these ids."""
        wanted = frozenset(letter.message.id for letter in self.dead) if message_ids is None else frozenset(message_ids)
        taken = [letter for letter in self.dead if letter.message.id in wanted]
        self.dead = [letter for letter in self.dead if letter.message.id not in wanted]
        return taken

    def replay(self, message_ids: Sequence[str] | None, now: float) -> int:
        letters = self.take_dead(message_ids)
        for letter in letters:
            self.add_ready(_Entry(letter.message, now, replayed=True))
        return len(letters)

    def sizes(self, now: float) -> QueueSizes:
        return QueueSizes(
            ready=len(self.ready),
            delayed=len(self.delayed),
            in_flight=len(self.in_flight),
            dead=len(self.dead),
            oldest_seconds=max(0.0, now - min((entry.since for entry in self.ready.values()), default=now)),
        )


@define(eq=False)
class _Store:
    """The queues that brokers of one name share. Used with `condition` held."""

    condition: threading.Condition = field(factory=threading.Condition)
    numbers: Iterator[int] = field(factory=lambda: count(1))
    queues: dict[str, _Queue] = field(factory=dict)

    def queue(self, name: str) -> _Queue:
        """The queue of this name; a new one if it was never used."""
        return self.queues.get(name) or self.queues.setdefault(name, _Queue(self.numbers))

    def known(self, names: Sequence[str], clock: Clock) -> list[_Queue]:
        """The queues of these names that were ever used, after `_Queue.ripen`."""
        queues = [self.queues[name] for name in names if name in self.queues]
        for queue in queues:
            queue.ripen(clock)
        return queues


_stores = NamedStores(_Store)


class MemoryBroker:
    """A broker in this process; see `drivetrain.contract.Broker`.

    A message that is released, or whose hold has ended, keeps its rank among the ready messages.

    Args:
        name: brokers of the same name share their queues; empty: this one shares none.
        clock: the clock by which messages become due and holds end.
    """

    capabilities: BrokerCapabilities = BrokerCapabilities(
        durability=Durability.NONE,
        shared=False,
        delay_resolution_seconds=0.05,
        priority_levels=10,
        ordered=True,
        fair_keys=True,
        counts_deliveries=True,
        lists_queues=True,
        peeks=True,
        measures_age=True,
        receive_wait_seconds=0.2,
    )

    def __init__(self, name: str, clock: Clock) -> None:
        self._store = _stores.get(name)
        self._clock = clock
        self._waits = WaitLoop(clock)

    def ping(self) -> None:
        """See `Broker.ping`."""

    def publish(self, messages: Sequence[Message]) -> None:
        """See `Broker.publish`."""
        with self._store.condition:
            for name in {message.queue for message in messages}:
                self._store.queue(name).ripen(self._clock)
            now = self._clock.now()
            for message in messages:
                self._add(message, now)
            self._store.condition.notify_all()

    def _add(self, message: Message, now: float) -> None:
        queue = self._store.queue(message.queue)
        # A copy: the sender may change its headers afterwards.
        copied = evolve(message, headers=dict(message.headers))
        if message.eta is not None and message.eta > now:
            queue.add_delayed(_Entry(copied, message.eta), message.eta)
        else:
            queue.add_ready(_Entry(copied, now))

    def receive(
        self, queues: Sequence[str], *, limit: int, wait_seconds: float, hold_seconds: float
    ) -> Sequence[Delivery]:
        """See `Broker.receive`."""
        if limit <= 0 or not queues:
            return []

        def attempt() -> list[Delivery]:
            return self._take(queues, limit, hold_seconds)

        def pause(seconds: float) -> None:
            self._clock.wait(self._store.condition, min(seconds, self._seconds_to_change(queues)))

        with self._store.condition:
            # A busy worker needs no loop: it finds messages at once.
            found = attempt()
            return found or self._waits.run(attempt, pause, timeout_seconds=wait_seconds)

    def _take(self, queues: Sequence[str], limit: int, hold_seconds: float) -> list[Delivery]:
        taken: list[Delivery] = []
        for queue in self._store.known(queues, self._clock):
            taken += queue.hand_out(limit - len(taken), self._clock.monotonic() + hold_seconds)
        return taken

    def _seconds_to_change(self, names: Sequence[str]) -> float:
        queues = [self._store.queues[name] for name in names if name in self._store.queues]
        return min((queue.seconds_to_change(self._clock) for queue in queues), default=math.inf)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See `Broker.acknowledge`."""
        with self._store.condition:
            for delivery in deliveries:
                self._store.queue(delivery.message.queue).settle(delivery)

    def release(self, deliveries: Sequence[Delivery], *, delay_seconds: float = 0.0) -> None:
        """See `Broker.release`."""
        with self._store.condition:
            for delivery in deliveries:
                queue = self._store.queue(delivery.message.queue)
                entry = queue.settle(delivery)
                if entry is not None and delay_seconds > 0:
                    queue.add_delayed(entry, self._clock.now() + delay_seconds)
                elif entry is not None:
                    queue.give_back(entry)
            self._store.condition.notify_all()

    def dead_letter(self, deliveries: Sequence[tuple[Delivery, str]]) -> None:
        """See `Broker.dead_letter`."""
        with self._store.condition:
            for delivery, reason in deliveries:
                queue = self._store.queue(delivery.message.queue)
                entry = queue.settle(delivery)
                if entry is not None:
                    queue.dead.append(_DeadLetter(entry.message, reason, self._clock.now()))

    def extend(self, deliveries: Sequence[Delivery], *, hold_seconds: float) -> Sequence[bool]:
        """See `Broker.extend`."""
        with self._store.condition:
            until = self._clock.monotonic() + hold_seconds
            extended = [self._extend(delivery, until) for delivery in deliveries]
            self._store.condition.notify_all()  # a hold may end before the pause of a receive does
            return extended

    def _extend(self, delivery: Delivery, until: float) -> bool:
        queue = self._store.queue(delivery.message.queue)
        entry = queue.open.get(delivery.receipt)
        if entry is not None:
            queue.hold(entry, until)
        return entry is not None

    def sizes(self, queues: Sequence[str]) -> Mapping[str, QueueSizes]:
        """See `Broker.sizes`."""
        empty = QueueSizes(ready=0, delayed=0, in_flight=0, dead=0, oldest_seconds=0.0)
        with self._store.condition:
            self._store.known(queues, self._clock)
            found = {name: self._store.queues.get(name) for name in queues}
            now = self._clock.now()
            return {name: queue.sizes(now) if queue else empty for name, queue in found.items()}

    def queues(self) -> Sequence[str]:
        """See `Broker.queues`."""
        with self._store.condition:
            return sorted(self._store.queues)

    def peek(self, queue: str, section: QueueSection, *, limit: int) -> Sequence[Message]:
        """See `Broker.peek`."""
        with self._store.condition:
            for found in self._store.known([queue], self._clock):
                if section is QueueSection.DEAD:
                    return [letter.shown() for letter in found.dead[:limit]]
                heap = found.ready if section is QueueSection.READY else found.delayed
                return [entry.message for entry in heap.smallest(limit)]
        return []

    def purge(self, queue: str, section: QueueSection) -> int:
        """See `Broker.purge`."""
        with self._store.condition:
            for found in self._store.known([queue], self._clock):
                if section is QueueSection.DEAD:
                    return len(found.take_dead(None))
                return found.drop(found.ready if section is QueueSection.READY else found.delayed)
        return 0

    def replay(self, queue: str, message_ids: Sequence[str] | None = None) -> int:
        """See `Broker.replay`."""
        with self._store.condition:
            now = self._clock.now()
            replayed = sum(found.replay(message_ids, now) for found in self._store.known([queue], self._clock))
            self._store.condition.notify_all()
            return replayed

    def drop_dead_letters(self, queue: str, message_ids: Sequence[str]) -> int:
        """See `Broker.drop_dead_letters`."""
        with self._store.condition:
            return sum(len(found.take_dead(message_ids)) for found in self._store.known([queue], self._clock))

    def close(self) -> None:
        """See `Broker.close`. The object may be used again afterwards."""
        with self._store.condition:
            self._waits.close()
            self._store.condition.notify_all()
