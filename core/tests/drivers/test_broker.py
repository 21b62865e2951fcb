"""`drivetrain.contract.Broker`, for every embedded driver."""

import threading
import time

import pytest

from drivetrain.contract import (
    DEAD_AT_HEADER,
    DEAD_REASON_HEADER,
    Broker,
    BrokerCapabilities,
    QueueSection,
    QueueSizes,
)

HOSTILE_NAMES = [
    "plain",
    "with space",
    " ",
    "a:b:c",
    "a/b/../c",
    "a%2Fb",
    "quote'\";--",
    "percent % under_score",
    "{braces}",
    "star*?[x]",
    "new\nline",
    "nul\0name",
    "Größe ☃ 😀",
    "x" * 500,
]
BODIES = [b"", b"\0", b"\xff\xfe not utf-8", bytes(range(256)), b"x" * 100_000]


def ids(deliveries):
    return [delivery.message.id for delivery in deliveries]


def sizes(broker, queue="q"):
    return broker.sizes([queue])[queue]


EMPTY = QueueSizes(ready=0, delayed=0, held=0, dead=0)


def test_it_is_a_broker(broker):
    """Broker.capabilities, Broker.ping."""
    assert isinstance(broker, Broker)
    assert isinstance(broker.capabilities, BrokerCapabilities)
    assert broker.capabilities is broker.capabilities
    broker.ping()


class TestPublish:
    @pytest.mark.parametrize("body", BODIES, ids=lambda body: f"{len(body)} bytes")
    def test_bodies_arrive_byte_for_byte(self, broker, message, take, body):
        """Broker.publish, Message: body is carried as it is."""
        broker.publish([message(body=body)])
        (delivery,) = take(broker)
        assert delivery.message.body == body

    def test_headers_and_fields_arrive_as_they_are(self, broker, message, take, clock):
        """Message: headers are carried as they are."""
        sent = message(
            "an id: 'ü'\n",
            headers={"": "", "a": "ü☃\n\t'\"", "content-type": "x/y", "Ärger": "1"},
            priority=3,
            eta=clock.now() - 1.25,
        )
        broker.publish([sent])
        assert take(broker)[0].message == sent

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=repr)
    def test_any_queue_name_works_and_is_that_queue_only(self, broker, message, take, name):
        """Broker: publishing to and receiving from a new name works."""
        broker.publish([message("mine", name), message("other", name + "x"), message("upper", name.upper() + "Y")])
        assert sizes(broker, name).ready == 1
        (delivery,) = take(broker, name)
        assert (delivery.message.id, delivery.message.queue) == ("mine", name)
        assert take(broker, name) == []

    def test_the_same_message_twice_is_carried_twice(self, broker, message, take):
        """Message.id is not unique for the broker."""
        broker.publish([message(), message()])
        broker.publish([message()])
        deliveries = take(broker)
        assert len({delivery.receipt for delivery in deliveries}) == 3
        broker.acknowledge(deliveries[:1])
        assert sizes(broker).held == 2

    def test_an_empty_batch_does_nothing(self, broker, take):
        """Broker: an empty batch does nothing."""
        broker.publish([])
        broker.acknowledge([])
        broker.release([])
        broker.dead_letter([])
        assert list(broker.extend([], hold_seconds=1)) == []
        assert dict(broker.sizes([])) == {}
        assert list(broker.receive([], limit=1, wait_seconds=20, hold_seconds=1)) == []
        assert list(broker.queues()) == []

    def test_changing_the_headers_afterwards_does_not_change_the_message(self, broker, message, take):
        """Broker.publish: when it returns, the service has them."""
        headers = {"a": "1"}
        broker.publish([message(headers=headers)])
        headers["a"] = "2"
        assert take(broker)[0].message.headers == {"a": "1"}


class TestReceive:
    def test_earlier_queues_first(self, broker, message, take):
        """Broker.receive: messages come from earlier queues first."""
        broker.publish([message("b", "second", priority=9), message("a", "first", priority=0)])
        assert ids(take(broker, "nothing", "first", "second")) == ["a", "b"]

    def test_the_limit_is_over_all_queues(self, broker, message, take):
        """Broker.receive: up to limit messages."""
        broker.publish([message(f"{queue}{number}", queue) for queue in "ab" for number in range(3)])
        assert ids(take(broker, "b", "a", limit=4)) == ["b0", "b1", "b2", "a0"]
        assert ids(take(broker, "b", "a", limit=4)) == ["a1", "a2"]

    def test_higher_priorities_first(self, broker, message, take):
        """Broker.receive: from higher priorities first within a queue."""
        levels = broker.capabilities.priority_levels
        broker.publish([message(f"{level}", priority=level) for level in range(levels)])
        assert ids(take(broker)) == [f"{level}" for level in reversed(range(levels))]

    def test_one_senders_messages_in_order(self, broker, message, take):
        """BrokerCapabilities.ordered."""
        assert broker.capabilities.ordered
        expected = [f"{number:03}" for number in range(300)]
        broker.publish([message(name) for name in expected[:200]])
        for name in expected[200:]:
            broker.publish([message(name)])
        received = [name for _ in range(30) for name in ids(take(broker, limit=10))]
        assert received == expected

    def test_an_eta_in_the_past_does_not_jump_the_queue(self, broker, message, take, clock):
        """BrokerCapabilities.ordered, Message.eta: in the past means at once."""
        broker.publish([message("first"), message("second", eta=clock.now() - 1000), message("third", eta=0.0)])
        assert ids(take(broker)) == ["first", "second", "third"]

    def test_due_order(self, broker, message, take, clock):
        """Broker.receive: within a priority in due order."""
        now = clock.now()
        broker.publish([message("late", eta=now + 30), message("soon", eta=now + 10), message("mid", eta=now + 20)])
        clock.advance(15)
        broker.publish([message("at 15")])
        clock.advance(20)
        broker.publish([message("at 35"), message("urgent", priority=5)])
        assert ids(take(broker)) == ["urgent", "soon", "at 15", "mid", "late", "at 35"]

    def test_equal_due_times_in_the_order_published(self, broker, message, take, clock):
        """BrokerCapabilities.ordered holds for delayed messages too."""
        broker.publish([message(f"{number}", eta=clock.now() + 5) for number in range(10)])
        clock.advance(6)
        assert ids(take(broker)) == [f"{number}" for number in range(10)]

    def test_a_held_message_is_nobody_elses(self, service, clock, message, take):
        """Broker.receive: no one else receives it until its hold ends."""
        one, other = service.broker(clock), service.broker(clock)
        one.publish([message()])
        assert ids(take(one, hold=30)) == ["m"]
        clock.advance(29.9)
        assert take(one) == [] == take(other)

    def test_a_first_delivery_says_so(self, broker, message, take):
        """Delivery.redelivered, Delivery.delivery_count."""
        broker.publish([message()])
        (delivery,) = take(broker)
        assert delivery.redelivered is False
        assert delivery.delivery_count == 1

    def test_the_end_of_a_hold_redelivers(self, service, clock, message, take):
        """Delivery.redelivered, delivery_count and receipt after holds have ended."""
        one, other = service.broker(clock), service.broker(clock)
        one.publish([message()])
        receipts = []
        for deliveries, broker in enumerate([one, other, one], start=1):
            (delivery,) = take(broker, hold=30)
            assert delivery.delivery_count == deliveries
            assert delivery.redelivered is (deliveries > 1)
            receipts.append(delivery.receipt)
            clock.advance(30.1)
        assert len(set(receipts)) == 3

    def test_waiting_in_vain_ends(self, service, take):
        """Broker.receive: waits at most wait_seconds."""
        broker = service.broker()
        before = time.monotonic()
        assert take(broker, wait=0.03) == []
        assert 0.025 <= time.monotonic() - before < 2

    def test_no_wait_for_more_than_there_is(self, service, message, take):
        """Broker.receive: as soon as there is any message, it does not wait for more."""
        broker = service.broker()
        broker.publish([message()])
        before = time.monotonic()
        assert ids(take(broker, "empty", "q", wait=20)) == ["m"]
        assert time.monotonic() - before < 5

    @pytest.mark.parametrize("same_object", [True, False])
    def test_a_publish_wakes_it(self, service, message, take, background, same_object):
        """Broker.receive: waits for the first one, in another thread too."""
        receiver = service.broker()
        sender = receiver if same_object else service.broker()
        started = threading.Event()

        def receive():
            started.set()
            return take(receiver, "other", "q", wait=20)

        receiving = background(receive)
        assert started.wait(5)
        sender.publish([message()])
        assert ids(receiving.result(5)) == ["m"]

    def test_a_release_wakes_it(self, service, message, take, background):
        """Broker.release: to be delivered again."""
        broker, other = service.broker(), service.broker()
        broker.publish([message()])
        held = take(broker)
        receiving = background(take, other, wait=20)
        broker.release(held)
        assert ids(receiving.result(5)) == ["m"]

    def test_a_replay_wakes_it(self, service, message, take, background):
        """Broker.replay: back into the queue, ready."""
        broker, other = service.broker(), service.broker()
        broker.publish([message()])
        broker.dead_letter([(take(broker)[0], "why")])
        receiving = background(take, other, wait=20)
        broker.replay("q")
        assert ids(receiving.result(5)) == ["m"]

    def test_a_message_that_becomes_due_wakes_it_and_is_never_early(self, service, message, take):
        """Message.eta, BrokerCapabilities.delay_resolution_seconds."""
        broker = service.broker()
        eta = time.time() + 0.04
        broker.publish([message(eta=eta)])
        assert ids(take(broker, wait=20)) == ["m"]
        assert eta <= time.time() < eta + broker.capabilities.delay_resolution_seconds + 2

    def test_the_end_of_a_hold_wakes_it(self, service, message, take):
        """Broker.receive: until its hold ends."""
        broker, other = service.broker(), service.broker()
        broker.publish([message()])
        before = time.monotonic()
        take(broker, hold=0.04)
        (delivery,) = take(other, wait=20)
        assert delivery.redelivered
        assert 0.04 <= time.monotonic() - before < 5

    def test_threads_never_hold_one_message_at_once(self, service, message, take, together):
        """Broker.receive: each message is held for one consumer."""
        total, threads = 200, 4
        service.broker().publish([message(f"{number}") for number in range(total)])
        received, lock = [], threading.Lock()

        def consume():
            broker = service.broker()
            mine = []
            while len(received) < total:
                deliveries = take(broker, limit=7, wait=0.02)
                with lock:
                    received.extend(ids(deliveries))
                broker.acknowledge(deliveries)
                mine += deliveries
            return mine

        together(*[consume] * threads)
        assert sorted(received, key=int) == [f"{number}" for number in range(total)]
        assert sizes(service.broker()) == EMPTY

    def test_publishing_from_several_threads_loses_nothing(self, service, message, take, together):
        """Broker: all methods may be called from several threads."""
        broker = service.broker()
        together(*[lambda n=n: [broker.publish([message(f"{n}-{i}")]) for i in range(25)] for n in range(4)])
        received = ids(take(broker, limit=1000))
        assert sorted(received) == sorted(f"{n}-{i}" for n in range(4) for i in range(25))
        for sender in range(4):
            mine = [name for name in received if name.startswith(f"{sender}-")]
            assert mine == [f"{sender}-{i}" for i in range(25)]

    def test_settling_while_another_thread_waits(self, service, message, take, background):
        """Broker: only receive is for one thread at a time; everything else goes on beside it."""
        broker = service.broker()
        broker.publish([message("a"), message("b")])
        deliveries = take(broker)
        receiving = background(take, broker, "empty", wait=20)
        assert list(broker.extend(deliveries, hold_seconds=30)) == [True, True]
        broker.acknowledge(deliveries)
        assert sizes(broker) == EMPTY
        broker.publish([message("end", "empty")])
        assert ids(receiving.result(5)) == ["end"]


class TestSettling:
    def test_acknowledged_is_gone(self, broker, message, take, clock):
        """Broker.acknowledge: remove messages for good."""
        broker.publish([message("a"), message("b")])
        first, _second = take(broker)
        broker.acknowledge([first])
        broker.acknowledge([first])
        assert sizes(broker).held == 1
        clock.advance(31)
        assert ids(take(broker)) == ["b"]

    def test_released_comes_back_at_once(self, broker, message, take):
        """Broker.release."""
        broker.publish([message()])
        broker.release(take(broker))
        (delivery,) = take(broker)
        assert delivery.redelivered
        assert delivery.delivery_count == 2

    def test_released_with_a_delay_comes_back_then(self, broker, message, take, clock):
        """Broker.release: to be delivered again after delay_seconds."""
        broker.publish([message()])
        broker.release(take(broker), delay_seconds=10)
        assert sizes(broker) == QueueSizes(ready=0, delayed=1, held=0, dead=0)
        clock.advance(9.9)
        assert take(broker) == []
        clock.advance(0.1 + broker.capabilities.delay_resolution_seconds)
        (delivery,) = take(broker)
        assert delivery.redelivered
        assert delivery.delivery_count == 2

    def test_release_keeps_the_message_as_it_was(self, broker, message, take, clock):
        """Broker.release: give messages back."""
        sent = message(body=b"\0\xff", headers={"a": "b"}, priority=2)
        broker.publish([sent])
        broker.release(take(broker))
        broker.release(take(broker), delay_seconds=1)
        clock.advance(2)
        assert take(broker)[0].message == sent

    def test_another_object_may_settle(self, service, clock, message, take):
        """Broker: one service, several objects; a lease is not tied to the object."""
        one, other = service.broker(clock), service.broker(clock)
        one.publish([message()])
        other.acknowledge(take(one))
        assert sizes(one) == EMPTY

    def test_extend_prolongs(self, broker, message, take, clock):
        """Broker.extend: hold for hold_seconds from now."""
        broker.publish([message()])
        held = take(broker, hold=10)
        clock.advance(9)
        assert list(broker.extend(held, hold_seconds=10)) == [True]
        clock.advance(9)
        assert take(broker) == []
        clock.advance(1.1)
        assert ids(take(broker)) == ["m"]

    def test_extend_may_shorten(self, broker, message, take, clock):
        """Broker.extend: from now, not on top."""
        broker.publish([message()])
        assert list(broker.extend(take(broker, hold=1000), hold_seconds=1)) == [True]
        clock.advance(1.1)
        assert ids(take(broker)) == ["m"]

    def test_extend_answers_for_each(self, broker, message, take):
        """Broker.extend: for each, whether it is still this consumer's."""
        broker.publish([message("a"), message("b"), message("c")])
        a, b, c = take(broker)
        broker.acknowledge([b])
        assert list(broker.extend([a, b, c], hold_seconds=30)) == [True, False, True]

    @pytest.mark.parametrize("settle", ["acknowledge", "release", "delay", "dead_letter", "extend"])
    def test_a_stale_receipt_changes_nothing(self, broker, message, take, clock, settle):
        """Broker.acknowledge and the rest: where the message was handed out again, nothing changes."""
        broker.publish([message()])
        stale = take(broker, hold=10)
        clock.advance(11)
        (current,) = take(broker, hold=10)
        if settle == "acknowledge":
            broker.acknowledge(stale)
        elif settle == "release":
            broker.release(stale)
        elif settle == "delay":
            broker.release(stale, delay_seconds=5)
        elif settle == "dead_letter":
            broker.dead_letter([(stale[0], "stale")])
        else:
            assert list(broker.extend(stale, hold_seconds=1000)) == [False]
        assert sizes(broker) == QueueSizes(ready=0, delayed=0, held=1, dead=0)
        assert take(broker) == []
        clock.advance(10.1)
        (again,) = take(broker)
        assert again.delivery_count == 3
        assert again.message == current.message

    @pytest.mark.parametrize("first", ["acknowledge", "release", "dead_letter"])
    def test_a_settled_receipt_changes_nothing(self, broker, message, take, first):
        """Broker: a delivery is settled once."""
        broker.publish([message()])
        (delivery,) = take(broker)
        if first == "acknowledge":
            broker.acknowledge([delivery])
        elif first == "release":
            broker.release([delivery])
        else:
            broker.dead_letter([(delivery, "first")])
        before = sizes(broker)
        broker.acknowledge([delivery])
        broker.release([delivery], delay_seconds=1)
        broker.dead_letter([(delivery, "second")])
        assert list(broker.extend([delivery], hold_seconds=1)) == [False]
        assert sizes(broker) == before

    def test_a_hold_that_ended_unnoticed_still_settles(self, broker, message, take, clock):
        """Broker.acknowledge, extend, release: only when it was handed out again is it too late."""
        broker.publish([message("a"), message("b"), message("c"), message("d")])
        a, b, c, d = take(broker, hold=10)
        clock.advance(11)
        assert sizes(broker) == QueueSizes(ready=4, delayed=0, held=0, dead=0)
        assert len(broker.peek("q", QueueSection.READY, limit=10)) == 4
        broker.acknowledge([a])
        assert list(broker.extend([b], hold_seconds=10)) == [True]
        broker.release([c], delay_seconds=20)
        broker.dead_letter([(d, "late")])
        assert sizes(broker) == QueueSizes(ready=0, delayed=1, held=1, dead=1)
        assert take(broker) == []
        clock.advance(10.1)
        assert ids(take(broker)) == ["b"]


class TestDeadLetters:
    def test_they_are_kept_as_they_were_with_the_reason(self, broker, message, take, clock):
        """Broker.dead_letter: kept as it was, with two headers added."""
        sent = message(body=b"\0\xff", headers={"a": "b"}, priority=4)
        broker.publish([sent])
        clock.advance(1.5)
        broker.dead_letter([(take(broker)[0], "no such tàsk\n'x'")])
        (dead,) = broker.peek("q", QueueSection.DEAD, limit=10)
        assert (dead.id, dead.queue, dead.body, dead.priority, dead.eta) == ("m", "q", b"\0\xff", 4, None)
        assert dead.headers["a"] == "b"
        assert dead.headers[DEAD_REASON_HEADER] == "no such tàsk\n'x'"
        assert float(dead.headers[DEAD_AT_HEADER]) == pytest.approx(clock.now(), abs=0.001)
        assert set(dead.headers) == {"a", DEAD_REASON_HEADER, DEAD_AT_HEADER}

    def test_they_are_not_delivered(self, broker, message, take, clock):
        """Broker.dead_letter: put aside."""
        broker.publish([message()])
        broker.dead_letter([(take(broker, hold=1)[0], "why")])
        clock.advance(1000)
        assert take(broker) == []
        assert sizes(broker) == QueueSizes(ready=0, delayed=0, held=0, dead=1)

    def test_oldest_first(self, broker, message, take, clock):
        """Broker.peek: the dead, oldest first."""
        broker.publish([message("a"), message("b", priority=5), message("c")])
        b, a, c = take(broker)
        for delivery in (c, a, b):
            broker.dead_letter([(delivery, "why")])
            clock.advance(1)
        assert [dead.id for dead in broker.peek("q", QueueSection.DEAD, limit=2)] == ["c", "a"]

    def test_replay_all(self, broker, message, take):
        """Broker.replay: ready, without the headers of dead_letter."""
        sent = [message(name, headers={"h": name}) for name in "abc"]
        broker.publish([*sent, message("other", "other")])
        broker.dead_letter([(delivery, "why") for delivery in take(broker, "q", "other")])
        assert broker.replay("q") == 3
        assert sizes(broker) == QueueSizes(ready=3, delayed=0, held=0, dead=0)
        assert sizes(broker, "other").dead == 1
        deliveries = take(broker)
        assert [delivery.message for delivery in deliveries] == sent
        assert all(delivery.redelivered for delivery in deliveries)

    def test_replay_some(self, broker, message, take):
        """Broker.replay: message_ids says which ones."""
        broker.publish([message(name) for name in ("a", "b", "a", "c")])
        broker.dead_letter([(delivery, "why") for delivery in take(broker)])
        assert broker.replay("q", ["a", "unknown"]) == 2
        assert ids(take(broker)) == ["a", "a"]
        assert [dead.id for dead in broker.peek("q", QueueSection.DEAD, limit=9)] == ["b", "c"]
        assert broker.replay("q", []) == 0
        assert broker.replay("never used") == 0

    def test_a_replayed_message_is_ready_whatever_its_eta_was(self, broker, message, take, clock):
        """Broker.replay: ready."""
        broker.publish([message(eta=clock.now() + 5)])
        clock.advance(6)
        broker.dead_letter([(take(broker)[0], "why")])
        assert broker.replay("q") == 1
        assert ids(take(broker)) == ["m"]

    def test_a_message_that_already_had_such_headers_keeps_its_body_and_id(self, broker, message, take):
        """Broker.dead_letter after a republished dead letter: the newest reason stands."""
        broker.publish([message(headers={DEAD_REASON_HEADER: "old"})])
        broker.dead_letter([(take(broker)[0], "new")])
        (dead,) = broker.peek("q", QueueSection.DEAD, limit=9)
        assert dead.headers[DEAD_REASON_HEADER] == "new"


class TestDelays:
    @pytest.mark.parametrize("delay", [0.5, 60, 86_400, 366 * 86_400.0, 50 * 366 * 86_400.0])
    def test_never_early_and_in_time(self, broker, message, take, clock, delay):
        """Message.eta; BrokerCapabilities.longest_delay_seconds: any."""
        assert broker.capabilities.longest_delay_seconds is None
        broker.publish([message(eta=clock.now() + delay)])
        assert sizes(broker) == QueueSizes(ready=0, delayed=1, held=0, dead=0)
        clock.advance(delay - 0.1)
        assert take(broker) == []
        clock.advance(0.1 + broker.capabilities.delay_resolution_seconds)
        assert sizes(broker).ready == 1
        (delivery,) = take(broker)
        assert delivery.redelivered is False
        assert delivery.delivery_count == 1

    def test_a_delayed_message_does_not_stand_in_the_way(self, broker, message, take, clock):
        """Broker.receive: what is there is returned."""
        broker.publish([message("later", eta=clock.now() + 100, priority=9), message("now")])
        assert ids(take(broker)) == ["now"]


class TestInspection:
    def test_sizes(self, broker, message, take, clock):
        """Broker.sizes, QueueSizes."""
        broker.publish([message(f"{number}") for number in range(5)])
        broker.publish([message("later", eta=clock.now() + 100)])
        deliveries = take(broker, limit=3)
        broker.dead_letter([(deliveries[0], "why")])
        assert dict(broker.sizes(["q", "unused"])) == {
            "q": QueueSizes(ready=2, delayed=1, held=2, dead=1),
            "unused": EMPTY,
        }

    def test_queues_are_listed_sorted(self, broker, message, take):
        """Broker.queues: ever used, sorted."""
        assert broker.capabilities.lists_queues
        broker.publish([message(queue="b"), message(queue="a"), message(queue="ü")])
        broker.acknowledge(take(broker, "b"))
        broker.purge("a", QueueSection.READY)
        assert list(broker.queues()) == ["a", "b", "ü"]

    def test_peek_shows_delivery_order(self, broker, message, take, clock):
        """Broker.peek: in delivery order."""
        now = clock.now()
        broker.publish([message("a"), message("b", priority=3), message("c")])
        broker.publish([message("z", eta=now + 20), message("y", eta=now + 10), message("x", eta=now + 15)])
        assert [found.id for found in broker.peek("q", QueueSection.READY, limit=2)] == ["b", "a"]
        assert [found.id for found in broker.peek("q", QueueSection.DELAYED, limit=2)] == ["y", "x"]
        assert list(broker.peek("q", QueueSection.DEAD, limit=2)) == []
        assert list(broker.peek("unused", QueueSection.READY, limit=2)) == []

    def test_peek_disturbs_nothing(self, broker, message, take, clock):
        """Broker.peek: changes nothing."""
        sent = [message("a", body=b"\0"), message("b", headers={"x": "y"}), message("c", eta=clock.now() + 1)]
        broker.publish(sent)
        for place in QueueSection:
            broker.peek("q", place, limit=10)
        assert list(broker.peek("q", QueueSection.READY, limit=10)) == sent[:2]
        assert sizes(broker) == QueueSizes(ready=2, delayed=1, held=0, dead=0)
        clock.advance(2)
        deliveries = take(broker)
        assert [delivery.message for delivery in deliveries] == sent
        assert [(delivery.redelivered, delivery.delivery_count) for delivery in deliveries] == [(False, 1)] * 3

    @pytest.mark.parametrize("place", list(QueueSection))
    def test_purge_drops_that_place_of_that_queue_only(self, broker, message, take, clock, place):
        """Broker.purge: held messages and other queues are not touched."""
        for queue in ("q", "other"):
            broker.publish([message("dead", queue)])
            broker.dead_letter([(take(broker, queue)[0], "why")])
            broker.publish([message("held", queue)])
            take(broker, queue, hold=50)
            broker.publish([message("ready", queue), message("delayed", queue, eta=clock.now() + 100)])
        assert broker.purge("q", place) == 1
        left = {name: 0 if name == place.value else 1 for name in ("ready", "delayed", "held", "dead")}
        assert sizes(broker) == QueueSizes(**left)
        assert sizes(broker, "other") == QueueSizes(ready=1, delayed=1, held=1, dead=1)
        assert broker.purge("q", place) == 0
        assert broker.purge("unused", place) == 0

    def test_a_purged_message_is_not_settled_back(self, broker, message, take, clock):
        """Broker.purge drops a message whose hold has ended; its old receipt changes nothing."""
        broker.publish([message()])
        (delivery,) = take(broker, hold=10)
        clock.advance(11)
        assert broker.purge("q", QueueSection.READY) == 1
        assert list(broker.extend([delivery], hold_seconds=10)) == [False]
        broker.release([delivery])
        broker.dead_letter([(delivery, "why")])
        assert sizes(broker) == EMPTY


class TestClose:
    def test_twice_and_before_use(self, service):
        """Broker.close: twice, and before first use."""
        broker = service.broker()
        broker.close()
        broker.close()

    def test_it_wakes_a_receive(self, service, take, background):
        """Broker.close: while another thread is inside receive, which then returns."""
        broker = service.broker()
        receiving = background(take, broker, wait=60)
        deadline = time.monotonic() + 10
        while not receiving.ended(0.01) and time.monotonic() < deadline:
            broker.close()  # again, since the thread may not have been inside yet
        assert list(receiving.result(0)) == []

    def test_it_does_not_disturb_another_object(self, service, message, take, background):
        """Broker.close lets go of this object's connections only."""
        one, other = service.broker(), service.broker()
        one.publish([message("a")])
        receiving = background(take, other, "q2", wait=20)
        one.close()
        other.publish([message("b", "q2")])
        assert ids(receiving.result(5)) == ["b"]
        assert ids(take(other)) == ["a"]

    def test_what_it_held_comes_back(self, service, clock, message, take):
        """Broker.close: what is held and not settled is delivered again, at the latest when its hold ends."""
        one, other = service.broker(clock), service.broker(clock)
        one.publish([message()])
        take(one, hold=10)
        one.close()
        clock.advance(11)
        (delivery,) = take(other)
        assert delivery.redelivered
