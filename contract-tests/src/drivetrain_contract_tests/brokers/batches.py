"""Batches of any size, in every call that takes one (B3, B8 to B10, B17, B21, B29 to B32, B34, B35)."""

from __future__ import annotations

import time

from drivetrain.contract import Broker, Delivery, QueueSection
from drivetrain_contract_tests.brokers.base import Bench, ids, message
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.comparing import assert_same
from drivetrain_contract_tests.contract import NotDeclared

__all__ = ["Batches"]

#: More queues than a worker has, and more than one page of them.
_QUEUES = 130
#: More messages than a broker that scans for priorities looks at.
_LOW_PRIORITY = 1_025


class Batches(Bench):
    """A service limits the entries of one call; the driver sends a longer batch in parts."""

    @holds("B3")
    def test_a_batch_of_any_size_arrives(self) -> None:
        """Every message of a large batch arrives once, whatever the service takes in one call."""
        broker, sent = self.fresh(), self._names()
        taken = self._published(broker)
        assert_same(_in_numbers(ids(taken)), sent, "the messages")
        broker.acknowledge(taken)
        self.none_comes(broker)

    @holds("B3")
    def test_batches_of_many_sizes_arrive(self) -> None:
        """One message more or less than a common limit makes no difference."""
        broker = self.fresh()
        for size in (10, 11, 99, 100, 101, 127, 128, 255, 256, 257):
            broker.publish([message(f"{number}") for number in range(size)])
            taken = self.take(broker, count=size)
            assert_same(_in_numbers(ids(taken)), [f"{number}" for number in range(size)], f"of a batch of {size}")
            broker.acknowledge(taken)
            self.none_comes(broker, seconds=0.0)

    @holds("B10", needs="ordered")
    def test_a_large_batch_keeps_its_order(self) -> None:
        """The parts in which the driver sends a batch arrive in the order of the batch."""
        assert_same(ids(self._published(self.fresh())), self._names(), "the messages")

    @holds("B17")
    def test_every_hold_of_a_large_batch_is_extended(self) -> None:
        """The answer has an entry for each delivery of the batch, and each hold has its new end."""
        self.need_lease()
        broker = self.fresh()
        taken = self._published(broker)
        told = list(broker.extend(taken, hold_seconds=self.short_hold_seconds))
        assert_same(told, [True] * len(taken), "the answers of extend")
        self.take(broker, count=len(taken))

    @holds("B17")
    def test_extend_of_a_large_batch_finds_those_that_are_lost(self) -> None:
        """Of a large batch, `extend` says of each entry whether it is held, also far behind the first."""
        broker = self.fresh()
        taken = self._published(broker)
        broker.acknowledge(taken[1::2])
        told = list(broker.extend(taken, hold_seconds=self.hold_seconds))
        assert_same(told, [number % 2 == 0 for number in range(len(taken))], "the answers of extend")

    @holds("B21")
    def test_a_large_batch_is_acknowledged(self) -> None:
        """After one call with all of them, none is held, and none comes back."""
        broker = self.fresh()
        taken = self._published(broker)
        broker.acknowledge(taken)
        held = sum(broker.extend(taken, hold_seconds=self.hold_seconds))
        assert not held, f"of a batch of {len(taken)} acknowledged messages, {held} are still held"
        self.await_sizes(broker)

    @holds("B18", "B21")
    def test_a_large_batch_is_released(self) -> None:
        """After one call with all of them, all come back: at once, and those with a delay after it."""
        broker = self.fresh()
        taken = self._published(broker)
        broker.release(taken)
        again = self.take(broker, count=len(taken))
        broker.release(again, delay_seconds=self.short_delay_seconds)
        assert_same(_in_numbers(ids(self.take(broker, count=len(taken)))), self._names(), "the released messages")

    @holds("B21", "B28", "B29", "B30")
    def test_a_large_batch_is_dead_lettered_shown_and_replayed(self) -> None:
        """Every letter of the batch is kept with its own reason, is shown, and is replayed or dropped."""
        broker, sent = self.fresh(), self._names()
        taken = self._published(broker)
        broker.dead_letter([(each, f"why {each.message.id}") for each in taken])
        dead = sorted(self.dead(broker, limit=len(sent) + 1), key=lambda each: int(each.id))
        assert_same(ids(dead), sent, "the dead letters")
        assert broker.replay("q") == len(sent)
        assert not self.dead(broker)
        broker.acknowledge(self.take(broker, count=len(sent)))
        self.none_comes(broker, seconds=0.0)

    @holds("B30")
    def test_many_ids_are_replayed_or_dropped(self) -> None:
        """The list of ids may be as long as that of the dead letters."""
        broker, sent = self.fresh(), self._names()
        broker.dead_letter([(each, "why") for each in self._published(broker)])
        chosen, rest = sent[len(sent) // 2 :], sent[: len(sent) // 2]
        assert broker.replay("q", chosen) == len(chosen)
        assert_same(_in_numbers(ids(self.take(broker, count=len(chosen)))), chosen, "the replayed messages")
        assert broker.drop_dead_letters("q", rest) == len(rest)
        assert not self.dead(broker)

    @holds("B31", "B34")
    def test_many_messages_are_counted_and_purged(self) -> None:
        """Sizes and purges count as far as there are messages, in every section of a queue."""
        broker, many = self.fresh(), self.profile.batch
        broker.dead_letter([(each, "why") for each in self._published(broker)])
        eta = time.time() + self.long_delay_seconds()
        broker.publish([message(f"{number}") for number in range(many)])
        broker.publish([message(f"{number}", eta=eta) for number in range(many)])
        self.await_sizes(broker, ready=many, delayed=many, dead=many)
        for section in QueueSection:
            told = self.purge(broker, "q", section)
            assert told is None or self.counted(told, many), f"of {many} that were {section} it has purged {told}"
        self.none_comes(broker)
        assert not self.dead(broker)

    @holds("B32", needs="peeks")
    def test_peek_shows_as_many_as_were_asked_for(self) -> None:
        """Up to the limit, `peek` shows all that is there, however much that is."""
        broker, many = self.fresh(), self.profile.batch
        eta = time.time() + self.long_delay_seconds()
        broker.publish([message(f"{number}") for number in range(many)])
        broker.publish([message(f"{number}", eta=eta) for number in range(many)])
        for section in (QueueSection.READY, QueueSection.DELAYED):
            shown = ids(broker.peek("q", section, limit=many + 1))
            assert_same(_in_numbers(shown), self._names(), f"what is {section}")
            assert len(broker.peek("q", section, limit=many - 1)) == many - 1

    @holds("B8")
    def test_a_receive_from_many_queues_asks_all_of_them(self) -> None:
        """A message in the last of many queues comes, and it comes after those of the queues before."""
        broker, names = self.fresh(), [f"q{number}" for number in range(40)]
        broker.publish([message("last", names[-1]), message("middle", names[20])])
        assert ids([each for _ in range(2) for each in self.take(broker, *names)]) == ["middle", "last"]

    @holds("B31")
    def test_the_sizes_of_many_queues(self) -> None:
        """The answer has an entry for each queue that was asked for, however many; each is that queue's own."""
        broker, names = self.fresh(), [f"q{number}" for number in range(_QUEUES)]
        broker.publish([message("last", names[-1])])
        told = broker.sizes(names)
        assert sorted(told) == sorted(names)
        self.await_sizes(broker, names[-1], ready=1)
        if self.capabilities.exact_sizes:
            self.eventually(
                lambda: broker.sizes(names)[names[-1]].ready in {1, None},
                lambda: (
                    f"asked for {_QUEUES} queues at once, it says that the last has {broker.sizes(names)[names[-1]]}"
                ),
            )

    @holds("B35", needs="lists_queues")
    def test_many_queues_are_named(self) -> None:
        """All queues are listed, however many pages the service makes of them."""
        broker, names = self.fresh(), sorted(f"q{number}" for number in range(_QUEUES))
        broker.publish([message(queue=name) for name in names])
        assert_same(list(broker.queues()), names, "the names of queues")

    @holds("B9")
    def test_a_high_priority_comes_first_of_many(self) -> None:
        """A message of high priority overtakes however many of lower priority are there already."""
        highest = self.capabilities.priority_levels - 1
        if not highest:
            raise NotDeclared("priority_levels: 1")
        broker, many = self.fresh(), min(_LOW_PRIORITY, self.profile.batch)
        broker.publish([message(f"{number}") for number in range(many)])
        broker.publish([message("high", priority=highest)])
        assert ids(self.take(broker)) == ["high"]

    def _names(self) -> list[str]:
        return [f"{number}" for number in range(self.profile.batch)]

    def _published(self, broker: Broker) -> list[Delivery]:
        """The deliveries of a large batch, published in one call."""
        names = self._names()
        broker.publish([message(name) for name in names])
        return self.take(broker, count=len(names))


def _in_numbers(names: list[str]) -> list[str]:
    """Numbers that are written as text, in their order."""
    return sorted(names, key=int)
