"""What operators ask of queues: sizes, names, peek, purge, replay."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from drivetrain.contract import DEAD_AT_HEADER, DEAD_REASON_HEADER, Message, QueueSection, QueueSizes, evolve
from drivetrain_redis.keys import BESIDE_QUEUE, Keys
from drivetrain_redis.packing import unpack_message
from drivetrain_redis.scripts import Script
from drivetrain_redis.server import Server, command, script

__all__ = ["Looking"]

#: How many messages are looked at or dropped by one call: others want their turn.
_PAGE = 500

_SIZES = Script.load("arrival", "queue", "sizes")
_PEEK = Script.load("arrival", "queue", "peek")
_PURGE = Script.load("arrival", "queue", "purge")
_REPLAY = Script.load("arrival", "queue", "dead", "replay")
_DROP_DEAD = Script.load("arrival", "queue", "dead", "drop_dead")


class Looking:
    """The queues of a namespace, as operators see them."""

    def __init__(self, server: Server, keys: Keys) -> None:
        self._server = server
        self._keys = keys
        self._beside = () if server.whole else BESIDE_QUEUE

    def sizes(self, queues: Sequence[str]) -> Mapping[str, QueueSizes]:
        """See `Broker.sizes`."""
        if not queues:
            return {}
        bases = [self._keys.queue(name) for name in queues]
        lanes = list(self._server.lanes(bases))
        replies = self._server.run(
            [script(_SIZES, [bases[place] for place in lane], (), self._beside) for lane in lanes]
        )
        told = {
            place: counts
            for lane, reply in zip(lanes, replies, strict=True)
            for place, counts in zip(lane, reply, strict=True)
        }
        return {
            name: QueueSizes(**dict(zip(("ready", "delayed", "held", "dead"), told[place], strict=True)))
            for place, name in enumerate(queues)
        }

    def queues(self) -> list[str]:
        """See `Broker.queues`."""
        (names,) = self._server.run([command("SMEMBERS", self._keys.queues, key=self._keys.queues, writes=False)])
        return sorted(name.decode("utf-8", "surrogatepass") for name in names)

    def peek(self, queue: str, place: QueueSection, limit: int) -> list[Message]:
        """See `Broker.peek`."""
        found: list[Message] = []
        while len(found) < limit:
            wanted = min(limit - len(found), _PAGE)
            (reply,) = self._server.run(
                [script(_PEEK, [self._keys.queue(queue)], (place.value, len(found), wanted), self._beside)]
            )
            some = list(_shown(queue, reply))
            found += some
            if len(some) < wanted:
                break
        return found

    def purge(self, queue: str, place: QueueSection) -> int:
        """See `Broker.purge`. What comes meanwhile may stay."""
        most: int = getattr(self.sizes([queue])[queue], place.value)
        dropped: int = 0
        while dropped < most:
            (some,) = self._server.run([script(_PURGE, [self._keys.queue(queue)], (place.value, _PAGE), self._beside)])
            dropped += some
            if some < _PAGE:
                break
        return dropped

    def replay(self, queue: str, message_ids: Sequence[str] | None) -> int:
        """See `Broker.replay`."""
        tells = "1" if self._server.whole else "0"
        if message_ids is None:
            return self._through_dead(_REPLAY, queue, tells)
        return sum(self._through_dead(_REPLAY, queue, tells, *ids) for ids in _pages(message_ids))

    def drop_dead_letters(self, queue: str, message_ids: Sequence[str]) -> int:
        """See `Broker.drop_dead_letters`."""
        return sum(self._through_dead(_DROP_DEAD, queue, *ids) for ids in _pages(message_ids))

    def _through_dead(self, which: Script, queue: str, *told: str) -> int:
        """Run a script page by page over the dead letters of a queue; the sum of what it counts."""
        counted: int = 0
        after = b"-inf"
        while True:
            call = script(which, [self._keys.queue(queue)], (after, _PAGE, *told), self._beside)
            ((some, after),) = self._server.run([call])
            counted += some
            if not after:
                return counted


def _pages(message_ids: Sequence[str]) -> Iterator[list[str]]:
    ids = list(dict.fromkeys(message_ids))
    return (ids[first : first + _PAGE] for first in range(0, len(ids), _PAGE))


def _shown(queue: str, reply: list[Any]) -> Iterator[Message]:
    messages, times, notes = reply
    for place, data in enumerate(messages):
        message = unpack_message(data, queue)
        if notes:
            note = notes[place]
            (length,) = struct.unpack_from(">I", note)
            reason = note[4 + length :].decode("utf-8", "surrogatepass")
            died = f"{float(times[place]) / 1e6:.6f}"
            message = evolve(message, headers={**message.headers, DEAD_REASON_HEADER: reason, DEAD_AT_HEADER: died})
        yield message
