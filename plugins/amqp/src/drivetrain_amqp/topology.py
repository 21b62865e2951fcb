"""What is declared at the server: values, and the methods of the protocol that say them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from pika import spec

from drivetrain_amqp.names import Names
from drivetrain_amqp.options import Options

__all__ = ["Bind", "BindExchange", "Declaration", "DeclareExchange", "DeclareQueue", "Topology"]

#: Since 4.0 a quorum queue drops what was delivered 20 times, unless told otherwise; core counts, and buries.
_NO_DELIVERY_LIMIT = 1_000_000_000
_QUORUM: Mapping[str, object] = {"x-queue-type": "quorum", "x-delivery-limit": _NO_DELIVERY_LIMIT}


@frozen
class DeclareExchange:
    """A durable exchange."""

    name: str
    kind: str
    #: The exchange that gets what this one cannot route; empty: none.
    otherwise: str = ""

    def method(self, *, answered: bool = True) -> Any:
        """As the protocol says it."""
        arguments = {"alternate-exchange": self.otherwise} if self.otherwise else {}
        return spec.Exchange.Declare(
            exchange=self.name, type=self.kind, durable=True, arguments=arguments, nowait=not answered
        )


@frozen
class DeclareQueue:
    """A durable queue."""

    name: str
    arguments: Mapping[str, Any] = field(hash=False)

    @property
    def quorum(self) -> bool:
        """Whether it is a quorum queue."""
        return self.arguments.get("x-queue-type") == "quorum"

    def method(self, *, answered: bool = True) -> Any:
        """As the protocol says it."""
        arguments = dict(self.arguments)
        return spec.Queue.Declare(queue=self.name, durable=True, arguments=arguments, nowait=not answered)


@frozen(kw_only=True)
class Bind:
    """A queue gets what an exchange receives under a key."""

    queue: str
    exchange: str
    key: str

    def method(self, *, answered: bool = True) -> Any:
        """As the protocol says it."""
        return spec.Queue.Bind(queue=self.queue, exchange=self.exchange, routing_key=self.key, nowait=not answered)


@frozen(kw_only=True)
class BindExchange:
    """An exchange gets what another one receives under a key."""

    destination: str
    source: str
    key: str

    def method(self, *, answered: bool = True) -> Any:
        """As the protocol says it."""
        to, source = self.destination, self.source
        return spec.Exchange.Bind(destination=to, source=source, routing_key=self.key, nowait=not answered)


Declaration = DeclareExchange | DeclareQueue | Bind | BindExchange


class Topology:
    """Which queues and exchanges a URL asks for."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.names = Names(options.prefix, options.levels if options.quorum else 1)
        self._kept: dict[str, Any] = dict(_QUORUM) if options.quorum else {"x-queue-type": options.queue_type}
        if not options.quorum and options.queue_mode != "default":  # that is said by leaving it out
            # What is persistent is written to the disk anyway. Not to keep it in memory besides spares the server a
            # quarter of its work, and a backlog its memory. Since 3.12 all classic queues are so, and this is ignored.
            self._kept["x-queue-mode"] = options.queue_mode

    def task_queue(self, name: str) -> list[Declaration]:
        """A queue of tasks, by RabbitMQ's name for it, and how it is reached."""
        options = self._options
        arguments = {**self._kept, **options.queue_arguments}
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
        """A queue of dead letters, by RabbitMQ's name for it."""
        return [DeclareQueue(name, self._kept)]

    def rung_arguments(self) -> dict[str, object]:
        """Of the queues in which messages wait for their time, whatever the type of the queues of tasks is.

        Only a quorum queue can keep what it passes on until the next queue has confirmed it, and only if it is told so.
        """
        return {**_QUORUM, "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}

    def lost_arguments(self) -> dict[str, object]:
        """Of the queue of messages that have waited and that no queue takes."""
        return dict(_QUORUM)

    def route(self, name: str) -> tuple[str, str]:
        """The exchange and routing key by which RabbitMQ's queue ``name`` is reached."""
        exchange = self._options.exchange
        return (exchange, self._key(name)) if exchange else ("", name)

    def _key(self, name: str) -> str:
        return self._options.binding_key.replace("{queue}", name)
