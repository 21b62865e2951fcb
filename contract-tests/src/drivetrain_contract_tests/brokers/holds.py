"""From when a time counts, and how long it lasts (B7, B12, B17, B18, B22, B26)."""

from __future__ import annotations

import time

from drivetrain.contract import Broker, SystemClock
from drivetrain_contract_tests.brokers.background import Background
from drivetrain_contract_tests.brokers.base import Bench, ids, message
from drivetrain_contract_tests.clauses import holds

__all__ = ["Holds"]

_DAY_SECONDS = 86_400.0
#: Beyond a week, beyond 32 bits of milliseconds with and without a sign, and beyond a year.
_LONG_SECONDS = (900.0, 0.5 * _DAY_SECONDS, 10 * _DAY_SECONDS, 40 * _DAY_SECONDS, 400 * _DAY_SECONDS)
#: Not a whole number of seconds, and more than one.
_FRACTION_SECONDS = 1.6
#: How long something goes on before the call whose time is measured.
_BEFORE_SECONDS = 0.3
_LASTS_SECONDS = 0.4


class _Ahead(SystemClock):
    """A clock that is ahead of the machine's."""

    def __init__(self, seconds: float) -> None:
        self._ahead = seconds

    def now(self) -> float:
        return super().now() + self._ahead

    def monotonic(self) -> float:
        return super().monotonic() + self._ahead


class Holds(Bench):
    """A time counts from the call that asks for it, and is never cut short.

    Lengths that nobody can wait for are tried with an object whose clock is ahead. A driver whose service keeps the
    time takes no notice of that clock, and passes.
    """

    @holds("B7", "B17")
    def test_a_fraction_of_a_second_is_part_of_a_hold(self) -> None:
        """A hold of 1.6 seconds, given by `receive` or by `extend`, does not end after one."""
        self.need_lease()
        one, other = self.pair()
        one.publish([message("received"), message("extended", "q2")])
        ends = {"received": time.monotonic() + _FRACTION_SECONDS}
        self.take(one, hold=_FRACTION_SECONDS)
        taken = self.take(one, "q2")
        ends["extended"] = time.monotonic() + _FRACTION_SECONDS
        assert list(one.extend(taken, hold_seconds=_FRACTION_SECONDS)) == [True]
        for _ in ends:
            (name,) = ids(self.take(other, "q", "q2", later=_FRACTION_SECONDS))
            early = ends[name] - time.monotonic()
            assert early <= 0, f"a hold of {_FRACTION_SECONDS} seconds that was {name} ended {early:.2f} seconds early"

    @holds("B7")
    def test_a_hold_begins_when_the_message_is_handed_out(self) -> None:
        """The time that `receive` has waited for the message is not part of its hold."""
        self.need_lease()
        one, other = self.pair()
        waiting = Background(lambda: self.take(one, hold=_LASTS_SECONDS))
        assert not waiting.ended(2 * _LASTS_SECONDS), f"it has not waited: {waiting.result()}"
        before = time.monotonic()
        other.publish([message()])
        waiting.result()
        self.take(other)
        took = time.monotonic() - before
        assert took >= _LASTS_SECONDS, f"held for {_LASTS_SECONDS} seconds, it came again after {took:.2f}"

    @holds("B17")
    def test_an_extension_counts_from_its_call(self) -> None:
        """The time since the message was received is not part of the new hold."""
        self.need_lease()
        one, other = self.pair()
        one.publish([message()])
        taken = self.take(one)
        self.none_comes(one, "unused", seconds=_BEFORE_SECONDS)
        before = time.monotonic()
        assert list(one.extend(taken, hold_seconds=_LASTS_SECONDS)) == [True]
        self.take(other)
        took = time.monotonic() - before
        assert took >= _LASTS_SECONDS, f"extended for {_LASTS_SECONDS} seconds, its hold ended after {took:.2f}"

    @holds("B18")
    def test_the_delay_of_a_release_counts_from_its_call(self) -> None:
        """The time since the message was received is not part of the delay."""
        one, other = self.pair()
        one.publish([message()])
        taken, delay = self.take(one), max(_LASTS_SECONDS, self.short_delay_seconds)
        self.none_comes(one, "unused", seconds=_BEFORE_SECONDS)
        before = time.monotonic()
        one.release(taken, delay_seconds=delay)
        self.take(other)
        took = time.monotonic() - before
        assert took >= delay, f"released for {delay} seconds, it came after {took:.2f}"

    @holds("B22")
    def test_an_eta_is_a_time_and_not_a_delay_from_an_earlier_call(self) -> None:
        """A message that is published later, for the same delay, comes so much later."""
        broker, consumer = self.pair()
        for name in ("first", "second"):
            eta = time.time() + max(_LASTS_SECONDS, self.short_delay_seconds)
            broker.publish([message(name, name, eta=eta)])
            self.none_comes(broker, "unused", seconds=_BEFORE_SECONDS)
        self.take(consumer, "second")
        early = eta - time.time()
        assert early <= 0, f"it came {early:.2f} seconds before its ETA"

    @holds("B7", "B17")
    def test_a_long_hold_is_kept(self) -> None:
        """Twelve hours, ten days, 400 days, or the longest that is declared: no counter overflows, and none is cut."""
        self.need_lease()
        longest = self.capabilities.longest_hold_seconds
        for seconds in self._up_to(longest):
            namespace = self.service.namespace()
            broker = self.on(namespace)
            broker.publish([message(), message(queue="extended")])
            self.take(broker, hold=seconds)
            taken = self.take(broker, "extended", hold=min(60.0, seconds))
            assert list(broker.extend(taken, hold_seconds=seconds)) == [True]
            self._stays_away(namespace, f"a hold of {seconds:.0f} seconds", seconds, "q", "extended")

    @holds("B18", "B26")
    def test_a_long_delay_lasts(self) -> None:
        """The same of the delay of a message, and of a release."""
        for seconds in self._up_to(self.capabilities.longest_delay_seconds):
            namespace = self.service.namespace()
            broker = self.on(namespace)
            broker.publish([message(queue="released"), message(eta=time.time() + seconds - 1)])
            broker.release(self.take(broker, "released"), delay_seconds=seconds)
            self._stays_away(namespace, f"a delay of {seconds:.0f} seconds", seconds, "q", "released")

    def _up_to(self, longest: float | None) -> list[float]:
        known = [seconds for seconds in _LONG_SECONDS if longest is None or seconds < longest]
        return known if longest is None else [*known, longest]

    def _stays_away(self, namespace: str, what: str, seconds: float, *queues: str) -> None:
        """Nothing comes from queues now, nor to an object whose clock says that nine tenths of the time are over."""
        ahead: Broker = self.service.broker(namespace, _Ahead(0.9 * seconds))
        for broker, when in ((self.on(namespace), "at once"), (ahead, f"{0.9 * seconds:.0f} seconds later")):
            came = broker.receive(queues, limit=10, wait_seconds=0.0, hold_seconds=30)
            assert not came, f"{what} was over {when}: {ids(came)} came"
        ahead.close()
