"""What the checks of a broker share: making brokers, and receiving from them with patience."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, ClassVar, NoReturn

import pytest

from drivetrain.contract import (
    Broker,
    BrokerCapabilities,
    Delivery,
    Hold,
    Message,
    NotSupported,
    QueueSection,
    QueueSizes,
)
from drivetrain_contract_tests.contract import Contract, NotDeclared
from drivetrain_contract_tests.service import Service

__all__ = ["Bench", "ids", "message"]

#: How long a message is held when its hold shall end soon.
_SHORT_HOLD_SECONDS = 0.15
#: How long it is held otherwise: longer than the suite waits for what must come. A broker that forgets to release a
#: message would deliver it when its hold ends, and that must be too late.
_HOLD_SECONDS = 600.0
#: How long the suite waits for what must come once something has not come: a driver that loses one thing loses more.
_SHORT_PATIENCE_SECONDS = 10.0
#: How long between two looks at something that cannot be waited for.
_LOOK_SECONDS = 0.02


def message(message_id: str = "m", queue: str = "q", **fields: Any) -> Message:
    """A message; what is not said does not matter."""
    return Message(**{"id": message_id, "queue": queue, "body": b"body", **fields})


def ids(found: Iterable[Delivery | Message]) -> list[str]:
    """The ids of messages or deliveries, in their order."""
    return [each.message.id if isinstance(each, Delivery) else each.id for each in found]


class Bench(Contract):
    """Where brokers are tried. Needs a fixture ``broker_service`` that gives a `Service`."""

    #: How long the suite waits for what must come. Costs nothing as long as it comes; more for a service that is slow.
    patience_seconds: ClassVar[float] = 60.0
    #: How long something may take that is said to happen at once.
    prompt_seconds: ClassVar[float] = 0.5
    #: How often something that may take long on a busy machine is tried until it is fast once.
    tries: ClassVar[int] = 3

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _reach(cls, broker_service: Service) -> None:
        cls.service = broker_service

    @pytest.fixture(autouse=True)
    def _close_what_was_made(self) -> Iterator[None]:
        # pytest keeps the contract object for longer, and what a client goes on doing costs those that come after it.
        yield
        self.tidy()

    def declared(self) -> BrokerCapabilities:
        """The broker's capabilities."""
        return self.capabilities

    @cached_property
    def capabilities(self) -> BrokerCapabilities:
        """The broker's capabilities."""
        return self.fresh().capabilities

    @cached_property
    def _made(self) -> list[Broker]:
        made: list[Broker] = []
        weakref.finalize(self, _close_all, made)
        return made

    def fresh(self) -> Broker:
        """A broker on a namespace of its own."""
        return self.on(self.service.namespace())

    def on(self, namespace: str) -> Broker:
        """A new broker object on this namespace. Closed after the check, and kept till then."""
        return self._kept(self.service.broker(namespace), self.service.expression("broker", namespace))

    def at(self, url: str, namespace: str) -> Broker:
        """The same of a URL, where the namespace is that of the context."""
        made = self.service.expression_at("broker", url, namespace)
        return self._kept(self.service.broker_at(url, namespace=namespace), made)

    def _kept(self, broker: Broker, made: str) -> Broker:
        recorded: Broker = self.transcript.record(broker, made)
        self._made.append(recorded)
        return recorded

    def pair(self) -> tuple[Broker, Broker]:
        """Two brokers on one fresh namespace."""
        namespace = self.service.namespace()
        return self.on(namespace), self.on(namespace)

    def tidy(self) -> None:
        """Close all brokers that were made so far: between the examples of a property."""
        _close_all(self._made)
        self._made.clear()
        self.transcript.clear()

    @property
    def hold_seconds(self) -> float:
        """Longer than any check takes, if the broker can."""
        return min(_HOLD_SECONDS, self.capabilities.longest_hold_seconds or _HOLD_SECONDS)

    @property
    def short_hold_seconds(self) -> float:
        """Shorter than a check takes. A driver whose service counts whole seconds makes one of it."""
        return _SHORT_HOLD_SECONDS

    @property
    def short_delay_seconds(self) -> float:
        """A delay that is soon over, and still longer than what the broker cannot tell apart."""
        return max(0.1, 2 * self.capabilities.delay_resolution_seconds)

    def long_delay_seconds(self, seconds: float = 3600.0) -> float:
        """So long, or as long as the broker keeps messages."""
        return min(seconds, self.capabilities.longest_delay_seconds or seconds)

    @property
    def quiet_seconds(self) -> float:
        """How long the suite looks whether something comes that must not."""
        return max(0.05, min(1.0, self.capabilities.delay_resolution_seconds))

    @property
    def margin_seconds(self) -> float:
        """How long after its time one must look to see that something does not come."""
        return self.capabilities.delay_resolution_seconds + self.quiet_seconds

    @property
    def late_seconds(self) -> float:
        """How late a delayed message may be seen: as declared, and the time that calls take."""
        return self.capabilities.delay_resolution_seconds + self.prompt_seconds

    def need_lease(self) -> None:
        """Leave the check out where a hold does not end by time."""
        if self.capabilities.hold is not Hold.LEASE:
            raise NotDeclared("hold: it lasts as long as the connection")

    def take(
        self, broker: Broker, *queues: str, count: int = 1, hold: float | None = None, later: float = 0.0
    ) -> list[Delivery]:
        """Receive ``count`` messages, in as many calls as that takes; fails when they do not come.

        Args:
            broker: receives them.
            queues: from these; none: from "q".
            count: how many.
            hold: for how long they are held, in seconds; None: for longer than the check takes.
            later: how many seconds must pass before they can come.
        """
        names = queues or ("q",)
        taken: list[Delivery] = []
        deadline = time.monotonic() + later + self.patience_seconds
        while len(taken) < count:
            left = deadline - time.monotonic()
            if left <= 0:
                self.lose_patience(
                    f"{len(taken)} of {count} messages came from {names} in {self.patience_seconds} seconds"
                )
            taken += broker.receive(
                names, limit=count - len(taken), wait_seconds=left, hold_seconds=hold or self.hold_seconds
            )
        assert len(taken) == count, f"{len(taken)} messages came where {count} were asked for"
        return taken

    def none_comes(self, broker: Broker, *queues: str, seconds: float | None = None) -> None:
        """Fail when a message comes from ``queues``."""
        wait = self.quiet_seconds if seconds is None else seconds
        came = broker.receive(queues or ("q",), limit=10, wait_seconds=wait, hold_seconds=self.hold_seconds)
        assert not came, f"what must not come came: {came}"

    def abandon(self, broker: Broker, *queues: str) -> Delivery:
        """Receive a message and never settle it; the hold ends soon, or has ended with the connection."""
        lease = self.capabilities.hold is Hold.LEASE
        (delivery,) = self.take(broker, *queues, hold=self.short_hold_seconds if lease else None)
        if not lease:
            broker.close()
        return delivery

    def sizes(self, broker: Broker, queue: str = "q") -> QueueSizes:
        """The sizes of a queue."""
        return broker.sizes([queue])[queue]

    def await_sizes(self, broker: Broker, queue: str = "q", **expected: int) -> None:
        """Wait until a queue has these sizes (0 where nothing is said), as far as the broker counts them."""
        if not self.capabilities.exact_sizes:
            return
        wanted = {name: expected.get(name, 0) for name in ("ready", "delayed", "in_flight", "dead")}

        def wrong() -> dict[str, int]:
            told = self.sizes(broker, queue)
            return {name: size for name, size in wanted.items() if getattr(told, name) not in {None, size}}

        self.eventually(lambda: not wrong(), lambda: f"sizes are {self.sizes(broker, queue)}, not {wanted}")

    def purge(self, broker: Broker, queue: str, section: QueueSection) -> int | None:
        """Purge a section; how many messages were dropped, None where the broker cannot purge it."""
        try:
            return broker.purge(queue, section)
        except NotSupported:
            assert section is QueueSection.DELAYED, f"it refuses to purge what is {section}"
            assert not self.capabilities.peeks, f"it peeks, and refuses to purge what is {section}"
            return None

    def counted(self, told: int | None, number: int) -> bool:
        """Whether the answer is this number; or any number, where the broker does not count exactly."""
        return told == number if self.capabilities.exact_sizes else told is not None and told >= 0

    def eventually(self, holds: Callable[[], bool], fault: Callable[[], str]) -> None:
        """Wait until something holds that can only be looked at: services count late."""
        deadline = time.monotonic() + self.patience_seconds
        while not holds():
            if time.monotonic() > deadline:
                self.lose_patience(fault())
            time.sleep(_LOOK_SECONDS)

    def lose_patience(self, fault: str) -> NoReturn:
        """Fail because something has not come; the checks of this class that follow wait for less time."""
        short = min(_SHORT_PATIENCE_SECONDS, self.patience_seconds)
        less = f" (the checks that follow wait for {short:g} seconds)" if short < self.patience_seconds else ""
        type(self).patience_seconds = short
        raise AssertionError(f"{fault}{less}")

    def dead(self, broker: Broker, queue: str = "q", limit: int = 100) -> Sequence[Message]:
        """The dead letters of a queue."""
        return broker.peek(queue, QueueSection.DEAD, limit=limit)


def _close_all(brokers: list[Broker]) -> None:
    for broker in brokers:
        with suppress(Exception):  # closing has checks of its own
            broker.close()
