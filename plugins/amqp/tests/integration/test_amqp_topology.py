"""Queues, exchanges and delays on a real RabbitMQ: no message is lost or doubled."""

import threading
import time
from contextlib import closing

import pytest

from drivetrain.contract import (
    DriverContext,
    PublishFailed,
    QueueSection,
    ServiceError,
    ServiceRefused,
    SystemClock,
)
from drivetrain_amqp import connection_manager, make_broker
from support.messages import message

HOLD = 60.0


@pytest.fixture
def make(rabbit, namespace):
    made = []

    def make_one(options="", **changed):
        name = changed.get("namespace", namespace)
        made.append(make_broker(rabbit.url(options=f"namespace={name}{options}"), DriverContext()))
        return made[-1]

    yield make_one
    for broker in made:
        broker.close()


def take(broker, *queues, count=1, seconds=20.0):
    taken, end = [], time.monotonic() + seconds
    while len(taken) < count:
        left = end - time.monotonic()
        assert left > 0, f"{len(taken)} of {count} came"
        taken += broker.receive(queues or ("q",), limit=count - len(taken), wait_seconds=left, hold_seconds=HOLD)
    return taken


def ids(deliveries):
    return [each.message.id for each in deliveries]


def queues_of(rabbit, namespace):
    listed = rabbit.control("list_queues", "--no-table-headers", "name", "messages").splitlines()
    return {name: int(count) for name, count in (line.split("\t") for line in listed) if name.startswith(namespace)}


# One send, one message (W23)


@pytest.mark.parametrize(
    "options", ["", "&exchange=tasks", "&exchange=tasks&exchange_type=topic&binding_key=t.{queue}"]
)
def test_one_send_is_one_message_in_one_queue(rabbit, make, namespace, options):
    """Whatever the exchange: no copy lies in any queue, and the worker of a queue sees that queue only."""
    # An exchange is outside the namespace: another program may own it.
    options = options.replace("tasks", f"tasks-{namespace}")
    broker = make(options)
    broker.publish([message("a", "one"), message("b", "two"), message("c", "two.one")])
    assert sorted(count for count in queues_of(rabbit, namespace).values() if count) == [1, 1, 1]
    assert ids(take(broker, "two")) == ["b"]
    assert ids(take(broker, "one")) == ["a"]
    assert not broker.receive(["one", "two"], limit=9, wait_seconds=0.1, hold_seconds=HOLD)


def test_delays_and_dead_letters_work_with_an_exchange_too(make, namespace):
    broker = make(f"&exchange=x-{namespace}&exchange_type=topic&binding_key=a.{{queue}}")
    broker.publish([message(eta=time.time() + 0.2)])
    (delivery,) = take(broker)
    broker.dead_letter([(delivery, "why")])
    assert broker.replay("q") == 1
    assert ids(take(broker)) == ["m"]


# Delays


def test_many_delays_make_few_queues(rabbit, make, namespace):
    """W15: three hundred different delays share the digits of their numbers, and each publish was confirmed."""
    broker, now = make(), time.time()
    broker.publish([message(f"{number}", eta=now + 60 + number * 0.173) for number in range(300)])
    found = [name for name in queues_of(rabbit, namespace) if "~~delay" in name]
    # Up to 112 seconds are 7,000 ticks, which have three digits in base 32, of which the highest is 6 at most.
    assert len(found) <= 31 + 31 + 6
    assert broker.purge("q", QueueSection.DELAYED) == 300


def test_an_eta_a_microsecond_ahead_is_published(make):
    """W15: less than a millisecond is a delay as well."""
    broker = make()
    broker.publish([message(eta=time.time() + 1e-6)])
    assert ids(take(broker)) == ["m"]


def test_short_delays_overtake_and_keys_do_not_matter(make):
    """W16: 200 ms are 200 ms behind an hour too, and several queues share the ladder."""
    broker, now = make("&max_priority=3"), time.time()
    broker.publish([message("long", eta=now + 3600), message("long2", "r", eta=now + 3)])
    broker.publish([message("short", eta=now + 0.2, priority=3, headers={"a": "b"}), message("r", "r", eta=now + 0.3)])
    short, other = take(broker, "q", "r"), take(broker, "r")
    assert (ids(short), ids(other)) == (["short"], ["r"])
    assert time.time() < now + 3
    assert (short[0].message.priority, dict(short[0].message.headers)) == (3, {"a": "b"})


def test_a_delayed_message_waits_for_a_worker_that_never_was(rabbit, make, namespace):
    """W17: its queue exists when it is due, although only its sender, which is gone, has declared it."""
    sender = make()
    sender.publish([message(eta=time.time() + 0.3)])
    sender.close()
    deadline = time.monotonic() + 20
    while not queues_of(rabbit, namespace).get(f"{namespace}~q"):
        assert time.monotonic() < deadline, "it has not arrived in its queue"
    assert ids(take(make())) == ["m"]


class Stopped(SystemClock):
    """So that equal delays are equally long, and their messages take the same way."""

    def now(self):
        return 1000.0


@pytest.fixture
def delay(rabbit, namespace):
    """Publish messages with a delay in seconds."""
    sender = make_broker(rabbit.url(options=f"namespace={namespace}"), DriverContext(clock=Stopped()))

    def publish(seconds, *messages_of):
        sender.publish([message(name, queue, eta=1000.0 + seconds) for name, queue in messages_of])

    with closing(sender):
        yield publish


#: Delays for which a message waits in one queue: on its way to a next one, a purge may not find it.
_LONG, _SHORT = (98.3, 114.68, 131.06), (5.11, 15.35, 65.52)


def test_a_purge_of_the_delayed_leaves_those_of_others(make, delay):
    broker = make()
    for seconds in _LONG:
        delay(seconds, *[(f"{number}", queue) for number in range(50) for queue in ("q", "r")])
    delay(2.04, ("soon", "r"))
    assert broker.purge("q", QueueSection.DELAYED) == 150
    assert broker.purge("q", QueueSection.DELAYED) == 0
    assert ids(take(broker, "r")) == ["soon"], "purging has changed when the other messages are due"
    assert broker.purge("r", QueueSection.DELAYED) == 150


def test_a_purge_of_the_delayed_keeps_the_order_of_the_others(make, delay):
    """A queue of delays passes on no message before the one at its head: a later one there would delay all others."""
    broker = make()
    for seconds in _SHORT:
        started = time.monotonic()
        delay(seconds, *[(f"{number}", queue) for number in range(100) for queue in ("q", "r")])
        purged = broker.purge("q", QueueSection.DELAYED)
        in_time = time.monotonic() < started + seconds
        came = [each for _ in range(100) for each in ids(take(broker, "r", seconds=20.0 + seconds))]
        if in_time:  # what becomes due while it is looked at may be overtaken
            break
    assert (purged, came) == (100, [f"{number}" for number in range(100)])


@pytest.mark.parametrize("options", ["", "&queue_type=quorum"])
def test_none_of_many_that_are_replayed_or_purged_stays_behind(make, options):
    """RabbitMQ forgets what was said last of a quorum queue, when the channel is closed at once."""
    broker, eta = make(options), time.time() + 3600
    broker.publish([message(f"{number}") for number in range(150)])
    broker.dead_letter([(each, "why") for each in take(broker, count=150)])
    assert broker.replay("q") == 150
    broker.acknowledge(take(broker, count=150))
    broker.publish([message(f"{number}", eta=eta) for number in range(150)])
    assert broker.purge("q", QueueSection.DELAYED) == 150
    assert (broker.replay("q"), broker.purge("q", QueueSection.DELAYED)) == (0, 0)


def test_two_brokers_that_peek_at_once_get_the_same(make):
    one, other = make(), make()
    one.publish([message(f"{number}") for number in range(50)])
    one.dead_letter([(each, "why") for each in take(one, count=50)])
    counts = []

    def peek(broker):
        counts.extend(len(broker.peek("q", QueueSection.DEAD, limit=100)) for _ in range(5))

    threads = [threading.Thread(target=peek, args=(broker,)) for broker in (one, other, one)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert counts == [50] * 15


def test_replay_and_purge_wait_for_a_peek(make):
    """Messages that were taken to be shown are not ready in that moment, and must not be missed."""
    one, other = make(), make()
    one.publish([message("a"), message("b")])
    one.publish([message("later", eta=time.time() + 3600)])
    one.dead_letter([(each, "why") for each in take(one, count=2)])
    names, done = one._names, []
    replay, purge = lambda: other.replay("q"), lambda: other.purge("q", QueueSection.DELAYED)
    for locked, end in ((names.dead("q"), replay), (names.delay_entrance, purge)):
        with one._admin.exclusively(locked):
            working = threading.Thread(target=lambda end=end: done.append(end()))
            working.start()
            working.join(0.3)
            assert working.is_alive(), "it has not waited"
        working.join(60)
    assert done == [2, 1]


# Verdicts of publishers (W24)


def test_each_publisher_has_its_own_verdict(make):
    """W24: of a hundred publishers at once, exactly those with a full queue get an error, which names the message."""
    options = "&queue_arguments=x-max-length:0,x-overflow:reject-publish"
    full, broker = make(options), make()
    full.publish([]) or broker.publish([message("first", "free")])
    verdicts, start = {}, threading.Barrier(100)

    def publish(number):
        name, bad = f"{number}", number % 3 == 0
        start.wait(60)
        try:
            (full if bad else broker).publish([message(name, "full" if bad else "free")])
            verdicts[number] = None
        except PublishFailed as error:
            verdicts[number] = list(error.failures)

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(100)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert verdicts == {number: [f"{number}"] if number % 3 == 0 else None for number in range(100)}
    assert len(take(broker, "free", count=67)) == 67


def test_of_a_batch_those_that_were_refused_are_named(make):
    """A full queue refuses some of a batch: it says which, and exactly the others are there."""
    broker = make("&queue_arguments=x-max-length:5,x-overflow:reject-publish")
    sent = [message(f"{number}", f"q{number % 2}") for number in range(40)]
    with pytest.raises(PublishFailed) as caught:
        broker.publish(sent)
    refused = set(caught.value.failures)
    assert all(isinstance(each, ServiceError) and each.__cause__ for each in caught.value.failures.values())
    came = ids(take(broker, "q0", "q1", count=40 - len(refused)))
    assert sorted([*came, *refused], key=int) == [each.id for each in sent]
    assert refused


def test_a_message_without_a_queue_is_an_error_that_names_it(rabbit, make, namespace):
    """Mandatory: a queue that was deleted is not a hole; the next publish declares it again."""
    broker = make()
    broker.publish([message("a")])
    with rabbit.client() as connection, connection.channel() as channel:
        channel.queue_delete(f"{namespace}~q")
    with pytest.raises(PublishFailed, match="message b reaches no queue"):
        broker.publish([message("b"), message("c", "other")])
    broker.publish([message("d")])
    assert ids(take(broker, "q", "other", count=2)) == ["d", "c"]


def test_of_a_large_batch_each_that_reaches_no_queue_is_named(rabbit, make, namespace):
    """Thousands of failures need no search each; published messages are not among them."""
    broker = make()
    broker.publish([message("a"), message("b", "other")])
    with rabbit.client() as connection, connection.channel() as channel:
        channel.queue_delete(f"{namespace}~q")
    with pytest.raises(PublishFailed) as caught:
        broker.publish([message(f"{number}", "q" if number % 2 else "other") for number in range(4000)])
    assert set(caught.value.failures) == {f"{number}" for number in range(1, 4000, 2)}
    assert broker.sizes(["other"])["other"].ready == 2001


def test_many_delayed_in_one_batch_are_all_published_and_each_refusal_is_named(make):
    """They go out in several parts; what one of them meets keeps none of the others back."""
    broker, eta = make("&queue_arguments=x-max-length:5,x-overflow:reject-publish"), time.time() + 3600
    sent = [message(f"{number}", eta=None if number % 2 else eta) for number in range(1000)]
    with pytest.raises(PublishFailed) as caught:
        broker.publish(sent)
    refused = set(caught.value.failures)
    assert refused
    assert all(int(name) % 2 for name in refused)
    assert broker.sizes(["q"])["q"].ready == 500 - len(refused)
    assert broker.purge("q", QueueSection.DELAYED) == 500


# Queues that are others'


def test_a_queue_with_other_arguments_is_an_error_that_says_which(rabbit, make, namespace):
    with rabbit.client() as connection, connection.channel() as channel:
        channel.queue_declare(f"{namespace}~q", durable=True, arguments={"x-max-priority": 3})
    broker = make("&queue_mode=default")
    for call in (lambda: broker.publish([message()]), lambda: take(broker)):
        with pytest.raises(ServiceRefused) as caught:
            call()
        for part in ("x-max-priority", "'9'", "'3'", f"{namespace}~q", "delete the queue"):
            assert part in str(caught.value)
    with pytest.raises(ServiceRefused, match=r"x-queue-mode(.|\n)*queue_mode"):
        make("&max_priority=3").publish([message()])
    fitting = make("&max_priority=3&queue_mode=default")
    fitting.publish([message()])
    assert ids(take(fitting)) == ["m"]


@pytest.mark.parametrize("options", ["", "&queue_type=quorum"])
def test_a_consumer_that_has_waited_gets_no_second_message(rabbit, make, namespace, options):
    """Not while it is held, when RabbitMQ has not heard yet that its consumer ends; nor when it is given back."""
    one, other, came = make(options), make(options), []
    one.receive(["q"], limit=1, wait_seconds=0, hold_seconds=HOLD)
    waiting = threading.Thread(target=lambda: came.extend(take(one, seconds=60)))
    waiting.start()
    eventually(lambda: _consumers(rabbit, namespace) == 1, "no consumer waits")
    other.publish([message("first")])
    waiting.join(60)
    assert ids(came) == ["first"]
    other.publish([message("second")])
    assert ids(take(other)) == ["second"]
    one.release(came)
    back = take(other)
    assert [(each.message.id, each.redelivered) for each in back] == [("first", True)]
    other.acknowledge(back)
    eventually(lambda: _consumers(rabbit, namespace) == 0, "a consumer has stayed behind")


def _consumers(rabbit, namespace):
    return rabbit.control("list_consumers", "--no-table-headers", "queue_name").count(f"{namespace}~q")


def eventually(true, otherwise, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.01)


def test_a_consumer_that_the_server_ends_comes_back(rabbit, make, namespace, caplog):
    """A queue is deleted while a receive waits: it is declared again, and its messages come."""
    broker, sender = make(), make()
    broker.receive(["q"], limit=1, wait_seconds=0, hold_seconds=HOLD)
    came = []
    waiting = threading.Thread(target=lambda: came.extend(take(broker, seconds=60)))
    waiting.start()
    eventually(lambda: _consumers(rabbit, namespace) == 1, "no consumer waits")
    with rabbit.client() as connection, connection.channel() as channel:
        channel.queue_delete(f"{namespace}~q")
    eventually(lambda: "deleted?" in caplog.text, "it has not noticed")
    sender.publish([message()])
    waiting.join(60)
    assert ids(came) == ["m"]


def test_what_is_delayed_arrives_after_its_queue_was_deleted(rabbit, make, namespace):
    """By a worker that noticed, though the sender did not; and by a sender that noticed, though no worker was there."""
    sender, worker = make(), make()
    sender.publish([message("before", eta=time.time() + 0.2)])
    worker.acknowledge(take(worker))
    with rabbit.client() as connection, connection.channel() as channel:
        channel.queue_delete(f"{namespace}~q")
        assert not worker.receive(["q"], limit=1, wait_seconds=0, hold_seconds=HOLD)
        sender.publish([message("again", eta=time.time() + 0.2)])
        taken = take(worker)
        assert ids(taken) == ["again"]
        worker.acknowledge(taken)
        channel.queue_delete(f"{namespace}~q")
        sender.publish([message("longer", eta=time.time() + 1.5)])
        taken = take(worker)
        assert ids(taken) == ["longer"]
        worker.acknowledge(taken)
        channel.queue_delete(f"{namespace}~q")
    with pytest.raises(PublishFailed):
        sender.publish([message("reaches no queue")])
    sender.publish([message("after", eta=time.time() + 0.2)])
    assert ids(take(sender)) == ["after"]


@pytest.mark.parametrize("options", ["", "&queue_type=quorum", "&exchange=named&exchange_type=topic"])
@pytest.mark.parametrize("seconds", [0.001, 0.4])
def test_a_sender_of_delayed_messages_declares_a_deleted_queue_again(rabbit, make, namespace, options, seconds):
    """No worker could notice. Earlier messages with delays of other lengths have a route again too.

    Also where the delay is over before all is declared, so that the message itself goes to the queue.
    """
    sender, operator = make(options), make(options)
    sender.publish([message("short", eta=time.time() + 0.4)])
    sender.publish([message("long", eta=time.time() + 3600)])
    eventually(lambda: operator.sizes(["q"])["q"].ready == 1, "it does not come")
    before = _bindings(rabbit, namespace)
    with rabbit.client() as connection, connection.channel() as channel:
        channel.queue_delete(f"{namespace}~q")
    assert not _bindings(rabbit, namespace)
    sender.publish([message("after", eta=time.time() + seconds)])
    assert ids(take(operator)) == ["after"]
    assert _bindings(rabbit, namespace) >= before


def _bindings(rabbit, namespace):
    """Where the queue ``q`` gets its messages from."""
    listed = rabbit.control("list_bindings", "--no-table-headers", "source_name", "routing_key", "destination_name")
    return {line for line in listed.splitlines() if line.endswith(f"\t{namespace}~q")}


@pytest.mark.parametrize(("exchange", "delay"), [("-tasks", 0.0), ("~drivetrain~~delay2", 0.4)])
def test_an_exchange_that_is_deleted_is_made_again(rabbit, make, namespace, exchange, delay):
    """RabbitMQ closes the channel that publishes to it: one call fails, and later ones work."""
    options = f"&exchange={namespace}-tasks"
    sender, worker = make(options), make(options)
    sender.publish([message("before", eta=time.time() + delay)])
    worker.acknowledge(take(worker))
    with rabbit.client() as connection, connection.channel() as channel:
        channel.exchange_delete(f"{namespace}{exchange}")
    with pytest.raises(ServiceError):
        sender.publish([message("meanwhile", eta=time.time() + delay)])
    sender.publish([message("after", eta=time.time() + delay)])
    assert ids(take(worker)) == ["after"]


def test_deleted_delay_queues_and_exchanges_are_declared_again(rabbit, make, namespace, monkeypatch):
    """After a while, because RabbitMQ does not report a delayed message without a route."""
    monkeypatch.setattr(connection_manager, "_DELAYS_TRUSTED_SECONDS", 0.0)
    sender, worker = make(), make()
    sender.publish([message("before", eta=time.time() + 1.1)])
    worker.acknowledge(take(worker))
    rabbit.drop_queues(lambda queue: queue.startswith(f"{namespace}~drivetrain~~delay2."))
    with rabbit.client() as connection, connection.channel() as channel:
        for exchange in ("", ".1", ".2", ".3"):
            channel.exchange_delete(f"{namespace}~drivetrain~~delay2{exchange}")
    sender.publish([message("after", eta=time.time() + 1.1)])
    assert ids(take(worker)) == ["after"]


def test_due_messages_without_a_queue_are_stored_and_stop_no_others(rabbit, make, namespace):
    """RabbitMQ passes on 32 messages of a queue at a time: as many that cannot go on would stop all behind them."""
    broker, eta = make(), time.time() + 2
    broker.publish([message(f"{number}", "gone", eta=eta) for number in range(100)])
    broker.publish([message("after", eta=eta)])
    with rabbit.client() as connection, connection.channel() as channel:
        channel.queue_delete(f"{namespace}~gone")
    assert time.time() < eta, "the queue was deleted too late to show anything"
    assert ids(take(broker)) == ["after"]
    eventually(lambda: queues_of(rabbit, namespace)[f"{namespace}~drivetrain~~lost"] == 100, "some were not kept")


@pytest.mark.parametrize("options", ["", "&queue_type=quorum"])
def test_several_first_senders_at_one_moment_all_succeed(make, options):
    """RabbitMQ's quorum queues refuse messages while they are made; no sender may see that, nor another queue."""
    senders = [make(options) for _ in range(6)]
    start = threading.Barrier(len(senders))
    failed = []

    def publish(number, sender):
        sender.ping()
        start.wait(60)
        try:
            sender.publish([message(f"{number}", eta=time.time() + 1.5)])
        except ServiceError as error:
            failed.append(error)

    threads = [threading.Thread(target=publish, args=each) for each in enumerate(senders)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert not failed
    assert sorted(ids(take(senders[0], count=len(senders)))) == [f"{number}" for number in range(len(senders))]


def test_a_sender_waits_for_delay_queues_that_another_one_is_making(make):
    one, other, done = make(), make(), threading.Event()
    one.ping()

    def publish():
        other.publish([message(eta=time.time() + 0.2)])
        done.set()

    with one._publisher._declarer.locks.holding(connection_manager.QUORUM_LOCK):
        publishing = threading.Thread(target=publish)
        publishing.start()
        assert not done.wait(0.3), "it has not waited"
    assert done.wait(60)
    publishing.join(60)
    assert ids(take(one)) == ["m"]


def test_a_queue_that_another_program_has_declared_differently_is_an_error(rabbit, make, namespace):
    """A delayed message would come to a queue that is not ours, or to none."""
    sender = make()
    sender.publish([message("before", eta=time.time() + 3600)])
    with rabbit.client() as connection, connection.channel() as channel:
        channel.queue_delete(f"{namespace}~q")
        channel.queue_declare(f"{namespace}~q", durable=True, arguments={"x-max-priority": 3})
    for _ in range(2):
        with pytest.raises(ServiceError, match="x-max-priority") as caught:
            sender.publish([message("after", eta=time.time() + 3600)])
    assert "delete the queue" in str(caught.value)


def test_a_queue_that_is_deleted_between_two_receives_is_made_again(rabbit, make, namespace, caplog):
    """RabbitMQ closes the channel that consumes from a missing queue, and redelivers its messages."""
    broker = make()
    broker.publish([message("held", "other")])
    take(broker, "other")
    broker.receive(["q"], limit=1, wait_seconds=0, hold_seconds=HOLD)
    with rabbit.client() as connection, connection.channel() as channel:
        channel.queue_delete(f"{namespace}~q")
    assert ids(take(broker, "q", "other")) == ["held"]
    assert "closed the channel" in caplog.text
    make().publish([message()])
    assert ids(take(broker)) == ["m"]


def test_messages_of_another_program_stop_no_worker(rabbit, make, namespace):
    broker = make()
    broker.publish([message("first")])
    with rabbit.client() as connection, connection.channel() as channel:
        channel.basic_publish("", f"{namespace}~q", b"theirs")
    broker.publish([message("last")])
    taken = take(broker, count=3)
    assert [each.message.id for each in taken] == ["first", "", "last"]
    assert taken[1].message.body == b"theirs"


def test_an_operation_on_a_missing_queue_leaves_the_connection_open(make):
    """Its channel is opened by the first request, and closed where there was none."""
    broker = make()
    broker.publish([message()])
    (held,) = take(broker)
    broker.dead_letter([(held, "why")])
    assert broker.purge("q", QueueSection.DEAD) == 1
    assert (broker.replay("q"), list(broker.peek("q", QueueSection.DEAD, limit=9))) == (0, [])
    broker.publish([message("next")])
    held = take(broker)
    assert broker.replay("q") == 0
    assert list(broker.extend(held, hold_seconds=HOLD)) == [True], "the connection was lost"


def test_a_batch_that_is_late_comes_in_due_order(rabbit, namespace):
    """Its messages become due while it waits to be sent: then they are ready at once, and still in their order."""

    class Slow(SystemClock):
        """An hour passes between two calls, as on a machine that was suspended."""

        hours = 0

        def now(self):
            self.hours += 1
            return super().now() + 3600 * self.hours

    broker = make_broker(rabbit.url(options=f"namespace={namespace}"), DriverContext(clock=Slow()))
    try:
        eta = time.time() + 3 * 3600 + 1000
        broker.publish([message(f"{number}", eta=eta + number) for number in (3, 1, 2)])
        assert ids([each for _ in range(3) for each in take(broker)]) == ["1", "2", "3"]
    finally:
        broker.close()
