"""Several threads, objects and processes inside at once (B7, B19, B20, B30, B34, B37)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from drivetrain.contract import Broker, Delivery, Message, QueueSection
from drivetrain_contract_tests.brokers import consumer_process
from drivetrain_contract_tests.brokers.background import Background, frequent_switches, rounds, together
from drivetrain_contract_tests.brokers.base import Bench, ids, message
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared, NotRun

__all__ = ["Races"]

_THREADS = 4
#: How many messages that are ready, and as many that become due, are taken by threads at once.
_FOUGHT_FOR = 20
#: How many messages the processes take from each other.
_OF_PROCESSES = 300


class Races(Bench):
    """What is looked up first and changed afterwards is wrong when another is inside meanwhile.

    Threads start from a barrier and are switched as often as Python can, for as long as the profile says.
    """

    @holds("B7")
    def test_consumers_that_ask_for_one_message_at_once_get_it_once(self) -> None:
        """Consumers that take one message after the other, some of which become due meanwhile, share none of them."""
        namespace = self.service.namespace()
        consumers = [self.on(namespace) for _ in range(_THREADS)]
        for consumer in consumers:
            consumer.ping()
        with frequent_switches():
            for number in rounds(self.profile.seconds):
                now = time.time()
                consumers[0].publish([message(f"{number} ready {each}") for each in range(_FOUGHT_FOR)])
                consumers[0].publish(
                    [message(f"{number} due {each}", eta=now + each / 2_000) for each in range(_FOUGHT_FOR)]
                )
                came = [each for taken in together([partial(self._all, one) for one in consumers]) for each in taken]
                missing = 2 * _FOUGHT_FOR - len(came)
                rest = self.take(consumers[0], count=missing) if missing > 0 else []
                consumers[0].acknowledge(rest)
                self._each_once([*came, *rest])
        self.none_comes(consumers[0], seconds=0.0)

    def _all(self, broker: Broker) -> list[Delivery]:
        """What comes one by one, until nothing does."""
        taken: list[Delivery] = []
        while found := broker.receive(["q"], limit=1, wait_seconds=0.004, hold_seconds=self.hold_seconds):
            broker.acknowledge(found)
            taken += found
        return taken

    def _each_once(self, came: Sequence[Delivery]) -> None:
        twice = [name for name, times in Counter(ids(came)).items() if times > 1]
        assert not twice, f"handed out to two consumers that asked at once: {twice}"

    @holds("B7")
    def test_processes_that_ask_at_once_share_no_message(self) -> None:
        """The same of consumers in several processes."""
        if not self.capabilities.shared:
            raise NotDeclared("not declared: shared")
        if self.service.broker_maker is not None and not self.service.prelude:
            raise NotRun("the driver is not installed: another process cannot find it by its URL")
        namespace = self.service.namespace()
        broker = self.on(namespace)
        broker.publish([message(f"{number}") for number in range(_OF_PROCESSES)])
        url = self.service.url(namespace)
        handed = consumer_process.take_at_once(self.service, url, 2)
        twice = [name for name, times in Counter(handed).items() if times > 1]
        assert not twice, f"{len(twice)} of {_OF_PROCESSES} messages were handed out to two processes: {twice[:5]}"
        assert len(handed) == _OF_PROCESSES, f"two processes were handed {len(handed)} of {_OF_PROCESSES} messages"

    @holds("B20")
    def test_one_delivery_that_is_settled_twice_at_once_is_settled_once(self) -> None:
        """Two threads settle the same delivery: one of them does, the other changes nothing."""
        one = self.fresh()
        ways: list[tuple[str, Callable[[Broker, list[Delivery]], object], int, int]] = [
            ("released", lambda broker, taken: broker.release(taken), 1, 0),
            ("dead-lettered", lambda broker, taken: broker.dead_letter([(each, "why") for each in taken]), 0, 1),
            ("acknowledged", lambda broker, taken: broker.acknowledge(taken), 0, 0),
        ]
        with frequent_switches():
            for number in rounds(self.profile.seconds):
                how, settle, ready, dead = ways[number % len(ways)]
                queue = f"q{number % len(ways)}"
                one.publish([message(f"{number}", queue)])
                taken = self.take(one, queue)
                together([partial(settle, one, list(taken))] * 3)
                came = one.receive([queue], limit=9, wait_seconds=0.0, hold_seconds=self.hold_seconds)
                came = came or (self.take(one, queue) if ready else [])
                assert len(came) == ready, f"one delivery was {how} by several at once, and {len(came)} messages came"
                died = self.dead(one, queue)
                assert len(died) == dead, f"one delivery was {how} by several at once: {len(died)} dead letters"
                one.acknowledge(came)
                one.drop_dead_letters(queue, ids(died))

    @holds("B30")
    def test_two_replays_at_once_replay_each_letter_once(self) -> None:
        """Together they say how many there were, and each message comes once."""
        one, other = self.pair()
        with frequent_switches():
            for number in rounds(self.profile.seconds):
                one.publish([message(f"{number} {each}") for each in range(4)])
                one.dead_letter([(each, "why") for each in self.take(one, count=4)])
                told = together([partial(broker.replay, "q") for broker in (one, other, one)])
                came = self.take(one, count=4)
                came += one.receive(["q"], limit=9, wait_seconds=0.0, hold_seconds=self.hold_seconds)
                assert len(came) == 4, f"of four dead letters, replays at once made {len(came)} messages"
                assert sum(told) == 4, f"of four dead letters, three replays at once say that they replayed {told}"
                one.acknowledge(came)

    @holds("B34")
    def test_purges_at_once_count_each_message_once(self) -> None:
        """While others publish: what was purged and what is left are what was published."""
        one, other = self.pair()
        if not self.capabilities.exact_sizes:
            raise NotDeclared("not declared: exact_sizes")
        with frequent_switches():
            for number in rounds(self.profile.seconds):
                one.publish([message(f"{number} {each}") for each in range(3)])
                more = [message(f"{number} more {each}") for each in range(3)]
                told = together(
                    [partial(self._publish_each, one, more), *(partial(_purge, each) for each in (one, other))]
                )
                left = self._left(one)
                assert sum(told) + left == 6, f"of six messages, purges at once say {told[1:]}, and {left} were left"

    def _left(self, broker: Broker) -> int:
        left = broker.receive(["q"], limit=9, wait_seconds=0.0, hold_seconds=self.hold_seconds)
        broker.acknowledge(left)
        return len(left)

    def _publish_each(self, broker: Broker, messages: list[Message]) -> int:
        for each in messages:
            broker.publish([each])
        return 0

    @holds("B37")
    def test_what_threads_publish_at_once_arrives_as_it_was(self) -> None:
        """On one object, each message arrives once, with its own body, in its own queue."""
        broker = self.fresh()
        with frequent_switches():
            for number in rounds(self.profile.seconds):
                batches = [
                    [message(f"{thread}-{each}", f"q{thread % 2}", body=b"%d" % thread) for each in range(30)]
                    for thread in range(_THREADS)
                ]
                together([partial(self._publish_each, broker, batch) for batch in batches])
                taken = self.take(broker, "q0", "q1", count=30 * _THREADS)
                taken += broker.receive(["q0", "q1"], limit=9, wait_seconds=0.0, hold_seconds=self.hold_seconds)
                found = sorted((each.message.id, each.message.queue, each.message.body) for each in taken)
                sent = sorted((each.id, each.queue, each.body) for batch in batches for each in batch)
                assert found == sent, f"in round {number}, of {len(sent)} messages {len(found)} came"
                broker.acknowledge(taken)

    @holds("B37")
    def test_threads_get_their_own_answers(self) -> None:
        """What `extend` and `sizes` say is about what this thread has asked for."""
        broker = self.fresh()
        broker.publish([message(f"{number}", f"q{number % 2}") for number in range(8)])
        held = self.take(broker, "q0", count=4)
        settled = self.take(broker, "q1", count=4)
        broker.acknowledge(settled)

        def ask(deliveries: list[Delivery], expected: bool) -> None:
            for size in (1, 4, 2, 3) * 10:
                told = list(broker.extend(deliveries[:size], hold_seconds=self.hold_seconds))
                assert told == [expected] * size, (
                    f"of {size} deliveries that are {'' if expected else 'not '}held: {told}"
                )

        with frequent_switches():
            for _ in rounds(self.profile.seconds):
                together([partial(ask, held, True), partial(ask, settled, False)] * 2)

    @holds("B37")
    def test_batches_in_opposite_orders_wait_for_each_other_in_no_circle(self) -> None:
        """Threads that extend and settle the same messages, some from the first to the last, some from the last.

        Where a service locks one message after the other, two of them can hold what the other needs: then one fails.
        """
        one, other = self.pair()
        # A service that does not count at once locks nothing for others, and moves dead letters slowly.
        ways = 3 if self.capabilities.exact_sizes else 2
        with frequent_switches():
            for number in rounds(self.profile.seconds):
                one.publish([message(f"{number} {each}") for each in range(20)])
                taken = self.take(one, count=20)
                orders = [(broker, order) for broker in (one, other) for order in (taken, taken[::-1])]
                together([partial(broker.extend, order, hold_seconds=self.hold_seconds) for broker, order in orders])
                if number % ways == 0:
                    together([partial(broker.release, order) for broker, order in orders])
                    one.acknowledge(self.take(one, count=20))
                elif number % ways == 1:
                    together([partial(broker.acknowledge, order) for broker, order in orders])
                else:
                    dead = [[(delivery, "why") for delivery in order] for _, order in orders]
                    together(
                        [partial(broker.dead_letter, each) for (broker, _), each in zip(orders, dead, strict=True)]
                    )
                    self._replay_in_opposite_orders(one, other, taken)
        self.none_comes(one, seconds=0.0)

    def _replay_in_opposite_orders(self, one: Broker, other: Broker, taken: Sequence[Delivery]) -> None:
        """Replay dead letters by their ids, from both ends; then acknowledge them."""
        names = ids(taken)
        dead = ids(self.dead(one))
        assert sorted(dead) == sorted(names), f"dead letters: {dead}"
        calls = [partial(broker.replay, "q", order) for broker in (one, other) for order in (names, names[::-1])]
        replayed = sum(together(calls))
        assert replayed == len(names), f"of {len(names)} dead letters {replayed} were replayed"
        one.acknowledge(self.take(one, count=len(names)))

    @holds("B37")
    def test_threads_settle_at_once(self) -> None:
        """On one object, threads acknowledge what they have received: no call fails, and no message comes again."""
        broker = self.fresh()
        with frequent_switches():
            for number in rounds(self.profile.seconds):
                broker.publish([message(f"{number} {each}") for each in range(12)])
                taken = self.take(broker, count=12)
                together([partial(_acknowledge_each, broker, taken[first::_THREADS]) for first in range(_THREADS)])
        self.none_comes(broker, seconds=0.0)

    @holds("B37")
    def test_a_receive_gets_all_that_others_publish(self) -> None:
        """While one thread receives on an object, others publish and settle on it: nothing is lost or doubled."""
        broker, sent = self.fresh(), 40 * _THREADS
        with frequent_switches():
            receiving = Background(lambda: ids(self.take(broker, count=sent)))
            together(
                [
                    partial(self._publish_each, broker, [message(f"{thread} {number}") for number in range(40)])
                    for thread in range(_THREADS)
                ]
            )
            came = receiving.result(2 * self.patience_seconds)
        assert len(set(came)) == sent, f"of {sent} messages, {len(set(came))} came"


def _acknowledge_each(broker: Broker, deliveries: Sequence[Delivery]) -> None:
    for each in deliveries:
        broker.acknowledge([each])


def _purge(broker: Broker) -> int:
    return broker.purge("q", QueueSection.READY)
