"""Clauses B15 to B21."""

from __future__ import annotations

import time
from collections.abc import Callable

from drivetrain.contract import Broker, Delivery
from drivetrain_contract_tests.brokers.base import Bench, ids, message
from drivetrain_contract_tests.clauses import holds

__all__ = ["Settling"]

Settle = Callable[[Broker, list[Delivery]], object]

#: Every way to settle, by name.
_WAYS: dict[str, Settle] = {
    "acknowledge": lambda broker, deliveries: broker.acknowledge(deliveries),
    "release": lambda broker, deliveries: broker.release(deliveries),
    "release with a delay": lambda broker, deliveries: broker.release(deliveries, delay_seconds=0.15),
    "dead_letter": lambda broker, deliveries: broker.dead_letter([(each, "why") for each in deliveries]),
}


class Settling(Bench):
    """What becomes of a message that was handed out."""

    @holds("B15")
    def test_what_is_acknowledged_is_gone(self) -> None:
        """An acknowledged message is not there any more, for nobody, and not after its consumer is closed."""
        one, other = self.pair()
        one.publish([message("a"), message("b")])
        taken = self.take(one, count=2)
        one.acknowledge([each for each in taken if each.message.id == "a"])
        one.release([each for each in taken if each.message.id == "b"])
        assert ids(self.take(other)) == ["b"]
        one.close()
        self.none_comes(other)

    @holds("B15")
    def test_what_is_acknowledged_does_not_come_back_with_the_end_of_its_hold(self) -> None:
        """An acknowledgement ends the hold: nothing that waits for its end brings the message back."""
        self.need_lease()
        one, other = self.pair()
        one.publish([message()])
        one.acknowledge(self.take(one, hold=self.short_hold_seconds))
        self.none_comes(other, seconds=self.short_hold_seconds + self.margin_seconds)

    @holds("B15", "B16", needs="settles_late")
    def test_an_acknowledgement_after_the_hold_has_ended_counts(self) -> None:
        """As long as nobody else was handed the message, it is not too late to acknowledge it."""
        self.need_lease()
        one, other = self.pair()
        one.publish([message()])
        taken = self.take(one, hold=self.short_hold_seconds)
        one.publish([message("bell", "bell", eta=time.time() + self.short_hold_seconds + self.margin_seconds)])
        self.take(other, "bell")
        one.acknowledge(taken)
        self.none_comes(other)

    @holds("B16")
    def test_what_is_not_settled_is_delivered_again(self) -> None:
        """The end of a hold gives the message to the next consumer, whole; receiving is not acknowledging."""
        one, other = self.pair()
        sent = message(headers={"a": "b"}, body=b"\0\xff")
        one.publish([sent])
        self.abandon(one)
        (again,) = self.take(other)
        assert (again.message.id, again.message.body, dict(again.message.headers)) == ("m", b"\0\xff", {"a": "b"})

    @holds("B7", "B16")
    def test_a_hold_lasts_as_long_as_was_asked(self) -> None:
        """Nobody receives the message before its hold ends, and one who waits does so when it ends."""
        self.need_lease()
        one, other = self.pair()
        one.publish([message()])
        before = time.monotonic()
        self.take(one, hold=self.short_hold_seconds)
        self.take(other)
        assert time.monotonic() - before >= self.short_hold_seconds, "its hold ended too early"

    @holds("B16")
    def test_the_end_of_a_hold_wakes_a_receive(self) -> None:
        """A consumer that waits gets the message soon after the hold has ended: a crash is not noticed late."""
        self.need_lease()
        one, other = self.pair()
        late = 0.0
        for number in range(self.tries):
            # One message at a time, in a queue of its own: no other can come in its place.
            queue = f"q{number}"
            one.publish([message(queue=queue)])
            self.take(one, queue, hold=self.short_hold_seconds)
            before = time.monotonic()
            self.take(other, queue)
            late = time.monotonic() - before - self.short_hold_seconds
            if late < 2 * self.late_seconds:
                return
        raise AssertionError(f"it came {late:.2f} seconds after its hold had ended")

    @holds("B17")
    def test_extend_prolongs_a_hold_from_now(self) -> None:
        """After `extend` nobody receives the message until the new time has passed since then."""
        self.need_lease()
        one, other = self.pair()
        one.publish([message()])
        taken = self.take(one, hold=2 * self.short_hold_seconds)
        before = time.monotonic()
        assert list(one.extend(taken, hold_seconds=4 * self.short_hold_seconds)) == [True]
        self.take(other)
        took = time.monotonic() - before
        assert took >= 4 * self.short_hold_seconds, f"the prolonged hold ended after {took:.2f} seconds"

    @holds("B17")
    def test_extend_counts_from_now_and_not_on_top(self) -> None:
        """A hold can be cut short too: the new time replaces what was left of the old one."""
        self.need_lease()
        one, other = self.pair()
        one.publish([message()])
        taken = self.take(one)
        before = time.monotonic()
        assert list(one.extend(taken, hold_seconds=self.short_hold_seconds)) == [True]
        self.take(other)
        took = time.monotonic() - before
        assert took < self.hold_seconds / 2, f"a hold that was made shorter lasted {took:.0f} seconds"

    @holds("B17")
    def test_extend_answers_for_each(self) -> None:
        """`extend` says in the order of its batch which messages are still this consumer's."""
        broker = self.fresh()
        broker.publish([message(name) for name in "abcd"])
        taken = sorted(self.take(broker, count=4), key=lambda each: each.message.id)
        broker.acknowledge(taken[1:2])
        broker.dead_letter([(taken[3], "why")])
        assert list(broker.extend(taken, hold_seconds=self.hold_seconds)) == [True, False, True, False]
        self.none_comes(broker)

    @holds("B18")
    def test_what_is_released_comes_back_at_once(self) -> None:
        """A released message may be received by anybody, by another object and by the same, as it was published."""
        one, other = self.pair()
        one.publish([message(body=b"\0\xff", headers={"a": "b"})])
        before = time.monotonic()
        one.release(self.take(one))
        other.release(self.take(other))
        (again,) = self.take(one)
        assert time.monotonic() - before < max(5.0, self.hold_seconds / 4), "it came only when its hold had ended"
        assert (again.message.body, dict(again.message.headers)) == (b"\0\xff", {"a": "b"})
        one.acknowledge([again])
        self.none_comes(other)

    @holds("B18")
    def test_what_is_released_with_a_delay_comes_back_then(self) -> None:
        """A message that is released with a delay is received by nobody before it has passed, fractions included."""
        one, other = self.pair()
        one.publish([message(headers={"a": "b"})])
        for delay in (self.short_delay_seconds, 1.5 * self.short_delay_seconds):
            taken = self.take(one)
            before = time.monotonic()
            one.release(taken, delay_seconds=delay)
            again = self.take(other)
            took = time.monotonic() - before
            assert took >= delay, f"released for {delay} seconds, it came after {took:.3f}"
            assert dict(again[0].message.headers) == {"a": "b"}
            other.release(again)

    @holds("B18")
    def test_a_long_delay_of_a_release_is_kept(self) -> None:
        """A message that is released for long does not come soon, also when its hold would have ended."""
        one, other = self.pair()
        one.publish([message()])
        lease_ends_soon = self.take(one, hold=self.short_hold_seconds)
        one.release(lease_ends_soon, delay_seconds=self.long_delay_seconds())
        self.none_comes(other, seconds=self.short_hold_seconds + self.margin_seconds)
        self.await_sizes(other, delayed=1)

    @holds("B19")
    def test_a_late_acknowledgement_changes_nothing(self) -> None:
        """A consumer whose message is another's now cannot remove it."""
        self._late("acknowledge")

    @holds("B19")
    def test_a_late_release_changes_nothing(self) -> None:
        """A consumer whose message is another's now cannot give it to a third, at once or later."""
        self._late("release")
        self._late("release with a delay")

    @holds("B19")
    def test_a_late_dead_letter_changes_nothing(self) -> None:
        """A consumer whose message is another's now cannot put it aside."""
        self._late("dead_letter")

    @holds("B19")
    def test_a_late_extend_changes_nothing_and_says_so(self) -> None:
        """A consumer whose message is another's now gets False, and prolongs and shortens nothing."""
        former, present, late, _ = self._handed_on()
        assert list(former.extend([late], hold_seconds=self.short_hold_seconds)) == [False]
        self.none_comes(former, seconds=self.short_hold_seconds + self.quiet_seconds)
        assert present is not former

    @holds("B20")
    def test_what_is_settled_is_settled(self) -> None:
        """After a delivery was settled in one way, settling it in any way changes nothing and raises nothing."""
        for first, settle in _WAYS.items():
            broker = self.fresh()
            broker.publish([message()])
            taken = self.take(broker)
            settle(broker, taken)
            for again in _WAYS.values():
                again(broker, taken)
            assert list(broker.extend(taken, hold_seconds=self.hold_seconds)) == [False], f"after {first}"
            self._is_once(broker, first)

    @holds("B20")
    def test_the_same_delivery_twice_in_a_batch_is_settled_once(self) -> None:
        """A batch that names a delivery twice settles it once."""
        for name, settle in _WAYS.items():
            broker = self.fresh()
            broker.publish([message()])
            settle(broker, self.take(broker) * 2)
            self._is_once(broker, name)

    @holds("B21")
    def test_others_of_a_batch_are_settled(self) -> None:
        """Deliveries that are settled or stale do not keep the rest of their batch from being settled."""
        for name, settle in _WAYS.items():
            broker, other = self.pair()
            broker.publish([message("stale", "s")])
            stale = self.abandon(broker, "s")
            self.take(other, "s")
            broker.publish([message(each) for each in "abc"])
            taken = sorted(self.take(broker, count=3), key=lambda each: each.message.id)
            broker.acknowledge(taken[1:2])
            settle(broker, [stale, *taken])
            self._is_settled(broker, name, "ac")

    @holds("B21")
    def test_a_batch_of_many_is_settled(self) -> None:
        """A batch may be longer than what the service takes in one call, and from several queues."""
        broker, many = self.fresh(), 57
        broker.publish([message(f"{number}", f"q{number % 3}") for number in range(many)])
        taken = self.take(broker, "q0", "q1", "q2", count=many)
        assert list(broker.extend(taken, hold_seconds=self.hold_seconds)) == [True] * many
        broker.release(taken)
        again = self.take(broker, "q0", "q1", "q2", count=many)
        broker.dead_letter([(each, "why") for each in again[:25]])
        broker.acknowledge(again[25:])
        assert list(broker.extend(again, hold_seconds=self.hold_seconds)) == [False] * many, "some were not settled"
        assert sum(len(self.dead(broker, f"q{number}")) for number in range(3)) == 25
        self.none_comes(broker, "q0", "q1", "q2")

    def _handed_on(self) -> tuple[Broker, Broker, Delivery, Delivery]:
        """A former and a present holder of one message, and what each of them was handed."""
        former, present = self.pair()
        former.publish([message()])
        late = self.abandon(former)
        (current,) = self.take(present)
        return former, present, late, current

    def _late(self, way: str) -> None:
        former, present, late, current = self._handed_on()
        _WAYS[way](former, [late])
        self.none_comes(former)
        assert not self.dead(former), f"a late {way} has put it aside"
        assert list(present.extend([current], hold_seconds=self.hold_seconds)) == [True], f"a late {way} has taken it"
        present.release([current])
        assert ids(self.take(present)) == ["m"], f"a late {way} has removed it"

    def _is_once(self, broker: Broker, way: str) -> None:
        """There is what one settlement leaves, and no more."""
        if way == "acknowledge":
            self.none_comes(broker)
        elif not way.startswith("release"):
            assert len(self.dead(broker)) == 1, f"{len(self.dead(broker))} dead letters of one message"
            return
        else:
            broker.acknowledge(self.take(broker))
        self.none_comes(broker)
        assert not self.dead(broker), f"after {way} it is a dead letter too"

    def _is_settled(self, broker: Broker, way: str, names: str) -> None:
        if way == "dead_letter":
            assert sorted(ids(self.dead(broker))) == list(names)
        elif way.startswith("release"):
            assert sorted(ids(self.take(broker, count=len(names)))) == list(names)
        else:
            self.none_comes(broker)
            self.await_sizes(broker)
        assert not self.dead(broker, "s")
