"""Clauses B36 to B43."""

from __future__ import annotations

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
    Place,
    ServiceError,
    ServiceUnavailable,
)
from drivetrain_contract_tests.brokers import elsewhere
from drivetrain_contract_tests.brokers.bench import Bench, ids, message
from drivetrain_contract_tests.brokers.running import Background, together
from drivetrain_contract_tests.brokers.watching import io_of_this_thread
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared

__all__ = ["Life"]

_LONE_SURROGATE = "\ud800"
_SURVIVES = (Durability.PROCESS, Durability.POWER)


class Life(Bench):
    """Making and closing, threads, namespaces, and what happens when something dies."""

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

    @holds("B36", restarts=True)
    def test_ping_says_that_the_service_is_away(self) -> None:
        """A broker can be made while the service is away, and its `ping` raises what stands in the way."""
        with self._stopped():
            broker = self.fresh()
            assert isinstance(_raised(broker.ping), ServiceUnavailable), "ping has not noticed that the service is away"
        self._await_service(broker)

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
        broker.purge("q", Place.DEAD)
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
    def test_close_wakes_a_receive(self) -> None:
        """A `receive` that waits in another thread returns when its object is closed, and raises nothing."""
        broker = self.fresh()
        wait = self.patience_seconds
        waiting = Background(lambda: broker.receive(["q"], limit=1, wait_seconds=wait, hold_seconds=self.hold_seconds))
        assert not waiting.ended(0.1), f"it has not waited: {waiting.result()}"
        before = time.monotonic()
        broker.close()
        assert not waiting.result(), "there was nothing to receive"
        assert time.monotonic() - before < wait / 2, "close has not woken a receive"

    @holds("B38")
    def test_close_disturbs_no_other_object(self) -> None:
        """Another object of the namespace goes on, also while it waits."""
        one, other = self.pair()
        one.publish([message("a")])
        waiting = Background(lambda: self.take(other, "later"))
        assert not waiting.ended(0.05)
        one.close()
        self.none_comes(other, "unused", seconds=0.0) if waiting.ended() else other.publish([message("b", "later")])
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
        one.purge("q", Place.READY)
        one.purge("q", Place.DEAD)
        assert other.replay("q", ["mine dead"]) == 0
        assert ids(self.take(other)) == ["yours"]
        assert ids(self.dead(other)) == ["yours dead"]
        self.none_comes(one)

    @holds("B39")
    def test_two_brokers_of_one_namespace_meet(self) -> None:
        """Two objects of one namespace see the same messages, holds, delays and dead letters."""
        one, other = self.pair()
        one.publish([message("a"), message("b"), message("later", eta=time.time() + self.long_delay_seconds())])
        taken = self.take(one)
        one.dead_letter([(taken[0], "why")])
        assert ids(self.dead(other)) == ids(taken)
        assert sorted(ids([*taken, *self.take(other)])) == ["a", "b"]
        self.await_sizes(one, delayed=1, held=1, dead=1)
        self.await_sizes(other, delayed=1, held=1, dead=1)

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
        elsewhere.publish_and_die(url, [message("a"), message("b", eta=time.time() + 1)])
        assert sorted(ids(self.take(broker, count=2))) == ["a", "b"]

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
        """After a restart, noticed or not, the object connects anew: publish, receive and settle work."""
        noticed, unnoticed = self.fresh(), self.fresh()
        for broker in (noticed, unnoticed):
            broker.publish([message("before")])
            broker.acknowledge(self.take(broker))
        with self._stopped():
            _raised(noticed.ping)
        for broker in (noticed, unnoticed):
            self._await_service(broker)
            broker.publish([message("after")])
            broker.acknowledge(self.take(broker))
            self.none_comes(broker)

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
        elsewhere.receive_and_die(url, 1, self.patience_seconds, self.short_hold_seconds)
        assert sorted(ids(self.take(broker, count=2))) == ["a", "b"]

    def _publish_some(self, broker: Broker, name: str) -> None:
        for number in range(10):
            broker.publish([message(f"{name}-{number}")])

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
            raise NotDeclared("the driver is not installed: another process cannot find it by its URL")
        namespace = self.service.namespace()
        return self.service.url(namespace), self.on(namespace)

    @contextmanager
    def _stopped(self) -> Iterator[None]:
        assert self.service.stop is not None
        assert self.service.start is not None
        self.service.stop()
        try:
            yield
        finally:
            self.service.start()

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


def _settle(broker: Broker, deliveries: list[Delivery], way: int) -> None:
    for each in deliveries:
        if way == 0:
            broker.acknowledge([each])
        elif way == 2:
            broker.dead_letter([(each, "why")])
        else:
            broker.release([each])


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
        ("peek", lambda: broker.peek("q", Place.DEAD, limit=1)),
        ("purge", lambda: broker.purge("q", Place.DEAD)),
        ("replay", lambda: broker.replay("q")),
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
    ]
    return [
        *((f"publishing {name}", partial(broker.publish, [each])) for name, each in sent),
        ("receiving a billion", lambda: broker.receive(["none"], limit=10**9, wait_seconds=0, hold_seconds=30)),
        ("a hold for ever", lambda: broker.receive(["none"], limit=1, wait_seconds=0, hold_seconds=1e300)),
        ("a negative wait", lambda: broker.receive(["none"], limit=1, wait_seconds=-1, hold_seconds=30)),
        ("receiving from a queue with a lone surrogate", lambda: broker.sizes([_LONE_SURROGATE])),
        ("peeking at a billion", lambda: broker.peek("none", Place.DEAD, limit=10**9)),
        ("replaying a lone surrogate", lambda: broker.replay("none", [_LONE_SURROGATE])),
        ("replaying 5,000 ids", lambda: broker.replay("none", [f"{number}" for number in range(5_000)])),
    ]
