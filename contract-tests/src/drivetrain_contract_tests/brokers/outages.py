"""Clauses B40 to B44, and what of B36 needs a service that can be stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from urllib.parse import unquote

from drivetrain.contract import (
    Broker,
    Delivery,
    DriverUrl,
    Durability,
    Message,
    QueueSection,
    ServiceError,
    ServiceUnavailable,
)
from drivetrain_contract_tests.brokers import consumer_process
from drivetrain_contract_tests.brokers.background import Background
from drivetrain_contract_tests.brokers.base import Bench, ids, message
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared, NotRun

__all__ = ["Outages"]

_LONE_SURROGATE = "\ud800"
_SURVIVES = (Durability.PROCESS, Durability.POWER)
#: How many messages are there at most when the service is killed, and over which time they fall due, in seconds.
_CRASH_MESSAGES, _FALL_DUE_SECONDS = 1_000, 2.0
#: For how long they are held, in seconds: they are to come again soon.
_CRASH_HOLD_SECONDS = 5.0
#: How long the service is away at least when messages fall due meanwhile, in seconds.
_AWAY_SECONDS = 0.3
#: The ways in which messages are moved, each in a queue of its own, and how many messages at a time.
_WAYS, _MOVED_AT_ONCE = ("released", "dead-lettered", "replayed"), 10
#: How much later than the calls that move messages begin the service is killed, from crash to crash, in seconds.
_LATER_SECONDS = 0.002


class Outages(Bench):
    """What happens when the service goes away, or a process that uses it."""

    @holds("B36", restarts=True)
    def test_ping_says_that_the_service_is_away(self) -> None:
        """A broker can be made while the service is away, and its `ping` raises what stands in the way."""
        with self._stopped():
            broker = self.fresh()
            assert isinstance(_raised(broker.ping), ServiceUnavailable), "ping has not noticed that the service is away"
        self._await_service(broker)

    @holds("B40", restarts=True)
    def test_a_restart_loses_nothing(self) -> None:
        """What was published and not acknowledged is there after a crash of the service, in its place; the rest not."""
        self._need_durability()
        namespace = self.service.namespace()
        broker = self.on(namespace)
        eta = self._leave_something(broker)
        with self._stopped():
            pass
        again = self.on(namespace)
        self._await_service(again)
        came: list[str] = []
        for _ in range(3):
            taken = self.take(again)
            came += ids(taken)
            assert "delayed" not in came or time.time() >= eta, "a delayed message came too early after a restart"
            again.acknowledge(taken)
        assert sorted(came) == ["delayed", "held", "ready"]
        assert ids(self.dead(again)) == ["dead"]
        self.none_comes(again)

    @holds("B40")
    def test_the_death_of_a_sender_loses_nothing(self) -> None:
        """What a process has published is there when it was killed just after `publish` has returned."""
        self._need_durability()
        url, broker = self._other_process()
        consumer_process.publish_and_die(self.service, url, [message("a"), message("b", eta=time.time() + 1)])
        assert sorted(ids(self.take(broker, count=2))) == ["a", "b"]

    @holds("B40", restarts=True)
    def test_a_crash_while_messages_fall_due_loses_none(self) -> None:
        """A message is on its way when its delay is over: a crash at that moment loses none, nor does any other crash.

        Each time the service dies at another moment, and other messages are on their way.
        """
        self._need_durability()
        many = min(_CRASH_MESSAGES, self.profile.large)
        for number in range(self.profile.crashes):
            namespace = self.service.namespace()
            self._crash_while_falling_due(namespace, many, many * (number + 1) // (self.profile.crashes + 1))
            lost = many - len(self._all_that_comes(namespace, many))
            assert not lost, f"{lost} of {many} delayed messages were lost in crash {number + 1}"

    def _crash_while_falling_due(self, namespace: str, many: int, first: int) -> None:
        """Kill the service when the first of many messages have come; none is acknowledged, some are released.

        Others fall due while it is away.
        """
        broker = self.on(namespace)
        now, step = time.time() + self.short_delay_seconds, min(_FALL_DUE_SECONDS, self.patience_seconds / 2) / many
        broker.publish([message(f"{number}", eta=now + number * step) for number in range(many)])
        taken = self.take(broker, count=first, hold=self._crash_hold_seconds)
        broker.release(taken[::2], delay_seconds=_AWAY_SECONDS / 2)
        with self._stopped():
            threading.Event().wait(_AWAY_SECONDS)

    @property
    def _crash_hold_seconds(self) -> float:
        return min(_CRASH_HOLD_SECONDS, self.patience_seconds / 2)

    @holds("B44", restarts=True)
    def test_a_crash_while_messages_are_moved_loses_none(self) -> None:
        """Released with a delay, dead-lettered or replayed: after a crash in such a call, each is in some place."""
        self._need_durability()
        many = max(4, min(_CRASH_MESSAGES, self.profile.large) // 100) * _MOVED_AT_ONCE
        for number in range(self.profile.crashes):
            namespace = self.service.namespace()
            self._crash_while_moving(namespace, many, number)
            lost = len(_WAYS) * many - len(self._all_that_comes(namespace, len(_WAYS) * many, *_WAYS))
            assert not lost, f"{lost} of {len(_WAYS) * many} messages that were moved were lost in crash {number + 1}"

    def _crash_while_moving(self, namespace: str, many: int, number: int) -> None:
        """Kill the service while messages are moved in every way, after a few were."""
        together = threading.Barrier(len(_WAYS) + 1)
        brokers = {way: self.on(namespace) for way in _WAYS}
        moving = [Background(partial(self._move, brokers[way], way, many, together)) for way in _WAYS]
        with suppress(threading.BrokenBarrierError):  # what one of them has raised is raised below
            together.wait(self.patience_seconds)
            threading.Event().wait(_LATER_SECONDS * number)
        with self._stopped():
            for each in moving:
                each.result(2 * self.patience_seconds)

    def _move(self, broker: Broker, way: str, many: int, together: threading.Barrier) -> None:
        """Move messages in one way until the service is away."""
        broker.publish([message(f"{way} {number}", way) for number in range(many)])
        taken = self.take(broker, way, count=many, hold=self._crash_hold_seconds)
        if way == "replayed":
            broker.dead_letter([(each, "why") for each in taken])
        batches = [taken[first : first + _MOVED_AT_ONCE] for first in range(0, many, _MOVED_AT_ONCE)]
        with suppress(ServiceUnavailable):
            for number, batch in enumerate(batches):
                if number == len(batches) // 2:
                    together.wait(self.patience_seconds)
                if way == "released":
                    broker.release(batch, delay_seconds=self.short_delay_seconds)
                elif way == "dead-lettered":
                    broker.dead_letter([(each, "why") for each in batch])
                else:
                    broker.replay(way, ids(batch))

    def _all_that_comes(self, namespace: str, many: int, *queues: str) -> set[str]:
        """The ids of what comes, dead letters included, until there are so many or nothing has come for long."""
        broker, came, names = self.on(namespace), set[str](), queues or ("q",)
        self._await_service(broker)
        deadline = time.monotonic() + self.patience_seconds
        while len(came) < many and time.monotonic() < deadline:
            for name in names:
                broker.replay(name)
            taken = broker.receive(names, limit=many, wait_seconds=self.prompt_seconds, hold_seconds=self.hold_seconds)
            broker.acknowledge(taken)
            if taken:
                deadline = time.monotonic() + self.patience_seconds
            came.update(ids(taken))
        return came

    @holds("B41", restarts=True)
    def test_calls_while_the_service_is_away_say_so(self) -> None:
        """Every call raises `ServiceUnavailable`: none waits for ever, returns as if all were well, or lies.

        A publish that was refused so is not done later behind the caller's back.
        """
        broker = self.fresh()
        broker.publish([message()])
        taken = self.take(broker)
        with self._stopped():
            for name, call in _calls(broker, taken):
                error = _raised(call)
                assert isinstance(error, ServiceUnavailable), f"{name} raised {error!r} while the service was away"
        self._await_service(broker)

    @holds("B41", restarts=True)
    def test_the_same_object_works_when_the_service_is_back(self) -> None:
        """After a restart, noticed or not, the object connects again: publish, receive and settle work."""
        noticed, unnoticed = self.fresh(), self.fresh()
        for broker in (noticed, unnoticed):
            broker.publish([message("before")])
            broker.acknowledge(self.take(broker))
        with self._stopped():
            _raised(noticed.ping)
        for broker in (noticed, unnoticed):
            self._await_service(broker)
            broker.publish([message("after")])
            self._take_after_crash(broker, "before", "after")
            self.none_comes(broker)

    def _take_after_crash(self, broker: Broker, acknowledged: str, published: str) -> None:
        """Take what was published after a crash. What was acknowledged just before it may come too, as redelivered."""
        taken: list[Delivery] = []
        while published not in ids(taken):
            taken += self.take(broker)
        broker.acknowledge(taken)
        others = [each for each in taken if each.message.id != published]
        assert ids(others) in ([], [acknowledged]), f"{ids(taken)} came; only {published!r} was still to come"
        assert all(each.redelivered for each in others), f"{acknowledged!r} came again and is not marked as redelivered"

    @holds("B41", restarts=True)
    def test_a_receive_that_waits_notices_that_the_service_goes_away(self) -> None:
        """It raises `ServiceUnavailable`, or returns empty in its time; it does not hang, and gets what comes later."""
        broker = self.fresh()
        wait = 4 * self.prompt_seconds
        waiting = Background(lambda: broker.receive(["q"], limit=1, wait_seconds=wait, hold_seconds=self.hold_seconds))
        assert not waiting.ended(0.1)
        with self._stopped(), suppress(ServiceUnavailable):
            assert not waiting.result(wait + self.patience_seconds)
        self._await_service(broker)
        broker.publish([message("after")])
        assert ids(self.take(broker)) == ["after"]

    @holds("B42")
    def test_hostile_calls_raise_nothing_but_service_errors(self) -> None:
        """What a client cannot take is carried or refused with a `ServiceError`, never with the client's own error.

        After each of them the broker works as before.
        """
        broker = self.fresh()
        for name, call in _hostile_calls(broker):
            error = _raised(call)
            assert error is None or isinstance(error, ServiceError), f"{name} raised {error!r}"
            self._shows_no_secret(error)
            broker.publish([message(queue="sound")])
            broker.acknowledge(self.take(broker, "sound"))
        self._queue_works(broker, "q")

    def _queue_works(self, broker: Broker, queue: str) -> None:
        """Fail when a sound message does not come from a queue, whatever else does."""
        broker.publish([message("sound", queue)])
        deadline = time.monotonic() + self.patience_seconds
        came: list[str] = []
        while "sound" not in came:
            left = deadline - time.monotonic()
            assert left > 0, (
                f"the hostile messages in the queue {queue!r} have kept a sound one from coming; {came} came"
            )
            taken = broker.receive([queue], limit=9, wait_seconds=left, hold_seconds=self.hold_seconds)
            broker.acknowledge(taken)
            came += [name[:20] for name in ids(taken)]

    @holds("B42", restarts=True)
    def test_the_errors_of_an_outage_are_ours_and_name_their_cause(self) -> None:
        """Every error is a `ServiceError` that was raised from the client's own, and no text of them shows a secret."""
        broker = self.fresh()
        broker.publish([message()])
        taken = self.take(broker)
        with self._stopped():
            for name, call in _calls(broker, taken):
                error = _raised(call)
                assert error is None or isinstance(error, ServiceError), f"{name} raised {error!r}"
                assert error is None or error.__cause__ is not None, f"the error of {name} is not chained to its cause"
                self._shows_no_secret(error)
        self._await_service(broker)

    @holds("B16", "B43")
    def test_what_a_closed_broker_held_comes_back(self) -> None:
        """`close` gives back what is held, or leaves it to the end of its hold; it neither settles nor keeps it."""
        one, other = self.pair()
        one.publish([message("a"), message("b")])
        self.take(one, hold=self.short_hold_seconds)
        self.take(one, hold=self.short_hold_seconds)
        one.close()
        assert sorted(ids(self.take(other, count=2))) == ["a", "b"]
        assert not self.dead(other)

    @holds("B43")
    def test_what_a_killed_process_held_comes_back(self) -> None:
        """The messages of a process that was killed are delivered to others, once their hold has ended."""
        url, broker = self._other_process()
        broker.publish([message("a"), message("b")])
        consumer_process.receive_and_die(self.service, url, 1, self.patience_seconds, self.short_hold_seconds)
        assert sorted(ids(self.take(broker, count=2))) == ["a", "b"]

    def _leave_something(self, broker: Broker) -> float:
        """A message in each place, one that is held, and one that was acknowledged; when the delayed one is due."""
        broker.publish([message("dead")])
        broker.dead_letter([(self.take(broker)[0], "why")])
        broker.publish([message("done")])
        broker.acknowledge(self.take(broker))
        broker.publish([message("held")])
        self.take(broker, hold=2 * self.short_hold_seconds)
        eta = time.time() + 2 * self.short_delay_seconds
        broker.publish([message("ready"), message("delayed", eta=eta)])
        return eta

    def _need_durability(self) -> None:
        if self.capabilities.durability not in _SURVIVES:
            raise NotDeclared(f"durability: {self.capabilities.durability}")

    def _other_process(self) -> tuple[str, Broker]:
        """The URL by which another process reaches a fresh namespace, and a broker on it here."""
        if not self.capabilities.shared:
            raise NotDeclared("not declared: shared")
        if self.service.broker_maker is not None:
            raise NotRun("the driver is not installed: another process cannot find it by its URL")
        namespace = self.service.namespace()
        return self.service.url(namespace), self.on(namespace)

    @contextmanager
    def _stopped(self) -> Iterator[None]:
        with self.service.stopped():
            yield

    def _await_service(self, broker: Broker) -> None:
        """Return when an object works again; its first calls may find that their connection is lost."""

        def works() -> bool:
            try:
                broker.ping()
                broker.sizes(["unused"])
            except ServiceUnavailable:
                return False
            return True

        self.eventually(works, lambda: f"the service is back, and the object does not work: {_raised(broker.ping)!r}")

    def _shows_no_secret(self, error: BaseException | None) -> None:
        if isinstance(error, ServiceError):
            for secret in _secrets(self.service.url("namespace")):
                assert secret not in f"{error}{error.args}", "an error shows the password of its URL"


def _secrets(url: str) -> set[str]:
    user, at, _ = DriverUrl.parse(url).netloc.rpartition("@")
    password = user.partition(":")[2]
    return {password, unquote(password)} - {""} if at else set()


def _raised(call: Callable[[], object]) -> Exception | None:
    try:
        call()
    except Exception as error:  # noqa: BLE001  what it is says the check
        return error
    return None


def _calls(broker: Broker, taken: list[Delivery]) -> list[tuple[str, Callable[[], object]]]:
    """Every method, called as it should be."""
    return [
        ("publish", lambda: broker.publish([message("while away", "away")])),
        ("receive", lambda: broker.receive(["away"], limit=1, wait_seconds=0.1, hold_seconds=30)),
        ("acknowledge", lambda: broker.acknowledge(taken)),
        ("release", lambda: broker.release(taken)),
        ("dead_letter", lambda: broker.dead_letter([(each, "why") for each in taken])),
        ("extend", lambda: broker.extend(taken, hold_seconds=30)),
        ("sizes", lambda: broker.sizes(["q"])),
        ("peek", lambda: broker.peek("q", QueueSection.DEAD, limit=1)),
        ("purge", lambda: broker.purge("q", QueueSection.DEAD)),
        ("replay", lambda: broker.replay("q")),
        ("drop_dead_letters", lambda: broker.drop_dead_letters("q", ["m"])),
        ("ping", broker.ping),
    ]


def _hostile_calls(broker: Broker) -> list[tuple[str, Callable[[], object]]]:
    sent: list[tuple[str, Message]] = [
        ("a lone surrogate as an id", message(_LONE_SURROGATE)),
        ("a lone surrogate in a header", message(headers={_LONE_SURROGATE: _LONE_SURROGATE})),
        ("a lone surrogate as a queue", message(queue=_LONE_SURROGATE)),
        ("an id of a million signs", message("x" * 1_000_000)),
        ("the name of a queue of 100,000 signs", message(queue="x" * 100_000)),
        ("1,000 headers", message(headers={f"header {number}": "x" for number in range(1_000)})),
        ("an ETA at the end of time", message(eta=1e300)),
        ("an ETA that never is", message(eta=float("inf"))),
        ("an ETA before the beginning", message(eta=float("-inf"))),
        ("an ETA that is NaN", message(eta=float("nan"))),
    ]
    return [
        *((f"publishing {name}", partial(broker.publish, [each])) for name, each in sent),
        ("receiving a billion", lambda: broker.receive(["none"], limit=10**9, wait_seconds=0, hold_seconds=30)),
        ("a hold for ever", lambda: broker.receive(["none"], limit=1, wait_seconds=0, hold_seconds=1e300)),
        ("a negative wait", lambda: broker.receive(["none"], limit=1, wait_seconds=-1, hold_seconds=30)),
        ("receiving from a queue with a lone surrogate", lambda: broker.sizes([_LONE_SURROGATE])),
        ("peeking at a billion", lambda: broker.peek("none", QueueSection.DEAD, limit=10**9)),
        ("replaying a lone surrogate", lambda: broker.replay("none", [_LONE_SURROGATE])),
        ("dropping a lone surrogate", lambda: broker.drop_dead_letters("none", [_LONE_SURROGATE])),
        ("dropping 5,000 ids", lambda: broker.drop_dead_letters("none", [f"{number}" for number in range(5_000)])),
        ("replaying 5,000 ids", lambda: broker.replay("none", [f"{number}" for number in range(5_000)])),
    ]
