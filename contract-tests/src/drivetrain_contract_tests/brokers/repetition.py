"""The second time, and the hundredth (B5, B9, B13, B14, B16 to B18, B28, B30, B33, B34)."""

from __future__ import annotations

import time
from collections.abc import Callable

from drivetrain.contract import DEAD_REASON_HEADER, Broker, Delivery, QueueSection
from drivetrain_contract_tests.brokers.base import Bench, ids, message
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared

__all__ = ["Repetition"]

#: How often a message comes again in profile quick, and in the others: beyond seven bits, and beyond eight.
_FEW_ROUNDS, _MANY_ROUNDS = 130, 260


class Repetition(Bench):
    """What is right once is right again."""

    @property
    def _rounds(self) -> int:
        return _FEW_ROUNDS if self.profile.batch < 10_000 else _MANY_ROUNDS

    @holds("B13", "B18")
    def test_a_message_may_be_released_any_number_of_times(self) -> None:
        """No count of deliveries makes a broker drop a message, or put it aside: that is the worker's decision."""
        broker = self.fresh()
        broker.publish([message(body=b"\0\xff", headers={"a": "b"})])
        for number in range(1, self._rounds + 1):
            (delivery,) = self.take(broker)
            assert delivery.redelivered or number == 1, f"delivery {number} is not said to be redelivered"
            assert (delivery.message.body, dict(delivery.message.headers)) == (b"\0\xff", {"a": "b"})
            broker.release([delivery])
        assert not self.dead(broker)

    @holds("B14", needs="counts_deliveries")
    def test_deliveries_are_counted_beyond_any_byte(self) -> None:
        """The count goes on: it neither stops nor wraps."""
        broker = self.fresh()
        broker.publish([message()])
        for number in range(1, self._rounds + 1):
            (delivery,) = self.take(broker)
            assert delivery.delivery_count == number, f"delivery {number} is counted as {delivery.delivery_count}"
            broker.release([delivery])

    @holds("B16")
    def test_a_message_may_be_lost_again_and_again(self) -> None:
        """The third consumer that does not settle a message loses it as the first did."""
        namespace = self.service.namespace()
        self.on(namespace).publish([message()])
        for _ in range(3):
            self.abandon(self.on(namespace))
        last = self.on(namespace)
        assert ids(self.take(last)) == ["m"]
        assert not self.dead(last)

    @holds("B9")
    def test_a_priority_is_kept_through_release_delay_loss_and_replay(self) -> None:
        """A message that comes again comes before those of lower priority, as it did at first."""
        highest = self.capabilities.priority_levels - 1
        if not highest:
            raise NotDeclared("priority_levels: 1")
        for name, again in self._ways_back().items():
            broker, other = self.pair()
            broker.publish([message("low"), message("high", priority=highest)])
            taken = self.take(broker)
            assert ids(taken) == ["high"]
            again(broker, taken)
            self._await_ready(other, 2)
            (first,) = self.take(other)
            assert first.message.id == "high", f"after {name} it came behind a message of lower priority"
            assert first.message.priority == highest, f"after {name} its priority is {first.message.priority}"

    def _ways_back(self) -> dict[str, Callable[[Broker, list[Delivery]], object]]:
        """Every way in which a message that was handed out becomes ready again."""
        return {
            "a release": lambda broker, taken: broker.release(taken),
            "a release with a delay": lambda broker, taken: broker.release(
                taken, delay_seconds=self.short_delay_seconds
            ),
            "a replay": _replayed,
            "the end of its hold": self._lose,
        }

    def _lose(self, broker: Broker, taken: list[Delivery]) -> None:
        broker.release(taken)
        self.abandon(broker)

    def _await_ready(self, broker: Broker, count: int) -> None:
        """Wait until as many messages are ready, as far as the broker can say; or for as long as that must take."""
        if self.capabilities.exact_sizes and self.sizes(broker).ready is not None:
            self.eventually(lambda: (self.sizes(broker).ready or 0) >= count, lambda: f"{self.sizes(broker)}")
        else:
            self.none_comes(broker, "unused", seconds=self.short_hold_seconds + self.late_seconds)

    @holds("B5")
    def test_messages_of_one_id_have_their_own_bodies_and_headers(self) -> None:
        """An id is not a key: what was published with it first says nothing of what is published with it next."""
        broker = self.fresh()
        first = [message(body=b"%d" % number, headers={"n": f"{number}"}) for number in range(3)]
        broker.publish(first[:1])
        broker.publish(first[1:])
        found = sorted((each.message.body, dict(each.message.headers)["n"]) for each in self.take(broker, count=3))
        assert found == [(b"0", "0"), (b"1", "1"), (b"2", "2")]

    @holds("B17")
    def test_a_hold_may_be_extended_again(self) -> None:
        """Each `extend` counts, and not the first alone."""
        self.need_lease()
        broker = self.fresh()
        broker.publish([message()])
        taken = self.take(broker)
        for _ in range(3):
            assert list(broker.extend(taken, hold_seconds=self.hold_seconds)) == [True]
        before = time.monotonic()
        assert list(broker.extend(taken, hold_seconds=self.short_hold_seconds)) == [True]
        assert ids(self.take(broker)) == ["m"]
        took = time.monotonic() - before
        assert took < self.hold_seconds / 2, (
            f"a hold that was made shorter by its last extension lasted {took:.0f} seconds"
        )

    @holds("B28", "B30")
    def test_a_message_may_die_again(self) -> None:
        """Each death has its own reason, and each replay brings the message back as it was published."""
        broker = self.fresh()
        broker.publish([message(headers={"a": "b"})])
        for reason in ("first", "second", "third"):
            broker.dead_letter([(self.take(broker)[0], reason)])
            (dead,) = self.dead(broker)
            assert dead.headers[DEAD_REASON_HEADER] == reason
            assert broker.replay("q") == 1, f"after the {reason} death"
        (again,) = self.take(broker)
        assert dict(again.message.headers) == {"a": "b"}

    @holds("B33")
    def test_looking_twice_shows_the_same(self) -> None:
        """What was shown once is shown again."""
        broker = self.fresh()
        broker.publish([message(f"{number}") for number in range(4)])
        broker.dead_letter([(each, "why") for each in self.take(broker, count=2)])
        for section in (QueueSection.READY, QueueSection.DEAD) if self.capabilities.peeks else (QueueSection.DEAD,):
            first, second = (ids(broker.peek("q", section, limit=10)) for _ in range(2))
            assert first == second, f"of what is {section} it showed {first}, and then {second}"
            assert len(first) == 2

    @holds("B34")
    def test_a_queue_may_be_purged_again(self) -> None:
        """A second purge drops what was published since the first."""
        broker = self.fresh()
        for name in ("first", "second"):
            broker.publish([message(name)])
            told = broker.purge("q", QueueSection.READY)
            assert self.counted(told, 1), f"the {name} purge of one message has dropped {told}"
            self.none_comes(broker, seconds=0.0)


def _replayed(broker: Broker, taken: list[Delivery]) -> None:
    broker.dead_letter([(each, "why") for each in taken])
    broker.replay("q")
