"""The topology in RabbitMQ: the names of queues and exchanges, and the declarations that make them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from attrs import field, frozen
from pika import spec

from drivetrain.contract import name_digest
from drivetrain_amqp.options import Options

__all__ = ["Bind", "BindExchange", "Declaration", "DeclareExchange", "DeclareQueue", "Names", "Topology", "token"]

_LONGEST_BYTES = 100
_SHOWN_BYTES = 40
#: One ``~`` ends a namespace, two separate the driver's own parts of a name. The others are special to topic exchanges.
_SPECIAL = re.compile(r"[~*#]|\.dead\Z")
_TOKEN_CHARACTERS = 32
#: Version 2: RabbitMQ refuses to declare a queue again with other arguments, as those of version 1 were.
_DELAYS = "drivetrain~~delay2"

#: Since 4.0 a quorum queue drops a message after 20 deliveries by default. Core counts deliveries and dead-letters.
_NO_DELIVERY_LIMIT = 1_000_000_000
_QUORUM: Mapping[str, object] = {"x-queue-type": "quorum", "x-delivery-limit": _NO_DELIVERY_LIMIT}


@frozen
class Names:
    """RabbitMQ's names for the queues and exchanges of one app.

    An app's queue may have any name. RabbitMQ takes up to 255 bytes of UTF-8, drops line breaks and reserves ``amq.``.
    A name that RabbitMQ would not take, or that could be one of the driver's own, becomes its beginning and a hash.
    """

    #: Separates apps in one virtual host; has no ``~``. Empty: apps without a namespace.
    namespace: str = ""
    #: How many of RabbitMQ's queues make one queue, by priority; 1: one queue for all priorities.
    lanes: int = 1

    @property
    def _base(self) -> str:
        return f"{self.namespace}~" if self.namespace else ""

    def queues(self, queue: str) -> tuple[str, ...]:
        """The names that hold the messages of ``queue``, highest priority first."""
        return _queues(self._base, queue, self.lanes)

    def queue_of(self, queue: str, priority: int) -> str:
        """The name for messages of this priority."""
        lanes = self.queues(queue)
        return lanes[0] if self.lanes == 1 else lanes[self.lanes - 1 - max(0, min(priority, self.lanes - 1))]

    def dead(self, queue: str) -> str:
        """The queue of the dead letters of ``queue``."""
        return f"{self._base}{_plain(queue)}.dead"

    @property
    def delay_entrance(self) -> str:
        """The exchange to which delayed messages are published."""
        return f"{self._base}{_DELAYS}"

    def delay_exchange(self, levels: int) -> str:
        """The exchange for messages that have waited at this many levels of delay queues."""
        return f"{self._base}{_DELAYS}.{levels}"

    def delay_queue(self, level: int, digit: int) -> str:
        """The delay queue of a digit at a level."""
        return f"{self._base}{_DELAYS}.{level}.{digit:02}"

    @property
    def lost(self) -> str:
        """The exchange and the queue for messages that are due and that no queue takes."""
        return f"{self._base}drivetrain~~lost"

    @property
    def last(self) -> str:
        """A queue that the driver makes and deletes after others; see `Declarer`."""
        return f"{self._base}drivetrain~~last"

    def lock(self, name: str) -> str:
        """The exclusive queue that is the lock of this name."""
        return f"{self._base}drivetrain~~lock.{token(name)}"


def token(name: str) -> str:
    """A word for the name of a queue in a routing key: short, and without the special characters of topics."""
    return name_digest(name)[:_TOKEN_CHARACTERS]


@lru_cache(4096)
def _queues(base: str, queue: str, lanes: int) -> tuple[str, ...]:
    plain = f"{base}{_plain(queue)}"
    return (plain,) if lanes == 1 else (*(f"{plain}~~{level:x}" for level in range(lanes - 1, 0, -1)), plain)


@lru_cache(4096)
def _plain(queue: str) -> str:
    printable = "".join(character for character in queue if character.isprintable())  # drops lone surrogates too
    fits = printable == queue and 0 < len(queue.encode()) <= _LONGEST_BYTES
    if fits and not queue.startswith("amq.") and not _SPECIAL.search(queue):
        return queue
    return f"{_beginning(printable)}~~{name_digest(queue)}"


def _beginning(printable: str) -> str:
    beginning = printable[:_SHOWN_BYTES].encode()[:_SHOWN_BYTES].decode(errors="ignore")
    return _SPECIAL.sub("_", beginning).replace("amq.", "amq_")


@frozen
class DeclareExchange:
    """The declaration of a durable exchange."""

    name: str
    kind: str
    #: The exchange for messages that this one cannot route; empty: none.
    alternate: str = ""

    def method(self, *, answered: bool = True) -> Any:
        """The declaration as pika's method; with ``answered=False`` RabbitMQ does not confirm it."""
        arguments = {"alternate-exchange": self.alternate} if self.alternate else {}
        return spec.Exchange.Declare(
            exchange=self.name, type=self.kind, durable=True, arguments=arguments, nowait=not answered
        )


@frozen
class DeclareQueue:
    """The declaration of a durable queue."""

    name: str
    arguments: Mapping[str, Any] = field(hash=False)

    @property
    def quorum(self) -> bool:
        """Whether it is a quorum queue."""
        return self.arguments.get("x-queue-type") == "quorum"

    def method(self, *, answered: bool = True) -> Any:
        """See `DeclareExchange.method`."""
        arguments = dict(self.arguments)
        return spec.Queue.Declare(queue=self.name, durable=True, arguments=arguments, nowait=not answered)


@frozen(kw_only=True)
class Bind:
    """The binding of a queue to an exchange."""

    queue: str
    exchange: str
    key: str

    def method(self, *, answered: bool = True) -> Any:
        """See `DeclareExchange.method`."""
        return spec.Queue.Bind(queue=self.queue, exchange=self.exchange, routing_key=self.key, nowait=not answered)


@frozen(kw_only=True)
class BindExchange:
    """The binding of an exchange to another exchange, the source."""

    destination: str
    source: str
    key: str

    def method(self, *, answered: bool = True) -> Any:
        """See `DeclareExchange.method`."""
        to, source = self.destination, self.source
        return spec.Exchange.Bind(destination=to, source=source, routing_key=self.key, nowait=not answered)


Declaration = DeclareExchange | DeclareQueue | Bind | BindExchange


class Topology:
    """The queues and exchanges that the options ask for."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.names = Names(options.service_namespace, options.priority_levels if options.quorum else 1)
        self._arguments: dict[str, Any] = dict(_QUORUM) if options.quorum else {"x-queue-type": options.queue_type}
        if not options.quorum and options.queue_mode != "default":  # the default mode is the absence of the argument
            # Persistent messages are on the disk in either mode. A lazy queue does not keep them in memory as well: a
            # backlog takes no memory, and costs the server a quarter less work. RabbitMQ 3.12 and later ignore this.
            self._arguments["x-queue-mode"] = options.queue_mode

    def task_queue(self, name: str) -> list[Declaration]:
        """A queue of tasks, by RabbitMQ's name, with its binding."""
        options = self._options
        arguments = {**self._arguments, **options.queue_arguments}
        if options.max_priority and not options.quorum:
            arguments["x-max-priority"] = options.max_priority
        declared: list[Declaration] = [DeclareQueue(name, arguments)]
        if options.exchange:
            declared += [
                DeclareExchange(options.exchange, options.exchange_type),
                Bind(queue=name, exchange=options.exchange, key=self._key(name)),
            ]
        return declared

    def dead_queue(self, name: str) -> list[Declaration]:
        """A queue of dead letters, by RabbitMQ's name."""
        return [DeclareQueue(name, self._arguments)]

    def delay_arguments(self) -> dict[str, object]:
        """The arguments of every delay queue, whatever the type of the task queues is.

        Only a quorum queue can keep a message until the next queue has confirmed it, and only with these arguments.
        """
        return {**_QUORUM, "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}

    def lost_arguments(self) -> dict[str, object]:
        """The arguments of the queue for messages that are due and that no queue takes."""
        return dict(_QUORUM)

    def route(self, name: str) -> tuple[str, str]:
        """The exchange and routing key that lead to RabbitMQ's queue ``name``."""
        exchange = self._options.exchange
        return (exchange, self._key(name)) if exchange else ("", name)

    def _key(self, name: str) -> str:
        return self._options.binding_key.replace("{queue}", name)
