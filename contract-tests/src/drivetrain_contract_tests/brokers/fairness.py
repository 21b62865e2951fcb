"""Clauses B48 and B49: the fair keys of a queue take turns, and all else holds for them too."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from random import Random

from drivetrain.contract import FAIR_KEY_HEADER, Broker, Message, QueueSection
from drivetrain_contract_tests.brokers.base import Bench, ids, message
from drivetrain_contract_tests.clauses import holds

__all__ = ["Fairness"]

#: How many messages the line of a busy key has.
_BACKLOG = 40


def keyed(key: str | None, *numbers: int, priority: int = 0, eta: float | None = None) -> list[Message]:
    """Messages of one key; None: without one."""
    headers = {} if key is None else {FAIR_KEY_HEADER: key}
    return [message(f"{key or 'plain'}-{number}", headers=headers, priority=priority, eta=eta) for number in numbers]


def line_of(message_id: str) -> str:
    """The line of a message of `keyed`."""
    return message_id.rpartition("-")[0]


class Fairness(Bench):
    """Keys that take turns."""

    @holds("B48", needs="fair_keys")
    def test_an_idle_key_waits_for_one_message_of_each_other_line(self) -> None:
        """However many messages of other keys, and of none, wait: also while these are delivered."""
        for busy in ("a", None):
            broker = self.fresh()
            broker.publish(keyed(busy, *range(_BACKLOG)))
            self._comes_within(broker, "b", 2)
            self.take(broker, count=7)
            broker.publish(keyed(busy, *range(_BACKLOG, 2 * _BACKLOG)))
            self._comes_within(broker, "b", 2)
            broker.publish(keyed("c", *range(_BACKLOG)))
            self.take(broker, count=6)
            self._comes_within(broker, "b", 3)

    @holds("B48", needs="fair_keys")
    def test_messages_without_a_key_are_one_more_line(self) -> None:
        """A single one does not wait for the line of a busy key; and many keys that come do not overtake it."""
        broker = self.fresh()
        broker.publish(keyed("a", *range(_BACKLOG)))
        self.take(broker, count=3)
        broker.publish(keyed(None, 0))
        assert "plain-0" in ids(self.take(broker, count=2)), "a message without a key waited for a line"
        broker.publish(keyed("b", *range(_BACKLOG)) + keyed(None, 1))
        for number in range(5):
            broker.publish(keyed(f"new {number}", 0))
        assert "plain-1" in ids(self.take(broker, count=4)), "keys that came later have overtaken a message without one"

    @holds("B48", needs="fair_keys")
    def test_lines_take_turns(self) -> None:
        """While several lines have messages, each has one in every round; an ordered broker keeps the order of each."""
        for seed in range(5):
            self._is_fair(self.fresh(), Random(seed))

    def _is_fair(self, broker: Broker, random: Random) -> None:
        """Publish to some lines and receive, at random; check the rules of fairness on what came."""
        waiting, came = dict[str, list[str]](), Counter[str]()
        #: For each line that waits: how many messages of every line had come when its first message became the first.
        since = dict[str, Counter[str]]()
        published = Counter[str]()
        for _ in range(30):
            for key in random.sample(["a", "b", "c", "d", None], k=random.randint(0, 3)):
                name = key or "plain"
                first, number = published[name], random.choice([1, 1, 2, 12])
                published[name] += number
                batch = keyed(key, *range(first, first + number))
                broker.publish(batch)
                if not waiting.get(name):
                    since[name] = came.copy()
                waiting.setdefault(name, []).extend(ids(batch))
            number = min(sum(map(len, waiting.values())), random.randint(0, 6))
            for found in ids(self.take(broker, count=number)) if number else []:
                name = line_of(found)
                if self.capabilities.ordered:
                    assert waiting[name][0] == found, f"{found} came before {waiting[name][0]}"
                others = came - since[name]
                del others[name]
                assert all(times <= 2 for times in others.values()), f"{found} waited for {dict(others)}"
                waiting[name].remove(found)
                came[name] += 1
                since[name] = came.copy()
        rest = sum(map(len, waiting.values()))
        left = ids(self.take(broker, count=rest)) if rest else []
        assert sorted(left) == sorted(each for some in waiting.values() for each in some)

    @holds("B48", needs="fair_keys")
    def test_delayed_messages_join_their_lines_when_they_are_due(self) -> None:
        """Many of one key that become due together keep another key waiting for one of them."""
        broker = self.fresh()
        due = time.time() + self.short_delay_seconds
        broker.publish(keyed("a", *range(_BACKLOG), eta=due) + keyed("b", 0, eta=due + 0.01))
        self.await_sizes(broker, ready=_BACKLOG + 1)
        assert "b-0" in ids(self.take(broker, count=2)), "a delayed message waited for the line of another key"
        came = ids(self.take(broker, count=_BACKLOG - 1))
        assert came == [f"a-{number}" for number in range(_BACKLOG) if f"a-{number}" in came]

    @holds("B48", needs="fair_keys")
    def test_priorities_come_first(self) -> None:
        """Keys take turns within a priority, and higher priorities come first."""
        broker, highest = self.fresh(), self.capabilities.priority_levels - 1
        broker.publish(keyed("a", *range(4)) + keyed("b", 0) + keyed("a", 10, 11, priority=highest))
        came = ids(self.take(broker, count=4))
        assert came[:2] == ["a-10", "a-11"] if highest else True, f"{came} came first"
        self._comes_within(broker, "c", 3)

    @holds("B48", needs="fair_keys")
    def test_keys_that_end_lose_nothing_and_begin_again(self) -> None:
        """A line that is emptied, by receiving or by a purge, has no debts: its next message joins the round."""
        broker = self.fresh()
        for turn in range(3):
            broker.publish(keyed("a", *range(_BACKLOG)))
            if turn == 1:
                assert self.counted(self.purge(broker, "q", QueueSection.READY), _BACKLOG)
            else:
                broker.acknowledge(self.take(broker, count=_BACKLOG))
            broker.publish(keyed("b", *range(6)))
            broker.publish(keyed("a", turn))
            came = ids(self.take(broker, count=2))
            assert f"a-{turn}" in came, f"after it was empty, a line had to wait for {came}"
            broker.acknowledge(self.take(broker, count=5))
        self.await_sizes(broker, in_flight=6)

    @holds("B49", needs="fair_keys")
    def test_released_messages_come_again_first(self) -> None:
        """A message that is released keeps its turn: it waits for no line."""
        broker = self.fresh()
        broker.publish(keyed("a", *range(_BACKLOG)) + keyed("b", *range(_BACKLOG)))
        taken = self.take(broker, count=6)
        broker.release(taken)
        again = self.take(broker, count=6)
        assert sorted(ids(again)) == sorted(ids(taken))
        assert all(each.redelivered for each in again)
        assert not any(each.redelivered for each in self.take(broker, count=2))

    @holds("B49", needs="fair_keys")
    def test_messages_whose_hold_has_ended_come_again_first(self) -> None:
        """What a dead consumer held keeps its turn: it waits for no line."""
        self.need_lease()
        broker = self.fresh()
        broker.publish(keyed("a", *range(_BACKLOG)) + keyed("b", *range(_BACKLOG)))
        taken = self.take(broker, count=6, hold=self.short_hold_seconds)
        time.sleep(self.short_hold_seconds + self.late_seconds)
        again = self.take(broker, count=6)
        assert sorted(ids(again)) == sorted(ids(taken)), f"{ids(taken)} were held, and {ids(again)} came first"
        assert all(each.redelivered for each in again)

    @holds("B49", needs="fair_keys")
    def test_sections_hold_messages_of_all_keys(self) -> None:
        """Sizes, peek, purge, dead letters and replay treat the lines of a queue as one queue."""
        broker = self.fresh()
        later = time.time() + self.long_delay_seconds()
        broker.publish(keyed("a", *range(5)) + keyed("b", 0, 1) + keyed(None, 0) + keyed("c", 9, eta=later))
        self.await_sizes(broker, ready=8, delayed=1)
        if self.capabilities.lists_queues:
            assert list(broker.queues()) == ["q"], "a line is listed as a queue"
        taken = self.take(broker, count=2)
        broker.dead_letter([(each, "why") for each in taken])
        self.await_sizes(broker, ready=6, delayed=1, dead=2)
        assert broker.replay("q") == 2
        self.await_sizes(broker, ready=8, delayed=1)
        if self.capabilities.peeks:
            self._peeks_in_order(broker)
        else:
            broker.release(self.take(broker, count=8))
        assert self.counted(self.purge(broker, "q", QueueSection.READY), 8)
        self.none_comes(broker)
        self.await_sizes(broker, delayed=1)

    def _peeks_in_order(self, broker: Broker) -> None:
        shown = ids(broker.peek("q", QueueSection.READY, limit=10))
        assert ids(broker.peek("q", QueueSection.READY, limit=3)) == shown[:3]
        came = self.take(broker, count=8)
        assert ids(came) == shown, f"{shown} was shown, and {ids(came)} came"
        broker.release(came)

    @holds("B49", needs="fair_keys")
    def test_a_message_keeps_its_key(self) -> None:
        """Any text is a key, and arrives as it was published: also with a delay, and after a replay."""
        broker = self.fresh()
        for key in _odd_keys():
            headers = {FAIR_KEY_HEADER: key, "x": "y"}
            broker.publish([message(headers=headers), message("b", eta=time.time() - 5, headers=headers)])
            for delivery in self.take(broker, count=2):
                assert dict(delivery.message.headers) == headers
                broker.dead_letter([(delivery, "why")])
            broker.replay("q")
            replayed = self.take(broker, count=2)
            assert [dict(each.message.headers) for each in replayed] == [headers, headers]
            broker.acknowledge(replayed)

    @holds("B49", needs="fair_keys")
    def test_the_age_of_a_line_counts(self) -> None:
        """The oldest ready message may be of any key."""
        broker = self.fresh()
        broker.publish(keyed("a", *range(5)))
        self.take(broker, count=1)
        time.sleep(self.quiet_seconds)
        broker.publish(keyed("b", 0))
        if self.capabilities.measures_age:
            age = self.sizes(broker).oldest_seconds
            assert age is not None
            assert age >= self.quiet_seconds / 2, f"the age is {age} s"

    def _comes_within(self, broker: Broker, key: str, number: int) -> None:
        """Check that a message of an idle key is among the next ones, and settle it."""
        (one,) = keyed(key, 0)
        broker.publish([one])
        came = self.take(broker, count=number)
        assert one.id in ids(came), f"{one.id} is not among the next {number}: {ids(came)}"
        broker.acknowledge([each for each in came if each.message.id == one.id])


def _odd_keys() -> Sequence[str]:
    return ("", "a b", "\0", 'quoted "x" \\', "grün", "{x}", "n\new", "k" * 500)
