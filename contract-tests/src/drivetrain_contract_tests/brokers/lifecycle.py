"""Clauses B36 to B39, and B45."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from drivetrain.contract import (
    Broker,
    Delivery,
    QueueSection,
    ServiceError,
)
from drivetrain_contract_tests.brokers.background import Background, together
from drivetrain_contract_tests.brokers.base import Bench, ids, message
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.io_audit import io_of_this_thread
from drivetrain_contract_tests.refusing import assert_impossible_urls_are_refused
from drivetrain_contract_tests.urls import alike, with_namespace, without_namespace

__all__ = ["Life"]


class Life(Bench):
    """Making and closing, threads and namespaces."""

    @holds("B36")
    def test_making_a_broker_does_no_io(self) -> None:
        """A broker connects with its first call. Making one opens no socket and writes no file."""
        self.fresh().close()  # what is imported late is imported now
        with io_of_this_thread() as found:
            broker = self.fresh()
            _ = broker.capabilities
        assert not found, f"making a broker did I/O: {found}"

    @holds("B36")
    def test_ping_returns_when_the_service_can_be_used(self) -> None:
        """`ping` is the first call as well as any other, and raises nothing while the service is well."""
        broker = self.fresh()
        broker.ping()
        broker.publish([message()])
        broker.ping()
        assert ids(self.take(broker)) == ["m"]

    @holds("B37")
    def test_threads_publish_and_settle_at_once(self) -> None:
        """What several threads publish, receive and settle on one object is published and settled, each thing once."""
        for _ in range(self.profile.races):
            broker = self.fresh()
            together([partial(self._publish_some, broker, f"{thread}") for thread in range(4)])
            taken = self.take(broker, count=40)
            assert sorted(ids(taken)) == sorted(f"{thread}-{number}" for thread in range(4) for number in range(10))
            together([partial(_settle, broker, taken[start::4], start) for start in range(4)])
            again = self.take(broker, count=20)
            assert sorted(ids(again)) == sorted(ids([*taken[1::4], *taken[3::4]]))
            self.none_comes(broker, seconds=0.0)
            assert len(self.dead(broker)) == 10
            self.tidy()

    @holds("B37")
    def test_a_thread_that_waits_keeps_nobody_waiting(self) -> None:
        """While one thread waits in `receive`, all other methods of the object work for others, and at once."""
        broker, wait = self.fresh(), 8 * self.prompt_seconds
        broker.publish([message(name) for name in "abcd"])
        taken = self.take(broker, count=4)
        waiting = Background(lambda: self.take(broker, "empty"))
        assert not waiting.ended(0.05)
        before = time.monotonic()
        assert all(broker.extend(taken, hold_seconds=self.hold_seconds))
        _settle(broker, taken[:2], 0)
        _settle(broker, taken[2:3], 1)
        _settle(broker, taken[3:], 2)
        broker.sizes(["q"])
        broker.replay("q")
        broker.drop_dead_letters("q", ["unknown"])
        broker.purge("q", QueueSection.DEAD)
        broker.publish([message("end", "empty")])
        assert ids(waiting.result()) == ["end"]
        assert time.monotonic() - before < wait, "other methods have waited for a receive"

    @holds("B38")
    def test_close_twice_and_before_first_use(self) -> None:
        """`close` raises nothing, however often it is called and whether the object was used."""
        unused, used = self.pair()
        unused.close()
        unused.close()
        used.publish([message()])
        used.close()
        used.close()

    @holds("B38")
    def test_an_object_that_was_closed_may_be_used_again(self) -> None:
        """A call after `close` connects again: publish, receive and settle work as they did before."""
        broker = self.fresh()
        for name in ("first", "second"):
            broker.publish([message(name)])
            taken = self.take(broker)
            assert ids(taken) == [name]
            broker.acknowledge(taken)
            broker.close()
        self.none_comes(broker, seconds=0.0)

    @holds("B38")
    def test_close_wakes_a_receive(self) -> None:
        """A `receive` that waits in another thread returns when its object is closed, and raises nothing."""
        wait = min(20.0, self.patience_seconds)
        for attempt in range(1, self.tries + 1):
            broker = self.fresh()
            broker.ping()
            waiting = Background(
                partial(broker.receive, ["q"], limit=1, wait_seconds=wait, hold_seconds=self.hold_seconds)
            )
            assert not waiting.ended(0.1 * attempt), f"it has not waited: {waiting.result()}"
            broker.close()
            if waiting.ended(wait / 4) and self._woken(waiting, last=attempt == self.tries):
                return
        raise AssertionError("close has not woken a receive")

    def _woken(self, waiting: Background[Sequence[Delivery]], *, last: bool) -> bool:
        # On a busy machine the thread may not have been inside yet, and what it returns then is not laid down.
        try:
            assert not waiting.result(), "there was nothing to receive"
        except ServiceError:
            if last:
                raise
            return False
        return True

    @holds("B38")
    def test_close_disturbs_no_other_object(self) -> None:
        """Another object of the namespace goes on, also while it waits."""
        one, other = self.pair()
        one.publish([message("a")])
        wait = self.patience_seconds
        waiting = Background(
            lambda: other.receive(["later"], limit=1, wait_seconds=wait, hold_seconds=self.hold_seconds)
        )
        assert not waiting.ended(0.05), "it has not waited"
        one.close()
        assert not waiting.ended(0.1), f"the close of another object has ended a receive: {waiting.result()}"
        other.publish([message("b", "later")])
        assert ids(waiting.result()) == ["b"]
        assert ids(self.take(other)) == ["a"]

    @holds("B39")
    def test_a_namespace_is_fresh_and_empty(self) -> None:
        """The suite's author: the factory gives an empty place for every name, and the same place for the same name.

        If this fails, look at the factory before the driver: does its URL hold the namespace?
        """
        for _ in range(2):
            broker = self.fresh()
            self.none_comes(broker)
            self.await_sizes(broker)
            assert not self.dead(broker)
            broker.publish([message()])

    @holds("B39")
    def test_two_namespaces_do_not_meet(self) -> None:
        """What happens in one namespace is not seen in another one: messages, dead letters, purges and replays."""
        one, other = self.fresh(), self.fresh()
        for broker, name in ((one, "mine"), (other, "yours")):
            broker.publish([message(f"{name} dead")])
            broker.dead_letter([(self.take(broker)[0], "why")])
            broker.publish([message(name)])
        one.purge("q", QueueSection.READY)
        one.purge("q", QueueSection.DEAD)
        assert other.replay("q", ["mine dead"]) == 0
        assert ids(self.take(other)) == ["yours"]
        assert ids(self.dead(other)) == ["yours dead"]
        self.none_comes(one)

    @holds("B39")
    def test_the_namespace_of_the_context_counts_where_the_url_names_none(self) -> None:
        """Apps of different names on one URL do not meet, however alike the names are; apps of one name do.

        If this fails, look at the factory too: a URL that names a namespace must do so as its option ``namespace``.
        """
        names = alike(self.service.namespace())
        url = without_namespace(self.service.url(self.service.namespace()))
        brokers = {name: self.at(url, name) for name in names}
        for name, broker in brokers.items():
            broker.publish([message(name)])
        for name, broker in reversed(brokers.items()):  # in another order than they were published
            assert ids(self.take(broker)) == [name], f"the namespace {name!r} meets another one"
        for name, broker in brokers.items():
            self.none_comes(broker, seconds=0.0)
            self.at(url, name).publish([message("again")])
            assert ids(self.take(broker)) == ["again"], f"two brokers of the namespace {name!r} do not meet"

    @holds("B39")
    def test_the_namespace_of_the_url_is_stronger(self) -> None:
        """A URL that names a namespace means that one, whatever the context says."""
        name, other = self.service.namespace(), self.service.namespace()
        url = without_namespace(self.service.url(self.service.namespace()))
        named = with_namespace(url, name)
        self.at(named, other).publish([message()])
        self.none_comes(self.at(url, other), seconds=self.quiet_seconds)
        assert ids(self.take(self.at(url, name))) == ["m"]

    @holds("B39")
    def test_a_namespace_and_a_queue_are_not_mixed_up(self) -> None:
        """What a namespace ends with and what the name of a queue begins with are different things."""
        url = without_namespace(self.service.url(self.service.namespace()))
        for sign in ("-", "--", "_", "__", "~", ".", ":", "/"):
            name = self.service.namespace()
            short, long = self.at(url, name), self.at(url, f"{name}{sign}a")
            short.publish([message("short", f"a{sign}q")])
            long.publish([message("long", "q")])
            if short.capabilities.lists_queues:
                assert [list(broker.queues()) for broker in (short, long)] == [[f"a{sign}q"], ["q"]]
            # First what was published last: in one queue for both it would come last.
            assert ids(self.take(long, "q")) == ["long"]
            assert ids(self.take(short, f"a{sign}q")) == ["short"]

    @holds("B45")
    def test_a_url_that_can_never_work_is_refused(self) -> None:
        """At once, as a ConfigurationError that names every fault and no secret."""
        assert_impossible_urls_are_refused(self.service.broker_at, self.service.url(self.service.namespace()))

    @holds("B39")
    def test_two_brokers_of_one_namespace_meet(self) -> None:
        """Two objects of one namespace see the same messages, holds, delays and dead letters."""
        one, other = self.pair()
        one.publish([message("a"), message("b"), message("later", eta=time.time() + self.long_delay_seconds())])
        taken = self.take(one)
        one.dead_letter([(taken[0], "why")])
        assert ids(self.dead(other)) == ids(taken)
        assert sorted(ids([*taken, *self.take(other)])) == ["a", "b"]
        self.await_sizes(one, delayed=1, in_flight=1, dead=1)
        self.await_sizes(other, delayed=1, in_flight=1, dead=1)

    def _publish_some(self, broker: Broker, name: str) -> None:
        for number in range(10):
            broker.publish([message(f"{name}-{number}")])


def _settle(broker: Broker, deliveries: list[Delivery], way: int) -> None:
    for each in deliveries:
        if way == 0:
            broker.acknowledge([each])
        elif way == 2:
            broker.dead_letter([(each, "why")])
        else:
            broker.release([each])
