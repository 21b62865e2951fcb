"""Times of the embedded drivers to the instant, by a clock that is turned by hand.

The contract suite certifies everything else. It lives in real time, so that it allows for some lateness, and its delays
and retentions are short.
"""

import pytest

from drivetrain.contract import Member, QueueSection, QueueSizes, Renewal, RunLease, State, Transition, ValueWrite

NOTHING = {"tasks": 0, "groups": 0, "members": 0, "bodies": 0, "values": 0}
LONG = [0.5, 60, 86_400, 366 * 86_400.0, 50 * 366 * 86_400.0]


def ids(deliveries):
    return [delivery.message.id for delivery in deliveries]


def transition(task_id="t", state=State.SUCCESS, **fields):
    return Transition(task_id=task_id, state=state, at=1.0, **fields)


def start(run, lease):
    return transition(state=State.STARTED, run=run, lease=lease)


def granted(backend, asked):
    (outcome,) = backend.record([asked])
    return outcome.applied


def written(backend, value, **fields):
    """Write one value; its version."""
    (outcome,) = backend.write_values([ValueWrite(key="k", value=value, **fields)])
    assert outcome.written
    return outcome.current.version


class TestBroker:
    @pytest.mark.parametrize("delay", LONG)
    def test_a_delayed_message_is_never_early_and_soon_there(self, broker, message, take, clock, delay):
        broker.publish([message(eta=clock.now() + delay)])
        clock.advance(delay - 0.1)
        assert take(broker) == []
        clock.advance(0.1 + broker.capabilities.delay_resolution_seconds)
        assert ids(take(broker)) == ["m"]

    def test_what_is_published_takes_its_place_among_what_has_become_due(self, broker, message, take, clock):
        now = clock.now()
        broker.publish([message("late", eta=now + 30), message("soon", eta=now + 10), message("mid", eta=now + 20)])
        clock.advance(15)
        broker.publish([message("at 15")])
        clock.advance(20)
        broker.publish([message("at 35"), message("urgent", priority=5)])
        assert ids(take(broker)) == ["urgent", "soon", "at 15", "mid", "late", "at 35"]

    def test_what_is_due_at_one_instant_comes_in_the_order_of_publication(self, broker, message, take, clock):
        broker.publish([message(f"{number}", eta=clock.now() + 5) for number in range(10)])
        clock.advance(6)
        assert ids(take(broker)) == [f"{number}" for number in range(10)]

    def test_an_eta_in_the_past_does_not_jump_the_queue(self, broker, message, take, clock):
        broker.publish([message("first"), message("second", eta=clock.now() - 1000), message("third", eta=0.0)])
        assert ids(take(broker)) == ["first", "second", "third"]

    def test_a_hold_keeps_others_out_until_its_end(self, service, clock, message, take):
        one, other = service.broker(clock), service.broker(clock)
        one.publish([message()])
        (delivery,) = take(one, hold=30)
        clock.advance(29.9)
        assert take(other) == []
        assert list(one.extend([delivery], hold_seconds=30)) == [True]
        clock.advance(29.9)
        assert take(other) == []
        clock.advance(0.2)
        assert ids(take(other)) == ["m"]

    def test_a_message_that_was_purged_after_its_hold_is_not_settled_back(self, broker, message, take, clock):
        broker.publish([message()])
        (delivery,) = take(broker, hold=10)
        clock.advance(11)
        assert broker.purge("q", QueueSection.READY) == 1
        assert list(broker.extend([delivery], hold_seconds=10)) == [False]
        broker.release([delivery])
        broker.dead_letter([(delivery, "why")])
        assert broker.sizes(["q"]) == {"q": QueueSizes(ready=0, delayed=0, in_flight=0, dead=0, oldest_seconds=0.0)}

    def test_another_object_may_settle(self, service, clock, message, take):
        """These drivers allow it, and the contract does not ask for it: a receipt needs no connection."""
        one, other = service.broker(clock), service.broker(clock)
        one.publish([message()])
        other.acknowledge(take(one))
        clock.advance(1000)
        assert take(one) == []

    def test_a_receive_with_limit_zero_or_without_queues_does_not_wait(self, broker, message, take):
        broker.publish([message()])
        assert take(broker, limit=0, wait=1e9) == []
        assert list(broker.receive([], limit=1, wait_seconds=1e9, hold_seconds=1)) == []
        assert ids(take(broker)) == ["m"]


class TestBackend:
    def test_a_lease_keeps_others_out_until_its_end(self, backend, clock):
        assert granted(backend, start("a", 10))
        clock.advance(9.9)
        assert not granted(backend, start("b", 10))
        assert list(backend.renew([RunLease(task_id="t", run="a", seconds=10)])) == [
            Renewal(held=True, state=State.STARTED)
        ]
        clock.advance(9.9)
        assert not granted(backend, start("b", 10))
        clock.advance(0.2)
        assert granted(backend, start("b", 10))

    @pytest.mark.parametrize("retention", LONG)
    def test_a_record_expires_at_its_instant(self, backend, clock, retention):
        backend.record([transition(retention=retention, member=Member("none", 0))])
        clock.advance(retention - 0.25)
        (record,) = backend.read(["t"])
        assert record.expires_at == pytest.approx(clock.now() + 0.25, abs=1e-3)
        clock.advance(0.251)
        assert list(backend.read(["t"])) == [None]
        assert dict(backend.counts()) == NOTHING

    def test_what_does_not_expire_is_there_in_a_hundred_years(self, backend, clock):
        backend.record([transition("ended"), transition("sent", State.PENDING, retention=1)])
        clock.advance(100 * 366 * 86_400)
        assert backend.sweep() == 0
        assert None not in backend.read(["ended", "sent"])

    @pytest.mark.parametrize("seconds", LONG)
    def test_a_value_ends_at_its_instant(self, backend, clock, seconds):
        first = written(backend, b"1", expires_in_seconds=seconds)
        clock.advance(seconds - 0.25)
        (value,) = backend.read_values(["k"])
        assert value.expires_in_seconds == pytest.approx(0.25, abs=1e-3)
        clock.advance(0.251)
        assert list(backend.read_values(["k"])) == [None]
        assert list(backend.list_values("", limit=1).values) == []
        assert dict(backend.counts()) == NOTHING
        assert written(backend, b"2", if_version=0) > first

    def test_a_later_write_replaces_the_end(self, backend, clock):
        written(backend, b"1", expires_in_seconds=10)
        clock.advance(9.9)
        written(backend, b"2", expires_in_seconds=10)
        clock.advance(9.9)
        written(backend, b"3")
        clock.advance(100 * 366 * 86_400)
        assert backend.read_values(["k"])[0].value == b"3"
