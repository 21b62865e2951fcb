"""The broker of ``redis://``."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import count, islice
from typing import Any, TypeVar

from drivetrain.contract import (
    BrokerCapabilities,
    Delivery,
    Message,
    QueueSection,
    QueueSizes,
    TooLarge,
    Transition,
    reset_after_fork,
)
from drivetrain_redis.keys import BESIDE_QUEUE, Keys
from drivetrain_redis.listening import Listening
from drivetrain_redis.looking import Looking
from drivetrain_redis.options import Options
from drivetrain_redis.packing import pack_message, size_of
from drivetrain_redis.places import open_server
from drivetrain_redis.records import check_sizes, pack_new, pack_wishes
from drivetrain_redis.scripts import Script
from drivetrain_redis.server import Call, Server, command, script
from drivetrain_redis.taking import Left, Look, microseconds

__all__ = ["RedisBroker"]

T = TypeVar("T")

#: Larger ones are better kept apart, which core does: a receive answers with many messages at once.
_LARGEST_MESSAGE_BYTES = 16 * 1024 * 1024
#: How many messages one call of a script is about at most: Lua's stack has room for some thousands of values.
_CHUNK = 1_000
_LEVELS = 10

_PUBLISH = Script.load("arrival", "queue", "add", "publish")
_SEND = Script.load("record_common", "enter", "arrival", "queue", "add", "send")
_SEND_ONE = Script.load("arrival", "send_one")
_ACKNOWLEDGE = Script.load("arrival", "queue", "acknowledge")
_RELEASE = Script.load("arrival", "queue", "release")
_DEAD_LETTER = Script.load("arrival", "queue", "dead_letter")
_EXTEND = Script.load("arrival", "queue", "extend")


class RedisBroker:
    """A broker on Redis or Valkey; see `drivetrain.contract.Broker`.

    Holds and delays are counted by the clock of the server, which all its clients share; an ETA is compared to it.
    What is handed back, by `release` or by the end of its hold, goes before the other messages of its priority.

    Args:
        options: of its URL.
    """

    def __init__(self, options: Options) -> None:
        self.capabilities = BrokerCapabilities(
            durability=options.durability,
            delay_resolution_seconds=0.02,
            largest_message_bytes=_LARGEST_MESSAGE_BYTES,
            priority_levels=_LEVELS,
            ordered=True,
            counts_deliveries=True,
            lists_queues=True,
            peeks=True,
            receive_wait_seconds=1.0,
            store=options.store,
        )
        self._server: Server = open_server(options)
        self._keys = Keys(options.prefix)
        self._listening = Listening(options, self._server)
        self._looking = Looking(self._server, self._keys)
        self._beside = () if self._server.whole else BESIDE_QUEUE
        self._tells = "1" if self._server.whole else "0"
        self._known: set[str] = set()
        self._bases: dict[str, bytes] = {}
        self._waits = count(1)
        #: What the last receive has left at its queues; one thread receives at a time.
        self._left = Left()
        reset_after_fork(self)

    def __repr__(self) -> str:
        return f"RedisBroker({self._listening.shown})"

    def ping(self) -> None:
        """See `Broker.ping`."""
        self._server.every(("PING",))

    def publish(self, messages: Sequence[Message]) -> None:
        """See `Broker.publish`."""
        by_queue: dict[str, list[bytes]] = {}
        for message in messages:
            data = _packed(message)
            try:
                by_queue[message.queue].append(data)
            except KeyError:
                by_queue[message.queue] = [data]
        calls = [self._publish(lane) for part in _chunks(by_queue) for lane in self._lanes(part)]
        if calls:
            self._run_named(by_queue.keys(), calls)

    def record_and_publish(self, sends: Sequence[tuple[Transition, Message]]) -> Sequence[bool]:
        """See `RecordingBroker.record_and_publish`."""
        check_sizes([wish for wish, _ in sends])
        if len(sends) == 1 and self._send_one(*sends[0]):
            return [True]
        granted: dict[int, bool] = {}
        for first in range(0, len(sends), _CHUNK):
            part = range(first, min(first + _CHUNK, len(sends)))
            by_queue = _by_queue(part, lambda place: sends[place][1].queue)
            order = [place for places in by_queue.values() for place in places]
            (reply,) = self._run_named(by_queue.keys(), [self._send([sends[place] for place in order], by_queue)])
            granted.update(zip(order, (told == 1 for told in reply), strict=True))
        return [granted[place] for place in range(len(sends))]

    def _send_one(self, wish: Transition, message: Message) -> bool:
        """Do what `record_and_publish` does, by a script that knows the most common case only; whether it was that."""
        if message.eta is not None:
            return False
        arguments = (pack_new(wish), self._tells, message.priority, _packed(message))
        keys = (self._keys.task(wish.task_id), self._base(message.queue))
        (reply,) = self._run_named({message.queue}, [script(_SEND_ONE, keys, arguments)])
        return bool(reply)

    def _send(self, sends: Sequence[tuple[Transition, Message]], by_queue: Mapping[str, Sequence[int]]) -> Call:
        wishes = [wish for wish, _ in sends]
        messages = iter(sends)
        arguments: list[Any] = [*pack_wishes(wishes, None), self._tells]
        for places in by_queue.values():
            arguments.append(len(places))
            arguments += [_packed(message) for _, message in islice(messages, len(places))]
        keys = [*(self._keys.task(wish.task_id) for wish in wishes), *map(self._base, by_queue)]
        return script(_SEND, keys, arguments)

    def _run_named(self, queues: AbstractSet[str], calls: Sequence[Call]) -> list[Any]:
        """The replies to calls that publish to queues, whose names are known first."""
        new = queues - self._known
        if not new:
            return self._server.run(calls)
        name = command("SADD", self._keys.queues, *new, key=self._keys.queues)
        _, *replies = self._server.run([name, *calls])
        self._known |= new
        return replies

    def _publish(self, lane: Mapping[str, list[bytes]]) -> Call:
        arguments: list[Any] = [self._tells]
        for some in lane.values():
            arguments.append(len(some))
            arguments += some
        return self._call(_PUBLISH, lane, arguments)

    def receive(
        self, queues: Sequence[str], *, limit: int, wait_seconds: float, hold_seconds: float
    ) -> Sequence[Delivery]:
        """See `Broker.receive`."""
        if limit <= 0 or not queues:
            return []
        names = list(dict.fromkeys(queues))
        bases = [self._base(name) for name in names]
        look = Look(
            self._server,
            names,
            bases,
            limit=min(limit, _CHUNK),
            hold_seconds=hold_seconds,
            number=next(self._waits),
            left=self._left,
        )
        try:
            if wait_seconds <= 0:
                return look.take(0.0, "")[1]
            return self._listening.until(look.take, [], wait_seconds, look.handed)
        finally:
            self._left = look.left

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See `Broker.acknowledge`."""
        self._settle(_ACKNOWLEDGE, (), deliveries)

    def release(self, deliveries: Sequence[Delivery], *, delay_seconds: float = 0.0) -> None:
        """See `Broker.release`."""
        self._settle(_RELEASE, (self._tells, microseconds(delay_seconds)), deliveries)

    def extend(self, deliveries: Sequence[Delivery], *, hold_seconds: float) -> Sequence[bool]:
        """See `Broker.extend`."""
        told: dict[Any, bool] = {}
        for lane, reply in self._settle(_EXTEND, (microseconds(hold_seconds),), deliveries):
            receipts = [(queue, one.receipt) for queue, some in lane.items() for one in some]
            told.update(zip(receipts, map(bool, reply), strict=True))
        return [told[one.message.queue, one.receipt] for one in deliveries]

    def _settle(
        self, called: Script, before: tuple[Any, ...], deliveries: Sequence[Delivery]
    ) -> list[tuple[Mapping[str, list[Delivery]], Any]]:
        """Call a script with the receipts of deliveries; its replies, each with the deliveries that it is about."""
        settled: list[tuple[Mapping[str, list[Delivery]], Any]] = []
        for part in _parts(deliveries, _CHUNK):
            lanes = list(self._lanes(_by_queue(part, lambda one: one.message.queue)))
            calls = []
            for lane in lanes:
                arguments: list[Any] = [*before]
                for some in lane.values():
                    arguments.append(len(some))
                    arguments += [one.receipt for one in some]
                calls.append(self._call(called, lane, arguments))
            settled += zip(lanes, self._server.run(calls), strict=True)
        return settled

    def dead_letter(self, letters: Sequence[tuple[Delivery, str]]) -> None:
        """See `Broker.dead_letter`."""
        for part in _parts(letters, _CHUNK):
            calls = []
            for lane in self._lanes(_by_queue(part, lambda letter: letter[0].message.queue)):
                arguments: list[Any] = []
                for some in lane.values():
                    arguments.append(len(some))
                    for delivery, reason in some:
                        arguments += (delivery.receipt, _note(delivery.message.id, reason))
                calls.append(self._call(_DEAD_LETTER, lane, arguments))
            self._server.run(calls)

    def sizes(self, queues: Sequence[str]) -> Mapping[str, QueueSizes]:
        """See `Broker.sizes`."""
        return self._looking.sizes(queues)

    def queues(self) -> Sequence[str]:
        """See `Broker.queues`."""
        return self._looking.queues()

    def peek(self, queue: str, place: QueueSection, *, limit: int) -> Sequence[Message]:
        """See `Broker.peek`."""
        return self._looking.peek(queue, place, limit)

    def purge(self, queue: str, place: QueueSection) -> int:
        """See `Broker.purge`."""
        return self._looking.purge(queue, place)

    def replay(self, queue: str, message_ids: Sequence[str] | None = None) -> int:
        """See `Broker.replay`."""
        return self._looking.replay(queue, message_ids)

    def drop_dead_letters(self, queue: str, message_ids: Sequence[str]) -> int:
        """See `Broker.drop_dead_letters`."""
        return self._looking.drop_dead_letters(queue, message_ids)

    def close(self) -> None:
        """See `Broker.close`. The object may be used again afterwards."""
        self._listening.close()
        self._server.close()

    def after_fork(self) -> None:
        """See `drivetrain.contract.ForkAware`: what waits is the parent's."""
        self._left = Left()

    def _call(self, called: Script, queues: Iterable[str], arguments: Sequence[Any]) -> Call:
        return script(called, [self._base(queue) for queue in queues], arguments, self._beside)

    def _base(self, queue: str) -> bytes:
        base = self._bases.get(queue)
        if base is None:
            base = self._bases[queue] = self._keys.queue(queue)
        return base

    def _lanes(self, by_queue: dict[str, list[T]]) -> Iterator[Mapping[str, list[T]]]:
        """What can be done by one call each."""
        if self._server.whole or len(by_queue) == 1:
            yield by_queue
            return
        names = list(by_queue)
        for lane in self._server.lanes([self._base(name) for name in names]):
            yield {names[place]: by_queue[names[place]] for place in lane}


def _packed(message: Message) -> bytes:
    if len(message.body) > _LARGEST_MESSAGE_BYTES // 2 and (size := size_of(message)) > _LARGEST_MESSAGE_BYTES:
        raise TooLarge(f"message {message.id}", size, _LARGEST_MESSAGE_BYTES)
    return pack_message(message)


def _note(message_id: str, reason: str) -> bytes:
    known = message_id.encode("utf-8", "surrogatepass")
    return struct.pack(">I", len(known)) + known + reason.encode("utf-8", "surrogatepass")


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    if len(items) <= size:
        if items:
            yield items
        return
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def _chunks(by_queue: dict[str, list[bytes]]) -> Iterator[dict[str, list[bytes]]]:
    """Parts that are not too large for one call each."""
    if sum(map(len, by_queue.values())) <= _CHUNK:
        yield by_queue
        return
    for queue, some in by_queue.items():
        for part in _parts(some, _CHUNK):
            yield {queue: list(part)}


def _by_queue(items: Sequence[T], queue_of: Callable[[T], str]) -> dict[str, list[T]]:
    by_queue: dict[str, list[T]] = {}
    for item in items:
        by_queue.setdefault(queue_of(item), []).append(item)
    return by_queue
