"""What operators ask for: sizes, the dead, and emptying queues.

RabbitMQ has no way to read a queue without taking from it. Whoever looks through one takes what is in it, and gives
it back; so that two who look at once do not hide it from each other, a queue that only one connection can have is the
lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

from attrs import frozen
from pika import spec

from drivetrain_amqp import wire
from drivetrain_amqp.asking import ask_if_there, message_counts
from drivetrain_amqp.channel import Channel, Content
from drivetrain_amqp.envelope import Opened, open_content
from drivetrain_amqp.link import Link

__all__ = ["Looked", "Looker"]

#: How many messages are taken on one channel. RabbitMQ passes on 32 settlements to a quorum queue, and keeps the others
#: until it hears of these. When the channel is closed before that, it forgets them, and their messages come back.
_TOGETHER = 32


@frozen
class Looked:
    """A message that was taken to be looked at."""

    #: The channel that holds it, and its delivery tag there.
    channel: Channel
    tag: int
    #: The routing key by which it came.
    key: str
    opened: Opened


class Looker:
    """Looks through queues. Thread-safe."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._turn = threading.RLock()

    def ready(self, name: str) -> int:
        """How many messages are ready in RabbitMQ's queue ``name``; none where there is no such queue."""
        return self._ready(name) or 0

    def there(self, name: str) -> bool:
        """Whether there is such a queue."""
        return self._ready(name) is not None

    def _ready(self, name: str) -> int | None:
        found = ask_if_there(self._link.admin, f"looking at {name!r}", spec.Queue.Declare(queue=name, passive=True))
        return None if found is None else int(found.message_count)

    def exchange_there(self, name: str) -> bool:
        """Whether there is such an exchange."""
        look = spec.Exchange.Declare(exchange=name, passive=True)
        return ask_if_there(self._link.admin, f"looking at {name!r}", look) is not None

    def occupied(self, names: Iterable[str]) -> list[str]:
        """Those of RabbitMQ's queues in which messages are ready, of many of which most may not be there."""
        return [name for name, count in message_counts(self._link.admin, names).items() if count]

    def purge(self, name: str) -> int:
        """Drop what is ready in a queue; how many."""
        found = ask_if_there(self._link.admin, f"purging {name!r}", spec.Queue.Purge(queue=name))
        return int(found.message_count) if found is not None else 0

    @contextmanager
    def taking(self, name: str, doing: str) -> Iterator[Taking]:
        """Take from a queue while nobody else does so; what is not dropped is given back, in its place."""
        with self.alone(name), ExitStack() as channels:
            taking = Taking(name, lambda: channels.enter_context(self._link.admin(doing)))
            yield taking
            taking.give_back()

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Keep others from looking through ``name``. What they have taken to look at it counts as not ready."""
        with self._turn, self._link.exclusion.holding(name):
            yield


class Taking:
    """A queue that is looked through.

    Args:
        name: of the queue.
        channel: opens a channel, which is open until all is given back.
    """

    def __init__(self, name: str, channel: Callable[[], Channel]) -> None:
        self._name, self._channel = name, channel
        #: The tags that each channel holds, in the order in which they were taken.
        self._held: dict[Channel, list[int]] = {}

    def some(self, limit: int) -> list[Looked]:
        """The next messages, up to ``limit``; empty at the end."""
        found: list[Looked] = []
        while len(found) < limit:
            count = min(limit - len(found), _TOGETHER)
            more = self._take(count)
            found += more
            if len(more) < count:
                break
        return found

    def _take(self, count: int) -> list[Looked]:
        channel = self._channel()
        answers = channel.ask(*[spec.Basic.Get(queue=self._name)] * count)
        found = [_looked(channel, each) for each in answers if isinstance(each, Content)]
        self._held[channel] = [each.tag for each in found]
        return found

    def all(self) -> Iterator[Looked]:
        """Everything that is there."""
        while found := self.some(_TOGETHER):
            yield from found

    def drop(self, looked: Iterable[Looked]) -> None:
        """These are not given back."""
        gone: dict[Channel, list[int]] = {}
        for each in looked:
            gone.setdefault(each.channel, []).append(each.tag)
        for channel, tags in gone.items():
            channel.write(b"".join(wire.ack(channel.number, tag, False) for tag in tags))
            channel.barrier()
            self._held[channel] = [tag for tag in self._held[channel] if tag not in tags]

    def give_back(self) -> None:
        """Give back what was not dropped, in the order in which it was taken, which a quorum queue keeps then."""
        for channel, tags in self._held.items():
            channel.write(b"".join(wire.nack(channel.number, tag, True) for tag in tags))
            channel.ask(spec.Queue.Declare(queue=self._name, passive=True))  # a classic queue answers when it has them


def _looked(channel: Channel, content: Content) -> Looked:
    method = content.method
    opened = open_content("", content.properties, content.body)
    return Looked(channel, method.delivery_tag, method.routing_key, opened)
