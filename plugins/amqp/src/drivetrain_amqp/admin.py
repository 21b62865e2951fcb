"""Administration: the sizes of queues, peeking, purging, and the replay of dead letters.

RabbitMQ can show a message only by delivering it. So the driver takes the messages of a queue and gives them back. A
lock keeps two processes from hiding messages from each other meanwhile.
"""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from attrs import frozen
from pika import spec

from drivetrain.contract import (
    DEAD_AT_HEADER,
    DEAD_REASON_HEADER,
    AuthenticationFailed,
    Message,
    QueueSection,
    QueueSizes,
    ServiceError,
    ServiceRefused,
    ServiceUnavailable,
    evolve,
)
from drivetrain_amqp import delay_queues
from drivetrain_amqp.codec import DecodedMessage, decode_message
from drivetrain_amqp.connection import Channel
from drivetrain_amqp.connection_manager import ConnectionManager, Declarer
from drivetrain_amqp.options import Options
from drivetrain_amqp.protocol.frames import Content, ack_frame, nack_frame
from drivetrain_amqp.publish import OutgoingMessage, Publisher
from drivetrain_amqp.topology import token

__all__ = ["Admin", "Management", "TakenMessage", "TakenMessages"]

#: How many messages one channel takes. RabbitMQ passes 32 settlements of a channel to a quorum queue, and keeps the
#: others until it hears of these. If the channel is closed before, it forgets them, and their messages come back.
_MESSAGES_PER_CHANNEL = 32
#: A purge of delayed messages ends after this number of rounds without any; the pause before the last, in seconds.
_EMPTY_ROUNDS, _ON_THEIR_WAY_SECONDS = 2, 0.1
#: How many dead letters are republished in one batch.
_DEAD_TOGETHER = 500
_DEAD_HEADERS = (DEAD_REASON_HEADER, DEAD_AT_HEADER)
_HTTP_NOT_FOUND, _HTTP_REFUSED = 404, (401, 403)


class Admin:
    """What operators do with queues. Thread-safe."""

    def __init__(self, manager: ConnectionManager, declarer: Declarer, publisher: Publisher, options: Options) -> None:
        self._manager, self._publisher = manager, publisher
        self._names, self._locks = declarer.topology.names, declarer.locks
        self._quorum = options.quorum
        self._management = Management(options) if options.management_url else None
        self._process_lock = threading.RLock()

    def sizes(self, queue: str) -> QueueSizes:
        """See `Broker.sizes`. RabbitMQ does not count delayed messages by their queue."""
        names = self._names.queues(queue)
        ready = sum(self._ready(name) or 0 for name in names)
        held = None if self._management is None else sum(self._management.in_flight(name) for name in names)
        return QueueSizes(ready=ready, delayed=None, in_flight=held, dead=self._ready(self._names.dead(queue)) or 0)

    def _ready(self, name: str) -> int | None:
        """The number of ready messages in RabbitMQ's queue ``name``; None: there is no such queue."""
        doing, count = f"counting the messages of {name!r}", spec.Queue.Declare(queue=name, passive=True)
        found = self._manager.ask_if_exists(doing, count)
        return None if found is None else int(found.message_count)

    def peek_dead(self, queue: str, limit: int) -> Sequence[Message]:
        """Up to ``limit`` dead letters, oldest first."""
        name = self._names.dead(queue)
        if limit <= 0 or self._ready(name) is None:
            return []
        with self.taking(name, "peeking", quorum=self._quorum) as taken:
            # A quorum queue puts returned messages behind those returned before: so take all of them, in order.
            shown = list(taken.take_all())[:limit] if self._quorum else taken.take(limit)
            return [evolve(each.decoded.message, queue=queue) for each in shown]

    def purge(self, queue: str, section: QueueSection) -> int:
        """See `Broker.purge`. Purging delayed messages reads the delayed messages of all queues."""
        if section is QueueSection.DEAD:
            return self._purge(self._names.dead(queue))
        if section is QueueSection.READY:
            return sum(self._purge(name) for name in self._names.queues(queue))
        return self._purge_delayed(queue)

    def _purge(self, name: str) -> int:
        found = self._manager.ask_if_exists(f"purging {name!r}", spec.Queue.Purge(queue=name))
        return int(found.message_count) if found is not None else 0

    def _purge_delayed(self, queue: str) -> int:
        """Until rounds find none: a message on its way to its next delay queue is in neither queue for a moment."""
        dropped = empty_rounds = 0
        with self.exclusively(self._names.delay_entrance):
            while empty_rounds < _EMPTY_ROUNDS:
                found = self._purge_delay_queues(queue)
                dropped += found
                empty_rounds = 0 if found else empty_rounds + 1
                if empty_rounds == 1:
                    time.sleep(_ON_THEIR_WAY_SECONDS)
        return dropped

    def _purge_delay_queues(self, queue: str) -> int:
        """From the lowest level up, since messages only move to higher levels."""
        dropped = 0
        for level in range(delay_queues.LEVELS):
            if not self._exchange_exists(self._names.delay_exchange(level + 1)):
                break  # no delay has had this many digits
            names = [self._names.delay_queue(level, each.digit) for each in delay_queues.delay_queues_of(level)]
            counts = self._manager.message_counts(names)
            dropped += sum(self._purge_delay_queue(queue, name) for name, count in counts.items() if count)
        return dropped

    def _exchange_exists(self, name: str) -> bool:
        declare = spec.Exchange.Declare(exchange=name, passive=True)
        return self._manager.ask_if_exists(f"checking exchange {name!r}", declare) is not None

    def _purge_delay_queue(self, queue: str, name: str) -> int:
        destinations = {token(each) for each in self._names.queues(queue)}
        with self._taking(name, "purging delayed messages", quorum=True) as taken:
            found = [each for each in taken.take_all() if each.routing_key.partition(".")[0] in destinations]
            taken.drop(found)
        return len(found)

    def replay(self, queue: str, message_ids: Sequence[str] | None) -> int:
        """See `Broker.replay`."""

        def publish(chosen: Sequence[TakenMessage]) -> None:
            self._publisher.send([self._without_death(queue, each.decoded) for each in chosen])

        return self._take_dead(queue, message_ids, publish)

    def drop_dead_letters(self, queue: str, message_ids: Sequence[str]) -> int:
        """See `Broker.drop_dead_letters`."""
        return self._take_dead(queue, message_ids, lambda _: None)

    def _take_dead(
        self, queue: str, message_ids: Sequence[str] | None, before_drop: Callable[[Sequence[TakenMessage]], None]
    ) -> int:
        """Drop dead letters with these ids (None: all), after ``before_drop``; how many."""
        name = self._names.dead(queue)
        if (message_ids is not None and not message_ids) or self._ready(name) is None:
            return 0
        wanted = None if message_ids is None else set(message_ids)
        dropped = 0
        with self.taking(name, "taking dead letters", quorum=self._quorum) as taken:
            some = taken.take(_DEAD_TOGETHER)
            # Not those that come meanwhile: a replayed message may fail and be dead again.
            remaining = some[0].behind + 1 if some else 0
            while some:
                chosen = [each for each in some if wanted is None or each.decoded.message.id in wanted]
                if chosen:
                    before_drop(chosen)
                    taken.drop(chosen)
                dropped += len(chosen)
                remaining -= len(some)
                some = taken.take(min(remaining, _DEAD_TOGETHER))
        return dropped

    def _without_death(self, queue: str, decoded: DecodedMessage) -> OutgoingMessage:
        headers = {name: text for name, text in decoded.message.headers.items() if name not in _DEAD_HEADERS}
        message = evolve(decoded.message, queue=queue, headers=headers)
        name = self._names.queue_of(message.queue, message.priority)
        return OutgoingMessage(message, name, None, decoded.deliveries_before)

    @contextmanager
    def taking(self, name: str, doing: str, *, quorum: bool) -> Iterator[TakenMessages]:
        """Take messages of a queue under its lock; afterwards the queue gets back what was not dropped, in order."""
        with self.exclusively(name), self._taking(name, doing, quorum=quorum) as taken:
            yield taken

    @contextmanager
    def _taking(self, name: str, doing: str, *, quorum: bool) -> Iterator[TakenMessages]:
        """`taking`, for a caller that has a lock which keeps others from these messages."""
        with ExitStack() as channels:
            taken = TakenMessages(
                name, lambda: channels.enter_context(self._manager.admin_channel(doing)), quorum=quorum
            )
            yield taken
            taken.give_back()

    @contextmanager
    def exclusively(self, name: str) -> Iterator[None]:
        """Hold the lock of RabbitMQ's queue ``name``. Taken messages do not count as ready."""
        with self._process_lock, self._locks.holding(name):
            yield


@frozen
class TakenMessage:
    """A message that was taken out of its queue, to be dropped or given back."""

    channel: Channel
    tag: int
    #: The key with which it was last routed.
    routing_key: str
    #: How many messages were behind it in the queue. A count of the queue's ready messages can be too low: RabbitMQ
    #: answers it before the queue has put back messages that were given back.
    behind: int
    decoded: DecodedMessage


class TakenMessages:
    """The messages that were taken out of one queue. For one thread.

    Args:
        name: RabbitMQ's name for the queue.
        open_channel: opens a channel that stays open until `give_back` has returned.
        quorum: whether it is a quorum queue.
    """

    def __init__(self, name: str, open_channel: Callable[[], Channel], *, quorum: bool) -> None:
        self._name, self._open_channel, self._quorum = name, open_channel, quorum
        #: The unsettled tags of each channel, in the order of the queue.
        self._tags: dict[Channel, list[int]] = {}

    def take(self, limit: int) -> list[TakenMessage]:
        """The next messages of the queue, up to ``limit``; empty: there are no more."""
        found: list[TakenMessage] = []
        while len(found) < limit:
            count = min(limit - len(found), _MESSAGES_PER_CHANNEL)
            more = self._take(count)
            found += more
            if len(more) < count:
                break
        return found

    def _take(self, count: int) -> list[TakenMessage]:
        channel = self._open_channel()
        replies = channel.request(*[spec.Basic.Get(queue=self._name)] * count)
        found = [_taken(channel, each) for each in replies if isinstance(each, Content)]
        self._tags[channel] = [each.tag for each in found]
        return found

    def take_all(self) -> Iterator[TakenMessage]:
        """All messages of the queue."""
        while found := self.take(_MESSAGES_PER_CHANNEL):
            yield from found

    def drop(self, messages: Iterable[TakenMessage]) -> None:
        """Drop these messages for ever."""
        dropped: dict[Channel, list[int]] = {}
        for each in messages:
            dropped.setdefault(each.channel, []).append(each.tag)
        for channel, tags in dropped.items():
            channel.write(b"".join(ack_frame(channel.number, tag, False) for tag in tags))
            channel.barrier()
            self._tags[channel] = [tag for tag in self._tags[channel] if tag not in tags]

    def give_back(self) -> None:
        """Give back what was not dropped. The queue puts it back before it answers the next `take`."""
        if self._quorum:  # it appends each message to those that were given back before
            for channel, tags in self._tags.items():
                self._give_back(channel, tags)
        else:  # it searches the position of each frame's messages from its head: so the last ones first, in few frames
            for channel, tags in reversed(self._tags.items()):
                self._give_back(channel, tags[-1:])

    def _give_back(self, channel: Channel, tags: Sequence[int]) -> None:
        """Give back the messages of a channel, with one frame for all up to each of these tags."""
        if tags:
            channel.write(b"".join(nack_frame(channel.number, tag, True) for tag in tags))
            # The answer shows that the queue has received the frames. It may not have put the messages back yet.
            channel.request(spec.Queue.Declare(queue=self._name, passive=True))


def _taken(channel: Channel, content: Content) -> TakenMessage:
    method = content.method
    decoded = decode_message("", content.properties, content.body)
    return TakenMessage(channel, method.delivery_tag, method.routing_key, method.message_count, decoded)


class Management:
    """The HTTP API of RabbitMQ's management plugin. Its counts are up to five seconds old. Thread-safe."""

    def __init__(self, options: Options) -> None:
        parts = urlsplit(options.management_url)
        user, password = options.user, options.password
        if parts.username:
            user, password = unquote(parts.username), unquote(parts.password or "")
        host = parts.netloc.rpartition("@")[2]
        self._base = urlunsplit((parts.scheme, host, parts.path, "", ""))
        self._vhost = quote(options.vhost, safe="")
        self._authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._seconds = options.connect_timeout_seconds

    def in_flight(self, name: str) -> int:
        """The number of delivered and unsettled messages of RabbitMQ's queue ``name``; 0: there is no such queue.

        Raises:
            ServiceError: the plugin cannot be reached, refuses the user, or answers something else.
        """
        found = self._get(f"queues/{self._vhost}/{quote(name, safe='')}?columns=messages_unacknowledged")
        return int(found.get("messages_unacknowledged", 0))

    def _get(self, path: str) -> dict[str, Any]:
        address = f"{self._base}/api/{path}"
        request = urllib.request.Request(address, headers={"Authorization": self._authorization})  # noqa: S310 - http(s)
        try:
            with urllib.request.urlopen(request, timeout=self._seconds) as answer:  # noqa: S310 - as above
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == _HTTP_NOT_FOUND:
                    return {}
                raise self._refusal(error) from error
        except OSError as error:
            raise ServiceUnavailable(
                f"the management plugin at {self._base} cannot be reached: {error}; check management_url"
            ) from error
        except ValueError as error:
            raise ServiceRefused(
                f"{self._base} does not answer as the management plugin does: {error}; check management_url"
            ) from error
        return found if isinstance(found, dict) else {}

    def _refusal(self, error: urllib.error.HTTPError) -> ServiceError:
        answered = f"the management plugin at {self._base} answered {error.code} {error.reason}"
        if error.code in _HTTP_REFUSED:
            return AuthenticationFailed(f"{answered}; give the user the tag management (rabbitmqctl set_user_tags)")
        return ServiceUnavailable(answered)
