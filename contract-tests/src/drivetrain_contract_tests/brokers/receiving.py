"""Clauses B6 to B14."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from drivetrain.contract import Broker, Delivery, SystemClock
from drivetrain_contract_tests.brokers.background import Background, together
from drivetrain_contract_tests.brokers.base import Bench, ids, message
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.comparing import assert_same
from drivetrain_contract_tests.contract import NotDeclared

__all__ = ["Receiving"]

_IDLE_SECONDS = 1.0
#: What a driver may use of a processor while it waits: the thread that waits, and all threads together.
_IDLE_THREAD_SECONDS = 0.1
_IDLE_PROCESS_SECONDS = 0.15
#: How often it may ask the clock in a second of waiting.
_IDLE_LOOKS = 400


class _Counting(SystemClock):
    """A clock that counts how often it is asked."""

    def __init__(self) -> None:
        self.looks = 0

    def now(self) -> float:
        self.looks += 1
        return super().now()

    def monotonic(self) -> float:
        self.looks += 1
        return super().monotonic()


class Receiving(Bench):
    """Which consumer receives what, in which order, and when."""

    @holds("B6")
    def test_no_more_than_were_asked_for(self) -> None:
        """The limit is that of the whole call, whatever lies in its queues."""
        broker = self.fresh()
        broker.publish([message(f"{queue}{number}", queue) for queue in "ab" for number in range(6)])
        seen: list[str] = []
        while len(seen) < 12:
            found = broker.receive(
                ["a", "b"], limit=4, wait_seconds=self.patience_seconds, hold_seconds=self.hold_seconds
            )
            assert 1 <= len(found) <= 4, f"{len(found)} messages came where 4 were asked for"
            seen += ids(found)
        assert len(set(seen)) == 12

    @holds("B6")
    def test_only_queues_that_were_asked_for(self) -> None:
        """Messages of other queues are left alone, also those whose name begins alike."""
        broker, consumer = self.pair()
        broker.publish([message("other", "q2"), message("upper", "Q"), message("longer", "q.x")])
        self.none_comes(consumer, "q", "unused")
        broker.publish([message("mine")])
        assert ids(self.take(consumer, "unused", "q")) == ["mine"]

    @holds("B7")
    def test_what_is_held_is_nobody_elses(self) -> None:
        """A held message is not received again, by the same object or by another one."""
        one, other = self.pair()
        one.publish([message("a"), message("b")])
        first, second = self.take(one), self.take(other)
        assert sorted(ids([*first, *second])) == ["a", "b"]
        self.none_comes(one)
        self.none_comes(other)

    @holds("B7")
    def test_consumers_that_race_never_share_a_message(self) -> None:
        """However many consumers ask at once, each with its own object, every message goes to one of them."""
        for _ in range(self.profile.races):
            namespace = self.service.namespace()
            consumers = [self.on(namespace) for _ in range(4)]
            consumers[0].publish([message(f"{number}") for number in range(40)])
            handed = _race(consumers, 40, self.patience_seconds, self.hold_seconds)
            self.tidy()
            assert sorted(handed, key=int) == [f"{number}" for number in range(40)], f"handed out: {sorted(handed)}"

    @holds("B8")
    def test_earlier_queues_first(self) -> None:
        """Messages of the first queue come first, whatever their priority, then those of the second."""
        broker, highest = self.fresh(), self.capabilities.priority_levels - 1
        broker.publish([message(f"b{number}", "second", priority=highest) for number in range(3)])
        broker.publish([message(f"a{number}", "first") for number in range(3)])
        assert [name[0] for name in ids(self._one_by_one(broker, "first", "second", count=6))] == list("aaabbb")
        broker.publish([message("b", "second"), message("a", "first")])
        assert ids(self._one_by_one(broker, "second", "first", count=2)) == ["b", "a"]

    @holds("B8")
    def test_an_empty_queue_keeps_nobody_waiting(self) -> None:
        """A queue that has nothing does not use up the time of the call before the next one is asked."""
        broker, seconds = self.fresh(), 2 * self.prompt_seconds
        for _ in range(self.tries):
            broker.publish([message("a", "used")])
            before = time.monotonic()
            found = broker.receive(["empty", "used"], limit=9, wait_seconds=2 * seconds, hold_seconds=self.hold_seconds)
            if ids(found) == ["a"] and time.monotonic() - before < seconds:
                return
        raise AssertionError(f"a message in the second queue did not come within {seconds} seconds of {2 * seconds}")

    @holds("B9")
    def test_higher_priorities_first(self) -> None:
        """Of messages that are ready, those of higher priority come first; every declared level is one."""
        levels = self.capabilities.priority_levels
        if levels < 2:
            raise NotDeclared("priority_levels: 1")
        broker, sent = self.fresh(), [level for level in range(levels) for _ in range(2)]
        random.Random(levels).shuffle(sent)
        broker.publish([message(f"{number}", priority=level) for number, level in enumerate(sent)])
        taken = self._one_by_one(broker, "q", count=len(sent))
        assert [each.message.priority for each in taken] == sorted(sent, reverse=True)

    @holds("B10", needs="ordered")
    def test_one_senders_messages_come_in_order(self) -> None:
        """What one sender published, in one batch or in several, comes in that order, also in several calls."""
        broker, consumer = self.pair()
        sent = [f"{number}" for number in range(150)]
        broker.publish([message(name) for name in sent[:100]])
        for name in sent[100:]:
            broker.publish([message(name)])
        taken = [name for _ in range(15) for name in ids(self.take(consumer, count=10))]
        assert_same(taken, sent, "the messages")

    @holds("B10", needs="ordered")
    def test_order_holds_within_each_priority(self) -> None:
        """Messages of one priority keep their order among themselves."""
        broker, levels = self.fresh(), min(3, self.capabilities.priority_levels)
        broker.publish([message(f"{number}", priority=number * 7 % levels) for number in range(30)])
        taken = self.take(broker, count=30)
        for level in range(levels):
            mine = [int(each.message.id) for each in taken if each.message.priority == level]
            assert mine == sorted(mine)

    @holds("B11")
    def test_a_publish_wakes_a_receive_at_once(self) -> None:
        """A `receive` that waits returns when another object publishes, not when its time is out."""
        consumer, sender = self.pair()
        self._prompt(consumer, "q", lambda number: sender.publish([message(f"{number}")]))

    @holds("B11")
    def test_a_publish_by_the_same_object_wakes_it_too(self) -> None:
        """A `receive` that waits returns when its own object publishes, to any of its queues."""
        broker = self.fresh()
        self._prompt(broker, "q", lambda number: broker.publish([message(f"{number}")]))

    @holds("B11", "B18")
    def test_a_release_wakes_a_receive_at_once(self) -> None:
        """A message that another consumer gives back goes at once to one who waits."""
        consumer, other = self.pair()
        other.publish([message(queue="held") for _ in range(self.tries)])
        held = self.take(other, "held", count=self.tries)
        self._prompt(consumer, "held", lambda number: other.release(held[number : number + 1]))

    @holds("B11", "B30")
    def test_a_replay_wakes_a_receive_at_once(self) -> None:
        """A dead letter that is made ready goes at once to one who waits."""
        consumer, other = self.pair()
        other.publish([message(f"{number}") for number in range(self.tries)])
        other.dead_letter([(each, "why") for each in self.take(other, count=self.tries)])
        self._prompt(consumer, "q", lambda number: other.replay("q", [f"{number}"]))

    @holds("B11")
    def test_it_does_not_wait_for_more_than_there_is(self) -> None:
        """One message is enough to return, whatever the limit and the time."""
        broker = self.fresh()
        for _ in range(self.tries):
            broker.publish([message()])
            before = time.monotonic()
            assert broker.receive(["q"], limit=100, wait_seconds=4 * self.prompt_seconds, hold_seconds=30)
            if time.monotonic() - before < self.prompt_seconds:
                return
        raise AssertionError("it has waited for more messages while it had one")

    @holds("B12")
    def test_waiting_ends_when_its_time_is_out(self) -> None:
        """`receive` returns empty after the time that it was given: not before, and not much later."""
        broker, late = self.fresh(), []
        for seconds in (0.0, 0.3):
            for _ in range(2 * self.tries):
                before = time.monotonic()
                self.none_comes(broker, seconds=seconds)
                late.append(time.monotonic() - before - seconds)
                assert late[-1] > -0.05, f"it returned {-late[-1]:.2f} seconds too early, with nothing"
                if late[-1] < self.prompt_seconds:
                    break
            assert late[-1] < self.prompt_seconds, f"it waited {late[-1]:.2f} seconds longer than it was asked to"

    @holds("B12")
    def test_waiting_uses_no_processor(self) -> None:
        """While it waits it sleeps: what it uses of the processor, and how often it asks the clock, stays small.

        Threads that the driver starts count too.
        """
        clock = _Counting()
        broker = self.service.broker(self.service.namespace(), clock)
        self.none_comes(broker, seconds=0.0)  # connects
        others = time.process_time()  # what else there is in this process has threads too
        time.sleep(_IDLE_SECONDS)
        others = time.process_time() - others
        clock.looks, thread, process = 0, time.thread_time(), time.process_time()
        self.none_comes(broker, seconds=_IDLE_SECONDS)
        thread, process = time.thread_time() - thread, time.process_time() - process - others
        broker.close()
        assert thread < _IDLE_THREAD_SECONDS, f"an idle second took {thread:.2f} seconds of processor time"
        assert process < _IDLE_PROCESS_SECONDS, f"an idle second took {process:.2f} seconds in all threads"
        assert clock.looks < _IDLE_LOOKS, f"in an idle second it has asked the clock {clock.looks} times"

    @holds("B13")
    def test_what_was_handed_out_before_says_so(self) -> None:
        """After a release, with and without delay, and after a replay, `redelivered` is true."""
        broker = self.fresh()
        broker.publish([message()])
        broker.release(self.take(broker))
        assert self._again(broker), "after a release"
        broker.release([self._last], delay_seconds=self.short_delay_seconds)
        assert self._again(broker), "after a release with a delay"
        broker.dead_letter([(self._last, "why")])
        broker.replay("q")
        assert self._again(broker), "after a replay"

    @holds("B13", needs="counts_deliveries")
    def test_what_was_never_handed_out_says_so(self) -> None:
        """A message that is handed out for the first time is not `redelivered`, whether it was ready or delayed."""
        broker = self.fresh()
        broker.publish([message("a"), message("b"), message("c", eta=time.time() + self.short_delay_seconds)])
        taken = self.take(broker, count=3)
        again = [each.message.id for each in taken if each.redelivered]
        assert not again, f"said to be redelivered, and handed out for the first time: {again}"

    @holds("B13", "B16")
    def test_what_its_consumer_lost_says_so(self) -> None:
        """A message whose hold has ended comes again, as `redelivered`; core counts on that to see crashes."""
        one, other = self.pair()
        one.publish([message()])
        self.abandon(one)
        assert self._again(other)

    @holds("B14", needs="counts_deliveries")
    def test_deliveries_are_counted(self) -> None:
        """The first delivery is number one, and each one after a release or the end of a hold is one more."""
        one, other = self.pair()
        one.publish([message()])
        first = self.take(one)
        one.release(first)
        second = self.abandon(one)
        third = self.take(other)
        other.release(third, delay_seconds=self.short_delay_seconds)
        fourth = self.take(other)
        assert [each.delivery_count for each in (*first, second, *third, *fourth)] == [1, 2, 3, 4]

    def _one_by_one(self, broker: Broker, *queues: str, count: int) -> list[Delivery]:
        return [each for _ in range(count) for each in self.take(broker, *queues)]

    def _again(self, broker: Broker) -> bool:
        (self._last,) = self.take(broker)
        return self._last.redelivered

    def _prompt(self, consumer: Broker, queue: str, act: Callable[[int], object]) -> None:
        """Fail when nothing that ``act`` does wakes a receive at once; a busy machine has several tries."""
        wait, took = 4 * self.prompt_seconds, 0.0
        for number in range(self.tries):
            waiting = Background(
                lambda: consumer.receive(["e", queue], limit=1, wait_seconds=wait, hold_seconds=self.hold_seconds)
            )
            assert not waiting.ended(0.1), f"it has not waited: {waiting.result()}"
            before = time.monotonic()
            act(number)
            assert len(waiting.result(wait + self.patience_seconds)) == 1, "it has not seen what came while it waited"
            took = time.monotonic() - before
            if took < self.prompt_seconds:
                return
        raise AssertionError(f"a receive that waited returned {took:.2f} seconds after there was a message")


def _race(consumers: list[Broker], total: int, patience: float, hold: float) -> list[str]:
    """What consumers who ask at once were handed, in total."""
    handed: list[str] = []
    lock = threading.Lock()
    deadline = time.monotonic() + patience

    def consume(broker: Broker) -> None:
        while len(handed) < total and time.monotonic() < deadline:
            found = broker.receive(["q"], limit=3, wait_seconds=0.05, hold_seconds=hold)
            with lock:
                handed.extend(ids(found))

    together([lambda broker=broker: consume(broker) for broker in consumers])  # type: ignore[misc]
    return handed
