"""Publishing messages, alone or together with the records of their tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any

from drivetrain.contract import (
    FAIR_KEY_HEADER,
    Clock,
    Message,
    Transition,
    check_message_size,
    check_transition_sizes,
    chunks,
)
from drivetrain_redis.codec import LARGEST_VALUE_BYTES, indexed_states, pack_message, pack_new_record, pack_transitions
from drivetrain_redis.connection import Client
from drivetrain_redis.keys import Keys, QueueKeys, by_queue
from drivetrain_redis.scripts import LARGEST_BATCH, Call, Script, command

__all__ = ["LARGEST_MESSAGE_BYTES", "Publisher"]

#: Core keeps larger messages in the backend: a receive answers with many messages at once.
LARGEST_MESSAGE_BYTES = 16 * 1024 * 1024

_PUBLISH = Script.load("arrival", "fair", "queue", "add", "publish")
# A task that is sent is in no state that is indexed.
_SEND = Script.load(
    "record_common", "index", "enter", "arrival", "fair", "queue", "add", "send", constants=indexed_states(())
)
_SEND_ONE = Script.load("arrival", "send_one")


class Publisher:
    """Publishes messages. Thread-safe."""

    def __init__(self, client: Client, keys: Keys, queues: QueueKeys, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._keys = keys
        self._queues = queues
        #: Whether the reply of PUBLISH counts all listeners: on a cluster it leaves out those of other nodes.
        self._counts_listeners = "1" if client.supports_cross_slot else "0"
        #: The queues whose names are in Redis.
        self._named: set[str] = set()

    def publish(self, messages: Sequence[Message]) -> None:
        """See `Broker.publish`."""
        packed: dict[str, list[bytes]] = {}
        now = self._clock.now()
        for message in messages:
            data = _packed(message, now)
            try:
                packed[message.queue].append(data)
            except KeyError:
                packed[message.queue] = [data]
        flags = self._flags(messages)
        calls = [self._publish(flags, part) for batch in _batches(packed) for part in self._queues.by_slot(batch)]
        if calls:
            self._run(packed.keys(), calls)

    def _flags(self, messages: Iterable[Message]) -> str:
        """What a script must know of messages and waiters, as ``lua/publish.lua`` reads it."""
        fair = any(FAIR_KEY_HEADER in message.headers for message in messages)
        return f"{self._counts_listeners}f" if fair else self._counts_listeners

    def _publish(self, flags: str, packed: Mapping[str, list[bytes]]) -> Call:
        return self._queues.call(_PUBLISH, [flags], packed, lambda some: some)

    def record_and_publish(self, sends: Sequence[tuple[Transition, Message]]) -> Sequence[bool]:
        """See `RecordingBroker.record_and_publish`."""
        check_transition_sizes([transition for transition, _ in sends], LARGEST_VALUE_BYTES)
        if len(sends) == 1 and self._send_one(*sends[0]):
            return [True]
        applied: dict[int, bool] = {}
        for first in range(0, len(sends), LARGEST_BATCH):
            part = range(first, min(first + LARGEST_BATCH, len(sends)))
            indexes = by_queue(part, lambda index: sends[index][1].queue)
            order = [index for some in indexes.values() for index in some]
            (reply,) = self._run(indexes.keys(), [self._send([sends[index] for index in order], indexes)])
            applied.update(zip(order, (answer == 1 for answer in reply), strict=True))
        return [applied[index] for index in range(len(sends))]

    def _send_one(self, transition: Transition, message: Message) -> bool:
        """Send a task by the short script of the most common case; False if this is another case."""
        if message.eta is not None or FAIR_KEY_HEADER in message.headers:
            return False
        arguments = (
            pack_new_record(transition),
            self._counts_listeners,
            message.priority,
            _packed(message, self._clock.now()),
        )
        keys = (self._keys.task(transition.task_id), self._queues.base(message.queue))
        (reply,) = self._run({message.queue}, [_SEND_ONE.call(keys, arguments)])
        return bool(reply)

    def _send(self, sends: Sequence[tuple[Transition, Message]], indexes: Mapping[str, Sequence[int]]) -> Call:
        transitions = [transition for transition, _ in sends]
        messages, now = iter(sends), self._clock.now()
        arguments: list[Any] = [*pack_transitions(transitions, None), self._flags(message for _, message in sends)]
        for some in indexes.values():
            arguments.append(len(some))
            arguments += [_packed(message, now) for _, message in islice(messages, len(some))]
        keys = [*(self._keys.task(transition.task_id) for transition in transitions), *map(self._queues.base, indexes)]
        return _SEND.call(keys, arguments)

    def _run(self, queues: AbstractSet[str], calls: Sequence[Call]) -> list[Any]:
        """The replies to calls that publish to queues; the names of new queues are added first."""
        new = queues - self._named
        if not new:
            return self._client.run(calls)
        name = command("SADD", self._keys.queues, *new, key=self._keys.queues)
        _, *replies = self._client.run([name, *calls])
        self._named |= new
        return replies


def _packed(message: Message, now: float) -> bytes:
    if len(message.body) > LARGEST_MESSAGE_BYTES // 2:  # counting the headers of every message would cost more
        check_message_size(message, LARGEST_MESSAGE_BYTES)
    return pack_message(message, now)


def _batches(packed: dict[str, list[bytes]]) -> Iterator[dict[str, list[bytes]]]:
    """Packed messages in parts that are small enough for one call each."""
    if sum(map(len, packed.values())) <= LARGEST_BATCH:
        yield packed
        return
    for queue, some in packed.items():
        for part in chunks(some, LARGEST_BATCH):
            yield {queue: list(part)}
