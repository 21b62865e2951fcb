"""Clauses B31 to B35, and B47."""

from __future__ import annotations

import time

from drivetrain.contract import Broker, QueueSection, QueueSizes
from drivetrain_contract_tests.brokers.base import Bench, ids, message
from drivetrain_contract_tests.clauses import holds

__all__ = ["Looking"]

#: How long a message is ready before its age is checked, in seconds, and how far the clock of a service may lie off.
_AGE_SECONDS = 0.3
_AGE_MARGIN_SECONDS = 0.1

_EMPTY = QueueSizes(ready=0, delayed=0, in_flight=0, dead=0)


class Looking(Bench):
    """Sizes, peek, purge and the names of queues."""

    @holds("B31")
    def test_sizes_are_numbers_or_none(self) -> None:
        """Each size is a number, or None where the broker cannot tell; an unused queue has nothing."""
        broker = self.fresh()
        broker.publish([message("a"), message("b"), message("later", eta=time.time() + self.long_delay_seconds())])
        self.take(broker)
        told = broker.sizes(["q", "unused"])
        assert set(told) == {"q", "unused"}
        for name, sizes in told.items():
            numbers = (sizes.ready, sizes.delayed, sizes.in_flight, sizes.dead)
            assert all(each is None or (type(each) is int and each >= 0) for each in numbers), f"{name} has {sizes}"
        unused = told["unused"]
        assert not any((unused.ready, unused.delayed, unused.in_flight, unused.dead)), f"an unused queue has {unused}"

    @holds("B31", needs="exact_sizes")
    def test_sizes_of_every_place(self) -> None:
        """A message counts where it is, and nowhere else; what the broker cannot tell is None, and not a guess."""
        broker = self.fresh()
        broker.publish([message(f"{number}") for number in range(6)])
        broker.publish([message("later", eta=time.time() + self.long_delay_seconds())])
        taken = self.take(broker, count=3)
        broker.dead_letter([(taken[0], "why")])
        self.await_sizes(broker, ready=3, delayed=1, in_flight=2, dead=1)
        broker.acknowledge(taken[1:2])
        broker.release(taken[2:])
        self.await_sizes(broker, ready=4, delayed=1, dead=1)

    @holds("B31", needs="exact_sizes")
    def test_sizes_of_many_queues(self) -> None:
        """Every queue that was asked for is answered, each for itself; one that was never used is empty."""
        broker = self.fresh()
        broker.publish([message("a", "a"), message("b", "b"), message("b", "b")])
        told = broker.sizes(["unused", "a", "b"])
        assert set(told) == {"unused", "a", "b"}
        self.await_sizes(broker, "unused")
        self.await_sizes(broker, "a", ready=1)
        self.await_sizes(broker, "b", ready=2)

    @holds("B31", needs="exact_sizes")
    def test_what_becomes_due_or_free_counts_as_ready(self) -> None:
        """A message that is due, or whose hold has ended, counts as ready without anybody receiving."""
        one, other = self.pair()
        one.publish([message()])
        self.abandon(one)
        other.publish([message(eta=time.time() + self.short_delay_seconds)])
        self.await_sizes(other, ready=2)

    @holds("B31")
    def test_an_age_is_known_where_it_is_declared(self) -> None:
        """An age is a number of seconds where `measures_age` is declared, and None where it is not."""
        broker = self.fresh()
        broker.publish([message()])
        for name, sizes in broker.sizes(["q", "unused"]).items():
            age = sizes.oldest_seconds
            known = isinstance(age, float | int) and age >= 0
            assert known if self.capabilities.measures_age else age is None, f"the age of {name} is {age!r}"

    @holds("B47", needs="measures_age")
    def test_the_oldest_message_is_the_one_that_has_been_ready_for_longest(self) -> None:
        """Whatever its priority, and also after a release; what is in flight or not due yet does not count."""
        broker, lowest = self.fresh(), 0
        highest = min(1, self.capabilities.priority_levels - 1)
        begun = time.monotonic()
        broker.publish(
            [message("first", priority=lowest), message("late", eta=time.time() + self.long_delay_seconds())]
        )
        published = time.monotonic()
        time.sleep(_AGE_SECONDS)
        later = time.monotonic()
        broker.publish([message("second", priority=highest)])
        self._is_old(broker, begun, published)
        taken = self.take(broker, count=2)
        assert self._age(broker) == 0, "the age of a queue without ready messages is not 0"
        broker.release([each for each in taken if each.message.id == "second"])
        self._is_old(broker, later, None)
        broker.release([each for each in taken if each.message.id == "first"])
        self._is_old(broker, begun, published)

    @holds("B47", needs="measures_age")
    def test_an_age_begins_when_a_message_is_due(self) -> None:
        """The time before the ETA does not count; an ETA in the past does not make a message old."""
        broker, delay = self.fresh(), 2 * self.short_delay_seconds
        begun = time.monotonic()
        broker.publish([message("delayed", eta=time.time() + delay), message("past", "past", eta=time.time() - 1000.0)])
        self.await_sizes(broker, ready=1)
        self._is_old(broker, begun + delay, None)
        self._is_old(broker, begun, None, "past")
        (late,) = self.take(broker, later=delay)
        broker.acknowledge([late])
        assert self._age(broker) == 0, "the age of an empty queue is not 0"

    @holds("B47", needs="measures_age")
    def test_an_age_leaves_out_dead_letters_and_begins_with_a_replay(self) -> None:
        """A dead letter has no age, and a replayed one is as old as its replay."""
        broker = self.fresh()
        broker.publish([message("letter")])
        broker.dead_letter([(each, "why") for each in self.take(broker)])
        time.sleep(_AGE_SECONDS)
        assert self._age(broker) == 0, "the age of a queue with nothing but a dead letter is not 0"
        replayed = time.monotonic()
        broker.replay("q")
        self._is_old(broker, replayed, None)

    def _age(self, broker: Broker, queue: str = "q") -> float:
        age = self.sizes(broker, queue).oldest_seconds
        assert age is not None, f"the age of {queue} is None"
        return age

    def _is_old(self, broker: Broker, first: float, last: float | None, queue: str = "q") -> None:
        """Check that a message became ready between two times, by the monotonic clock; None: any time until now."""
        asked = time.monotonic()
        age = self._age(broker, queue)
        # Where sizes are estimates, the message may not be ready yet; then the queue is empty.
        oldest = max(0.0, time.monotonic() - first + _AGE_MARGIN_SECONDS)
        youngest = 0.0 if last is None else asked - last - _AGE_MARGIN_SECONDS
        assert youngest <= age <= oldest, (
            f"the age is {age:.3f} s; between {youngest:.3f} s and {oldest:.3f} s are right"
        )

    @holds("B32", needs="peeks")
    def test_peek_shows_what_is_ready_in_delivery_order(self) -> None:
        """Higher priorities first; at most so many as were asked for; as they were published."""
        broker, highest = self.fresh(), self.capabilities.priority_levels - 1
        broker.publish([message("a", headers={"x": "y"}), message("b", priority=highest), message("c", body=b"\0")])
        shown = broker.peek("q", QueueSection.READY, limit=10)
        assert len(shown) == 3
        assert (dict(shown[ids(shown).index("a")].headers), shown[ids(shown).index("c")].body) == ({"x": "y"}, b"\0")
        assert ids(broker.peek("q", QueueSection.READY, limit=2)) == ids(shown)[:2]
        assert list(broker.peek("q", QueueSection.READY, limit=0)) == []
        if highest and self.capabilities.ordered:
            assert ids(shown) == ["b", "a", "c"]
        assert [name for each in range(3) for name in ids(self.take(broker))] == ids(shown)

    @holds("B32", needs="peeks")
    def test_peek_shows_what_is_delayed_in_due_order(self) -> None:
        """Of what is delayed, those come first that are due first; places are not mixed."""
        broker, start = self.fresh(), time.time() + self.long_delay_seconds() / 2
        gap = max(1.0, 2 * self.capabilities.delay_resolution_seconds)
        broker.publish([message("ready"), message("z", eta=start + 3 * gap), message("x", eta=start + gap)])
        broker.publish([message("y", eta=start + 2 * gap)])
        assert ids(broker.peek("q", QueueSection.DELAYED, limit=9)) == ["x", "y", "z"]
        assert ids(broker.peek("q", QueueSection.DELAYED, limit=2)) == ["x", "y"]
        assert ids(broker.peek("q", QueueSection.READY, limit=9)) == ["ready"]
        for section in QueueSection:
            assert list(broker.peek("unused", section, limit=9)) == []

    @holds("B33")
    def test_looking_changes_nothing(self) -> None:
        """After many looks messages come in the same order, with the same flags and counts, as without any."""
        looked, untouched, levels = self.fresh(), self.fresh(), min(2, self.capabilities.priority_levels)
        sent = [message(f"{number}", priority=number % levels) for number in range(6)]
        for broker in (looked, untouched):
            broker.publish(sent)
        for limit in (100, 3, 1):
            self._look(looked, limit)
        one, other = ([self.take(broker)[0] for _ in sent] for broker in (looked, untouched))
        told = [[(each.redelivered, each.delivery_count) for each in taken] for taken in (one, other)]
        assert told[0] == told[1], "to look at messages has marked them as delivered"
        if self.capabilities.ordered:
            assert ids(one) == ids(other), "to look at messages has changed their order"
        assert sorted(ids(one)) == sorted(ids(other))

    @holds("B33")
    def test_looking_hides_nothing_and_takes_nothing(self) -> None:
        """While somebody looks, and at once afterwards, everything is there, and what is held stays held."""
        one, other = self.pair()
        one.publish([message("held")])
        held = self.take(one)
        one.publish([message("a"), message("delayed", eta=time.time() + self.short_delay_seconds)])
        self._look(other, 10)
        assert sorted(ids(self.take(other, count=2))) == ["a", "delayed"]
        assert list(one.extend(held, hold_seconds=self.hold_seconds)) == [True]
        one.dead_letter([(held[0], "why")])
        self._look(other, 1)
        assert ids(self.dead(one)) == ["held"]

    @holds("B34")
    def test_purge_drops_that_place_of_that_queue_only(self) -> None:
        """`purge` tells how many it has dropped; held messages, other sections and other queues stay as they are."""
        for section in QueueSection:
            broker = self.fresh()
            for queue in ("q", "q2"):
                self._fill(broker, queue)
            told = self.purge(broker, "q", section)
            assert told is None or self.counted(told, 2), f"of two that were {section} it has purged {told}"
            assert self.purge(broker, "unused", section) in {0, None}
            self._is_left(broker, "q", without=None if told is None else section)
            self._is_left(broker, "q2", without=None)

    @holds("B34")
    def test_what_was_purged_does_not_come_back(self) -> None:
        """Nothing brings it back: no ETA, no replay, no new object."""
        broker, other = self.pair()
        broker.publish([message(eta=time.time() + self.short_delay_seconds)])
        delayed = self.purge(broker, "q", QueueSection.DELAYED)
        if delayed is None:
            self.take(broker)
        else:
            # On a slow machine it is ready by now.
            assert self.counted(delayed + broker.purge("q", QueueSection.READY), 1)
        broker.publish([message("dead", "d")])
        broker.dead_letter([(self.take(broker, "d")[0], "why")])
        broker.purge("d", QueueSection.DEAD)
        assert broker.replay("d") == 0
        broker.close()
        self.none_comes(other, "q", "d", seconds=self.short_delay_seconds + self.margin_seconds)

    @holds("B34", needs="exact_sizes")
    def test_settling_what_was_purged_after_its_hold_changes_nothing(self) -> None:
        """A hold has ended, and the message is purged as ready; then its late holder settles it, in any way."""
        self.need_lease()
        one, other = self.pair()
        one.publish([message(f"m{number}") for number in range(4)])
        taken = self.take(one, count=4, hold=self.short_hold_seconds)
        self.await_sizes(other, ready=4)
        assert other.purge("q", QueueSection.READY) == 4, "it has not purged four messages whose holds have ended"
        one.acknowledge(taken[:1])
        one.release(taken[1:2])
        one.dead_letter([(taken[2], "why")])
        assert list(one.extend(taken[3:], hold_seconds=self.hold_seconds)) == [False], "it holds a purged message"
        self.await_sizes(other)
        assert not self.dead(other), "a message that was purged is a dead letter"
        self.none_comes(other)

    @holds("B35", needs="lists_queues")
    def test_queues_are_named_sorted(self) -> None:
        """Every queue that was published to is named, emptied ones too, in order; no others."""
        broker, other = self.pair()
        assert list(other.queues()) == []
        broker.publish([message(queue=queue) for queue in ("b", "ü ☃", "a", "B")])
        broker.publish([message(queue="z", eta=time.time() + self.long_delay_seconds())])
        broker.acknowledge(self.take(broker, "b"))
        broker.purge("a", QueueSection.READY)
        assert list(other.queues()) == sorted(["b", "ü ☃", "a", "B", "z"])

    def _look(self, broker: Broker, limit: int) -> None:
        broker.sizes(["q"])
        for section in QueueSection:
            if section is QueueSection.DEAD or self.capabilities.peeks:
                broker.peek("q", section, limit=limit)

    def _fill(self, broker: Broker, queue: str) -> None:
        """Two messages in each section, and two in flight."""
        broker.publish([message(f"dead{number}", queue) for number in range(2)])
        broker.dead_letter([(each, "why") for each in self.take(broker, queue, count=2)])
        broker.publish([message(f"held{number}", queue) for number in range(2)])
        self.held = {**getattr(self, "held", {}), queue: self.take(broker, queue, count=2)}
        eta = time.time() + self.long_delay_seconds()
        broker.publish([message(f"ready{number}", queue) for number in range(2)])
        broker.publish([message(f"delayed{number}", queue, eta=eta) for number in range(2)])

    def _is_left(self, broker: Broker, queue: str, without: QueueSection | None) -> None:
        counts = {section.value: 0 if section is without else 2 for section in QueueSection}
        self.await_sizes(broker, queue, in_flight=2, **counts)
        assert list(broker.extend(self.held[queue], hold_seconds=self.hold_seconds)) == [True, True]
        assert len(self.dead(broker, queue)) == counts["dead"]
        found = ids(self.take(broker, queue, count=counts["ready"])) if counts["ready"] else []
        assert sorted(found) == [f"ready{number}" for number in range(counts["ready"])]
        self.none_comes(broker, queue)
