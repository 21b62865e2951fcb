"""A broker beside its model: any program of calls has the same effect on both."""

from __future__ import annotations

import time
from typing import ClassVar

from attrs import define, field
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from drivetrain.contract import Broker, Delivery, Message, QueueSection
from drivetrain_contract_tests.brokers.base import Bench, ids, message
from drivetrain_contract_tests.clauses import holds

__all__ = ["AnyProgram"]

_QUEUES = st.sampled_from(("q", "r"))
_PICK = st.integers(0, 1_000_000)


@define(eq=False)
class _Known:
    """A message as the model knows it."""

    message: Message
    #: When it was published, in numbers.
    turn: int
    #: Whether it was handed out before; the contract does not lay down its order then.
    touched: bool = False


@define(eq=False)
class _Held:
    """A message that one of the objects holds."""

    known: _Known
    delivery: Delivery
    broker: Broker


@define(eq=False)
class _Model:
    """What lies in a queue."""

    ready: list[_Known] = field(factory=list)
    delayed: list[_Known] = field(factory=list)
    dead: list[_Known] = field(factory=list)

    def section(self, section: QueueSection) -> list[_Known]:
        found: list[_Known] = getattr(self, section.value)
        return found


class _Machine(RuleBasedStateMachine):
    """Two brokers of one namespace, and what must be in it."""

    bench: ClassVar[Bench]

    def __init__(self) -> None:
        super().__init__()
        self.brokers = self.bench.pair()
        self.model = {"q": _Model(), "r": _Model()}
        self.held: list[_Held] = []
        self.settled: list[_Held] = []
        #: Whether anybody has received, and whether anything was settled after that. How many messages a broker hands
        #: out depends on its service, and Hypothesis refuses programs whose steps depend on that.
        self.has_received = self.has_settled = False
        self.turns = 0

    @rule(
        which=st.booleans(),
        sent=st.lists(st.tuples(_QUEUES, st.integers(0, 9), st.sampled_from([False, False, True])), max_size=4),
    )
    def publish(self, which: bool, sent: list[tuple[str, int, bool]]) -> None:
        """Publish some messages."""
        highest = self.bench.capabilities.priority_levels - 1
        batch = [self._new(queue, min(priority, highest), delayed) for queue, priority, delayed in sent]
        self.brokers[which].publish(batch)

    def _new(self, queue: str, priority: int, delayed: bool) -> Message:
        self.turns += 1
        eta = time.time() + self.bench.long_delay_seconds() if delayed else None
        made = message(f"m{self.turns}", queue, priority=priority, eta=eta, headers={"turn": f"{self.turns}"})
        section = QueueSection.DELAYED if delayed else QueueSection.READY
        self.model[queue].section(section).append(_Known(made, self.turns))
        return made

    @rule(which=st.booleans(), queue=_QUEUES, limit=st.integers(1, 4))
    def receive(self, which: bool, queue: str, limit: int) -> None:
        """Receive from one queue: something, if there is something, and the right thing."""
        self.has_received = True
        broker, ready = self.brokers[which], self.model[queue].ready
        found = list(self.bench.take(broker, queue)) if ready else []
        found += broker.receive([queue], limit=limit, wait_seconds=0.0, hold_seconds=self.bench.hold_seconds)
        note(f"received {ids(found)}")
        for delivery in found:
            self._handed_out(broker, queue, delivery)

    def _handed_out(self, broker: Broker, queue: str, delivery: Delivery) -> None:
        ready = self.model[queue].ready
        names = ids(each.message for each in ready)
        assert delivery.message.id in names, f"{delivery.message.id} came, and only {names} are ready"
        known = ready.pop(names.index(delivery.message.id))
        assert dict(delivery.message.headers) == dict(known.message.headers)
        assert delivery.redelivered or not known.touched, f"{known.message.id} was handed out before"
        self._in_order(known, ready)
        known.touched = True
        self.held.append(_Held(known, delivery, broker))

    def _in_order(self, known: _Known, left: list[_Known]) -> None:
        higher = [each.message.id for each in left if each.message.priority > known.message.priority]
        assert not higher, f"{known.message.id} came before {higher}, which have a higher priority"
        if self.bench.capabilities.ordered and not known.touched:
            alike = [each for each in left if each.message.priority == known.message.priority and not each.touched]
            earlier = [each.message.id for each in alike if each.turn < known.turn]
            assert not earlier, f"{known.message.id} came before {earlier}, which were published earlier"

    @precondition(lambda self: self.has_received)
    @rule(pick=_PICK)
    def acknowledge(self, pick: int) -> None:
        """Acknowledge something that is held."""
        if held := self._settle(pick):
            held.broker.acknowledge([held.delivery])

    @precondition(lambda self: self.has_received)
    @rule(pick=_PICK, delayed=st.booleans())
    def release(self, pick: int, delayed: bool) -> None:
        """Give something back, at once or for much later."""
        if (held := self._settle(pick)) is None:
            return
        delay = self.bench.long_delay_seconds() if delayed else 0.0
        held.broker.release([held.delivery], delay_seconds=delay)
        section = QueueSection.DELAYED if delayed else QueueSection.READY
        self.model[held.known.message.queue].section(section).append(held.known)

    @precondition(lambda self: self.has_received)
    @rule(pick=_PICK)
    def dead_letter(self, pick: int) -> None:
        """Put something aside."""
        if held := self._settle(pick):
            held.broker.dead_letter([(held.delivery, "why")])
            self.model[held.known.message.queue].dead.append(held.known)

    @precondition(lambda self: self.has_settled)
    @rule(pick=_PICK)
    def settle_again(self, pick: int) -> None:
        """Settle in every way what is settled already: nothing changes."""
        if not self.settled:
            return
        held = self.settled[pick % len(self.settled)]
        held.broker.release([held.delivery])
        held.broker.acknowledge([held.delivery])
        held.broker.dead_letter([(held.delivery, "again")])
        assert list(held.broker.extend([held.delivery], hold_seconds=30)) == [False]

    @rule()
    def extend(self) -> None:
        """Prolong all holds: all of them are still there."""
        for held in self.held:
            told = held.broker.extend([held.delivery], hold_seconds=self.bench.hold_seconds)
            assert list(told) == [True], f"{held.known.message.id} is not held any more"

    @rule(which=st.booleans(), queue=_QUEUES, pick=st.none() | _PICK)
    def replay(self, which: bool, queue: str, pick: int | None) -> None:
        """Make all dead letters ready, or one."""
        model = self.model[queue]
        chosen = list(model.dead) if pick is None or not model.dead else [model.dead[pick % len(model.dead)]]
        wanted = None if pick is None else ids(each.message for each in chosen)
        assert self.brokers[which].replay(queue, wanted) == len(chosen)
        model.dead = [each for each in model.dead if each not in chosen]
        model.ready += chosen

    @rule(which=st.booleans(), queue=_QUEUES, picks=st.lists(_PICK, max_size=3))
    def drop_dead_letters(self, which: bool, queue: str, picks: list[int]) -> None:
        """Drop some dead letters."""
        model = self.model[queue]
        chosen = [model.dead[place] for place in {pick % len(model.dead) for pick in picks}] if model.dead else []
        wanted = ids(each.message for each in chosen)
        assert self.brokers[which].drop_dead_letters(queue, wanted) == len(chosen)
        model.dead = [each for each in model.dead if each not in chosen]

    @rule(which=st.booleans(), queue=_QUEUES, section=st.sampled_from(QueueSection))
    def purge(self, which: bool, queue: str, section: QueueSection) -> None:
        """Drop everything in one section."""
        lying = self.model[queue].section(section)
        told = self.bench.purge(self.brokers[which], queue, section)
        if told is not None:
            assert self.bench.counted(told, len(lying)), f"it has purged {told} messages, and there were {len(lying)}"
            lying.clear()

    @rule(which=st.booleans(), queue=_QUEUES)
    def look(self, which: bool, queue: str) -> None:
        """Sizes and places are those of the model, and looking changes nothing."""
        broker, model = self.brokers[which], self.model[queue]
        held = sum(each.known.message.queue == queue for each in self.held)
        counts = {section.value: len(model.section(section)) for section in QueueSection}
        self.bench.await_sizes(broker, queue, in_flight=held, **counts)
        assert ids(self.bench.dead(broker, queue, 1000)) == ids(each.message for each in model.dead)
        if self.bench.capabilities.peeks:
            for section in (QueueSection.READY, QueueSection.DELAYED):
                shown = ids(broker.peek(queue, section, limit=1000))
                assert sorted(shown) == sorted(ids(each.message for each in model.section(section)))

    def _settle(self, pick: int) -> _Held | None:
        """Take one of those that are held out of the model; None: none is."""
        self.has_settled = True
        if not self.held:
            return None
        held = self.held.pop(pick % len(self.held))
        self.settled.append(held)
        return held

    def teardown(self) -> None:
        """In the end, all that is ready can be received, and nothing else."""
        try:
            for queue, model in self.model.items():
                count = len(model.ready)
                taken = self.bench.take(self.brokers[0], queue, count=count) if count else []
                assert sorted(ids(taken)) == sorted(ids(each.message for each in model.ready))
                self.bench.none_comes(self.brokers[1], queue, seconds=0.0)
        finally:
            self.bench.tidy()


class AnyProgram(Bench):
    """Programs of calls that Hypothesis makes up."""

    @holds("B1", "B7", "B15", "B18", "B20", "B30", "B31", "B34")
    def test_any_program_of_calls_does_what_its_model_does(self) -> None:
        """Publish, receive, settle, replay, drop and look, in any order, on two objects: nothing is lost or doubled.

        A failure is shown as the shortest program that fails, line by line.
        """

        class Program(_Machine):
            bench = self

        run_state_machine_as_test(Program, settings=self.profile.settings())
