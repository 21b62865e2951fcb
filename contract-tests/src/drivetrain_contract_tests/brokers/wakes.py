"""What wakes a receive that waits, and what does not (B11, B12, B16 to B18, B23, B38)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from drivetrain.contract import Broker, Delivery, QueueSection
from drivetrain_contract_tests.brokers.background import Background
from drivetrain_contract_tests.brokers.base import Bench, ids, message
from drivetrain_contract_tests.clauses import holds

__all__ = ["Wakes"]

#: A service that counts whole seconds may end a short hold so much later.
_WHOLE_SECOND = 1.0


class Wakes(Bench):
    """A consumer waits for each of its queues, and for what becomes ready by itself."""

    @holds("B11")
    def test_a_publish_to_any_of_its_queues_wakes_a_receive(self) -> None:
        """To the first of its queues, to one between, and to the last."""
        consumer, sender = self.pair()
        queues = ("a", "b", "c")
        for queue in queues:
            self._comes_in_time(
                lambda wait: self._receive(consumer, queues, wait),
                lambda queue=queue: sender.publish([message(queue, queue)]),  # type: ignore[misc]
                within=self.prompt_seconds,
                what=f"a message in {queue!r}, of the queues {queues},",
            )

    @holds("B11")
    def test_each_of_several_that_wait_is_woken(self) -> None:
        """A message for one consumer that waits wakes that one, and not another that waited before."""
        namespace = self.service.namespace()
        sender = self.on(namespace)
        earlier = self.on(namespace)
        first = Background(lambda: self.take(earlier, "first"))
        assert not first.ended(0.05), "it has not waited"
        later = self.on(namespace)
        try:
            self._comes_in_time(
                lambda wait: self._receive(later, ["second"], wait),
                lambda: sender.publish([message(queue="second")]),
                within=self.prompt_seconds,
                what="a message for the second of two consumers",
            )
        finally:
            sender.publish([message("end", "first")])
        assert ids(first.result()) == ["end"]

    @holds("B18", "B23")
    def test_a_release_with_a_delay_wakes_a_receive_when_it_is_over(self) -> None:
        """A consumer that waits gets the message when its delay is over; nothing else needs to happen."""
        consumer, other = self.pair()
        other.publish([message(queue="held") for _ in range(self.tries)])
        held = self.take(other, "held", count=self.tries)
        self._comes_in_time(
            lambda wait: self._receive(consumer, ["held"], wait),
            lambda: other.release([held.pop()], delay_seconds=self.short_delay_seconds),
            within=self.short_delay_seconds + self.late_seconds,
            what=f"a message that was released for {self.short_delay_seconds:.2f} seconds",
        )

    @holds("B23")
    def test_what_is_due_sooner_wakes_a_receive_sooner(self) -> None:
        """A consumer that waits for a message that is due later gets one that is due sooner in time."""
        consumer, sender = self.pair()
        sender.publish([message("later", eta=time.time() + self.long_delay_seconds())])
        self._comes_in_time(
            lambda wait: self._receive(consumer, ["q"], wait),
            lambda: sender.publish([message(eta=time.time() + self.short_delay_seconds)]),
            within=self.short_delay_seconds + self.late_seconds,
            what="a message that was due sooner than another",
        )

    @holds("B16", "B17")
    def test_a_hold_that_is_made_shorter_wakes_a_receive(self) -> None:
        """A consumer that waits gets the message when the new end of its hold is there."""
        self.need_lease()
        consumer, holder = self.pair()
        holder.publish([message() for _ in range(self.tries)])
        held = self.take(holder, count=self.tries)
        self._comes_in_time(
            lambda wait: self._receive(consumer, ["q"], wait),
            lambda: holder.extend([held.pop()], hold_seconds=self.short_hold_seconds),
            within=self.short_hold_seconds + _WHOLE_SECOND + self.late_seconds,
            what="a message whose hold was made shorter",
        )

    @holds("B12", "B38")
    def test_nothing_else_ends_a_wait(self) -> None:
        """A wait is over when a message has come or its time is out.

        Other queues, other namespaces, calls that change nothing in its own queue, and the end of other objects do not
        end it.
        """
        namespace = self.service.namespace()
        consumer, other, closed = (self.on(namespace) for _ in range(3))
        other.publish([message("dead", "other"), message("held", "other")])
        dead, held = self.take(other, "other", count=2)
        closed.ping()
        wait = 3 * self.prompt_seconds
        waiting = Background(lambda: self._timed(consumer, wait))
        assert not waiting.ended(0.05), "it has not waited"
        other.publish([message("m", "other"), message("later", eta=time.time() + self.long_delay_seconds())])
        other.dead_letter([(dead, "why")])
        other.acknowledge([held])
        other.replay("other")
        other.purge("q", QueueSection.READY)
        closed.close()
        came, took = waiting.result()
        assert not came
        assert took > wait - 0.05, f"asked to wait for {wait} seconds, it returned with nothing after {took:.2f}"

    def _timed(self, broker: Broker, wait: float) -> tuple[list[str], float]:
        before = time.monotonic()
        came = broker.receive(["q"], limit=1, wait_seconds=wait, hold_seconds=self.hold_seconds)
        return ids(came), time.monotonic() - before

    def _receive(self, broker: Broker, queues: Sequence[str], wait: float) -> Sequence[Delivery]:
        return broker.receive(queues, limit=1, wait_seconds=wait, hold_seconds=self.hold_seconds)

    def _comes_in_time(
        self, receive: Callable[[float], Sequence[Delivery]], act: Callable[[], object], *, within: float, what: str
    ) -> None:
        """Fail when a receive that waits never returns in time after ``act``; a busy machine has several tries."""
        took, wait = 0.0, within + self.patience_seconds
        for _ in range(self.tries):
            waiting = Background(partial(receive, wait))
            assert not waiting.ended(0.1), f"it has not waited: {waiting.result()}"
            before = time.monotonic()
            act()
            came = waiting.result(wait + self.patience_seconds)
            took = time.monotonic() - before
            assert came, f"{what} was not seen by a receive that waited for {took:.2f} seconds"
            if took < within:
                return
        raise AssertionError(
            f"{what} came to a receive that waited {took:.2f} seconds later, and not within {within:.2f}"
        )
