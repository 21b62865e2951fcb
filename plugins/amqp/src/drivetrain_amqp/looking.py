"""What operators ask for: sizes, the dead, and emptying queues.

RabbitMQ has no way to read a queue without taking from it. Whoever looks through one takes what is in it, and gives
it back; so that two who look at once do not hide it from each other, a queue that only one connection can have is the
lock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from attrs import frozen
from pika import exceptions, spec

from drivetrain.contract import Clock, ServiceUnavailable
from drivetrain_amqp import wire
from drivetrain_amqp.channel import Asked, Channel, Content
from drivetrain_amqp.envelope import Opened, open_content
from drivetrain_amqp.link import Link, errors_translated

__all__ = ["Looked", "Looker"]

_NOT_FOUND, _LOCKED = 404, 405
_PATIENCE_SECONDS = 30.0
_PAUSE_SECONDS = 0.02
#: How many messages are taken in one go, and how many queues are looked at.
_TOGETHER, _QUEUES_TOGETHER = 100, 50


@frozen
class Looked:
    """A message that was taken to be looked at."""

    tag: int
    #: The routing key by which it came.
    key: str
    opened: Opened


class Looker:
    """Looks through queues. Thread-safe."""

    def __init__(self, link: Link, clock: Clock) -> None:
        self._link = link
        self._clock = clock
        self._turn = threading.RLock()

    def ready(self, name: str) -> int:
        """How many messages are ready in RabbitMQ's queue ``name``; none where there is no such queue."""
        return self._ready(name) or 0

    def there(self, name: str) -> bool:
        """Whether there is such a queue."""
        return self._ready(name) is not None

    def _ready(self, name: str) -> int | None:
        found = self._if_there(f"looking at {name!r}", spec.Queue.Declare(queue=name, passive=True))
        return None if found is None else int(found.message_count)

    def exchange_there(self, name: str) -> bool:
        """Whether there is such an exchange."""
        return self._if_there(f"looking at {name!r}", spec.Exchange.Declare(exchange=name, passive=True)) is not None

    def occupied(self, names: Iterable[str]) -> list[str]:
        """Those of RabbitMQ's queues in which messages are ready, of many of which most may not be there."""
        wanted, found = list(names), list[str]()
        with errors_translated("looking at queues"):
            for start in range(0, len(wanted), _QUEUES_TOGETHER):
                found += self._occupied(wanted[start : start + _QUEUES_TOGETHER])
        return found

    def _occupied(self, names: Sequence[str]) -> list[str]:
        # Each on a channel of its own, for a queue that is not there ends the channel; so all cost one round trip.
        with ExitStack() as channels:
            asked = []
            for name in names:
                channel = channels.enter_context(self._link.admin(f"looking at {name!r}"))
                asked.append((name, channel, channel.begin(spec.Queue.Declare(queue=name, passive=True))))
            return [name for name, channel, one in asked if _count(channel, one)]

    def purge(self, name: str) -> int:
        """Drop what is ready in a queue; how many."""
        found = self._if_there(f"purging {name!r}", spec.Queue.Purge(queue=name))
        return int(found.message_count) if found is not None else 0

    def _if_there(self, doing: str, method: Any) -> Any:
        with errors_translated(doing):
            try:
                with self._link.admin(doing) as channel:
                    return channel.ask(method)[0]
            except Exception as error:
                if _code(error.__cause__) == _NOT_FOUND:
                    return None
                raise

    @contextmanager
    def taking(self, name: str, doing: str) -> Iterator[Taking]:
        """Take from a queue while nobody else does so; what is not dropped is given back, in its place."""
        with self.alone(name), self._link.admin(doing) as channel:
            yield Taking(channel, name)
            _give_back(channel, name)

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Keep others from looking through ``name``. What they have taken to look at it counts as not ready."""
        with self._turn, self._locking(name):
            yield

    @contextmanager
    def _locking(self, name: str) -> Iterator[None]:
        lock = self._link.topology.names.lock(name)
        deadline = self._clock.monotonic() + _PATIENCE_SECONDS
        while not self._locked(lock):
            if self._clock.monotonic() > deadline:
                raise ServiceUnavailable(
                    f"somebody else has been looking through {name!r} for too long; try again later"
                )
            self._clock.wait_event(threading.Event(), _PAUSE_SECONDS)
        try:
            yield
        finally:
            self._if_there("unlocking", spec.Queue.Delete(queue=lock))

    def _locked(self, lock: str) -> bool:
        try:
            with self._link.admin("locking") as channel:
                channel.ask(spec.Queue.Declare(queue=lock, exclusive=True, auto_delete=True))
        except Exception as error:
            if _code(error.__cause__) == _LOCKED:
                return False
            raise
        return True


class Taking:
    """A queue that is looked through."""

    def __init__(self, channel: Channel, name: str) -> None:
        self._channel, self._name = channel, name

    def some(self, limit: int) -> list[Looked]:
        """The next messages, up to ``limit``; empty at the end."""
        found: list[Looked] = []
        while len(found) < limit:
            count = min(limit - len(found), _TOGETHER)
            answers = self._channel.ask(*[spec.Basic.Get(queue=self._name)] * count)
            found += [_looked(each) for each in answers if isinstance(each, Content)]
            if any(isinstance(each, spec.Basic.GetEmpty) for each in answers):
                break
        return found

    def all(self) -> Iterator[Looked]:
        """Everything that is there."""
        while found := self.some(_TOGETHER):
            yield from found

    def drop(self, tags: Sequence[int]) -> None:
        """These are not given back."""
        if not tags:
            return
        self._channel.write(b"".join(wire.ack(self._channel.number, tag, False) for tag in tags))
        self._channel.barrier()


def _count(channel: Channel, asked: Asked) -> int:
    try:
        return int(channel.answers(asked)[0].message_count)
    except exceptions.ChannelClosedByBroker as error:
        if error.reply_code == _NOT_FOUND:
            return 0
        raise


def _looked(content: Content) -> Looked:
    method = content.method
    return Looked(method.delivery_tag, method.routing_key, open_content("", content.properties, content.body))


def _give_back(channel: Channel, name: str) -> None:
    channel.write(wire.nack(channel.number, 0, True))  # all of this channel
    channel.ask(spec.Queue.Declare(queue=name, passive=True))  # the queue itself answers, after it has them back


def _code(error: BaseException | None) -> int:
    return error.reply_code if isinstance(error, exceptions.ChannelClosed) else 0
