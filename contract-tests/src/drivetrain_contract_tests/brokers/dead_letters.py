"""Clauses B28 to B30."""

from __future__ import annotations

import time

from drivetrain.contract import DEAD_AT_HEADER, DEAD_REASON_HEADER, Broker, Delivery
from drivetrain_contract_tests.attack_payloads import BODIES
from drivetrain_contract_tests.brokers.base import Bench, ids, message
from drivetrain_contract_tests.clauses import holds

__all__ = ["DeadLetters"]

_ADDED = {DEAD_REASON_HEADER, DEAD_AT_HEADER}


class DeadLetters(Bench):
    """What is put aside is kept, seen, and can be put back."""

    @holds("B28")
    def test_the_dead_are_received_by_nobody(self) -> None:
        """A dead letter is not ready, and does not become so with the end of its hold or the close of its consumer."""
        one, other = self.pair()
        one.publish([message("dead")])
        one.dead_letter([(self.take(one, hold=self.short_hold_seconds)[0], "why")])
        one.close()
        self.none_comes(other, seconds=self.short_hold_seconds + self.margin_seconds)
        assert ids(self.dead(other)) == ["dead"]

    @holds("B28")
    def test_the_dead_are_kept_as_they_were_with_reason_and_time(self) -> None:
        """Body, id, queue, headers and priority stay; two headers tell why and when; no more are added."""
        broker, highest = self.fresh(), self.capabilities.priority_levels - 1
        broker.publish([message("m ü", body=b"\0\xff", headers={"a": "b"}, priority=highest)])
        before, reason = time.time(), "no task of the name 'tàsk'\nsecond line"
        broker.dead_letter([(self.take(broker)[0], reason)])
        (dead,) = self.dead(broker)
        assert (dead.id, dead.queue, dead.body, dead.priority) == ("m ü", "q", b"\0\xff", highest)
        assert dead.headers[DEAD_REASON_HEADER] == reason
        assert before - 1 <= float(dead.headers[DEAD_AT_HEADER]) <= time.time() + 1
        assert {name: dead.headers[name] for name in set(dead.headers) - _ADDED} == {"a": "b"}

    @holds("B28")
    def test_large_letters_and_long_reasons_are_kept(self) -> None:
        """Bodies of any kind, and a reason as long as a traceback."""
        broker, reason = self.fresh(), "Traceback ☃ " * 300
        bodies = [body for body in BODIES if len(body) <= (self.capabilities.largest_message_bytes or 10**9) // 2]
        broker.publish([message(f"{number}", body=body) for number, body in enumerate(bodies)])
        broker.dead_letter([(each, reason) for each in self.take(broker, count=len(bodies))])
        dead = {each.id: each for each in self.dead(broker)}
        assert {name: each.body for name, each in dead.items()} == {f"{n}": body for n, body in enumerate(bodies)}
        assert all(each.headers[DEAD_REASON_HEADER] == reason for each in dead.values())

    @holds("B28")
    def test_the_newest_reason_stands(self) -> None:
        """A message that carries such headers from an earlier life gets new ones."""
        broker = self.fresh()
        broker.publish([message(headers={DEAD_REASON_HEADER: "old", DEAD_AT_HEADER: "1.0"})])
        broker.dead_letter([(self.take(broker)[0], "new")])
        (dead,) = self.dead(broker)
        assert dead.headers[DEAD_REASON_HEADER] == "new"
        assert float(dead.headers[DEAD_AT_HEADER]) > 1

    @holds("B29")
    def test_peek_shows_the_dead_oldest_first(self) -> None:
        """The order is that in which they died, whatever their priority and order of publication."""
        broker, levels = self.fresh(), self.capabilities.priority_levels
        broker.publish([message(f"{number}", priority=number % levels) for number in range(4)])
        taken = {each.message.id: each for each in self.take(broker, count=4)}
        for name in ("2", "0", "3", "1"):
            broker.dead_letter([(taken[name], "why")])
        assert ids(self.dead(broker)) == ["2", "0", "3", "1"]
        some = ids(self.dead(broker, limit=2))
        assert len(some) == 2, f"asked for two dead letters, it shows {some}"
        assert some == ["2", "0"] or (not self.capabilities.ordered and len(set(some)) == 2), (
            f"the oldest two are {some}"
        )
        assert ids(self.dead(broker)) == ["2", "0", "3", "1"], "to look at them has changed their order"
        assert not self.dead(broker, "unused")

    @holds("B30")
    def test_replay_makes_all_ready(self) -> None:
        """All dead letters of the queue, and of no other, are ready again, as they were published."""
        broker = self.fresh()
        broker.publish([message(name, headers={"h": name}) for name in "abc"])
        broker.publish([message("other", "other")])
        self._bury(broker, self.take(broker, "q", "other", count=4))
        assert broker.replay("q") == 3
        again = self.take(broker, count=3)
        assert {each.message.id: dict(each.message.headers) for each in again} == {name: {"h": name} for name in "abc"}
        assert not self.dead(broker)
        assert ids(self.dead(broker, "other")) == ["other"]
        broker.acknowledge(again)
        self.none_comes(broker, "q", "other")

    @holds("B30")
    def test_replay_makes_those_ready_that_were_asked_for(self) -> None:
        """Of the ids that are asked for, those that are there are replayed, each as often as it is there."""
        broker = self.fresh()
        broker.publish([message(name) for name in ("a", "b", "a", "c")])
        self._bury(broker, self.take(broker, count=4))
        assert broker.replay("q", []) == 0
        assert broker.replay("q", ["a", "unknown", "a"]) == 2
        assert broker.replay("unused") == 0
        assert ids(self.take(broker, count=2)) == ["a", "a"]
        assert sorted(ids(self.dead(broker))) == ["b", "c"]
        self.none_comes(broker)

    @holds("B30")
    def test_those_are_dropped_that_were_asked_for(self) -> None:
        """Of the ids that are asked for, those that are there are dropped, each as often as it is there."""
        broker, other = self.pair()
        broker.publish([message(name) for name in ("a", "b", "a", "c", "d", "A", "e")])
        broker.publish([message("a", "other")])
        self._bury(broker, self.take(broker, count=7))
        self._bury(broker, self.take(broker, "other"))
        broker.publish([message("a")])
        assert broker.drop_dead_letters("q", []) == 0
        assert broker.drop_dead_letters("unused", ["a"]) == 0
        assert broker.drop_dead_letters("q", ["a", "unknown", "a"]) == 2
        assert sorted(ids(self.dead(other))) == ["A", "b", "c", "d", "e"]
        assert ids(self.dead(broker, "other")) == ["a"], "it has dropped a letter of another queue"
        assert other.drop_dead_letters("q", ["c", "e"]) == 2
        assert other.replay("q") == 3
        assert sorted(ids(self.take(broker, count=4))) == ["A", "a", "b", "d"]
        self.none_comes(broker)

    @holds("B30")
    def test_a_replayed_message_has_a_life_like_any_other(self) -> None:
        """It is ready whatever its ETA was, can be settled, and can die again for another reason."""
        broker = self.fresh()
        broker.publish([message(eta=time.time() + 0.05)])
        self._bury(broker, self.take(broker))
        assert broker.replay("q", ["m"]) == 1
        broker.dead_letter([(self.take(broker)[0], "again")])
        (dead,) = self.dead(broker)
        assert dead.headers[DEAD_REASON_HEADER] == "again"
        broker.replay("q")
        broker.acknowledge(self.take(broker))
        self.none_comes(broker)
        assert not self.dead(broker)

    def _bury(self, broker: Broker, deliveries: list[Delivery]) -> None:
        broker.dead_letter([(each, "why") for each in deliveries])
