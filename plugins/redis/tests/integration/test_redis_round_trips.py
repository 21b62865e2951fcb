"""What the contract does not see: round trips, who is woken, what is left behind, forks."""

import os
import threading
import time
from contextlib import suppress

import pytest

from drivetrain import App
from drivetrain.contract import (
    DriverContext,
    Group,
    Member,
    Message,
    QueueSection,
    ServiceUnavailable,
    State,
    Transition,
    evolve,
)
from drivetrain_redis import make_backend, make_broker
from drivetrain_redis.connection import ServerConnection
from drivetrain_redis.keys import Keys
from drivetrain_redis.values import SHARDS
from support.waiting import until

HOLD = 30.0


def messages(count, **fields):
    return [Message(id=f"{number}", queue="q", body=b"body", **fields) for number in range(count)]


def starts(count):
    return [
        Transition(task_id=f"{number}", state=State.STARTED, at=1.0, run="r", lease=HOLD) for number in range(count)
    ]


def ends(count):
    return [
        Transition(
            task_id=f"{number}", state=State.SUCCESS, at=1.0, run="r", payload=b"1", retention=60,
            member=Member("g", number),
        )
        for number in range(count)
    ]  # fmt: skip


class Background(threading.Thread):
    """A call in another thread."""

    def __init__(self, call):
        super().__init__(daemon=True)
        self._call = call
        self.answer = None
        self.start()

    def run(self):
        self.answer = self._call()

    def result(self):
        self.join(60)
        assert not self.is_alive(), "it has not returned"
        return self.answer


@pytest.fixture
def sendings(monkeypatch):
    """How many commands each trip to a server has carried."""
    trips = []

    def counting(connection, calls):
        trips.append(len(calls))
        original(connection, calls)

    original = ServerConnection.send
    monkeypatch.setattr(ServerConnection, "send", counting)
    return trips


# Round trips


def test_every_stage_of_a_worker_is_one_call_for_a_batch(broker, backend, client, sendings):
    count = 200
    broker.publish(messages(1))
    backend.open_groups([Group(group_id="g", size=count)])
    client.config_resetstat()
    del sendings[:]
    broker.publish(messages(count))
    taken = broker.receive(["q", "r"], limit=count, wait_seconds=0, hold_seconds=HOLD)
    assert len(taken) == count
    backend.record(starts(count))
    broker.extend(taken, hold_seconds=HOLD)
    outcomes = backend.record(ends(count))
    assert outcomes[-1].group.complete
    broker.acknowledge(taken)
    assert sendings == [1] * 6, "a stage took more than one call, or more than one trip"
    scripts = {name: told["calls"] for name, told in client.info("commandstats").items() if "eval" in name}
    # What is not known to the server yet is called once more, and once only.
    assert 6 <= sum(scripts.values()) <= 12


def test_a_worker_makes_one_trip_for_each_stage_of_a_batch(url, sendings):
    app = App(url)

    @app.task
    def double(number: int) -> int:
        return 2 * number

    handles = app.send_many([double.s(number) for number in range(200)])
    worker = app.worker(concurrency=200)
    del sendings[:]
    assert worker.drain() == 200
    assert sendings == [1] * 6, (
        "pauses read, received, started, recorded, acknowledged; and a receive that found nothing"
    )
    assert [handle.get(timeout=0) for handle in handles] == [2 * number for number in range(200)]
    app.close()


def test_a_task_is_sent_in_one_trip(url, sendings):
    app = App(url)
    app.send(app.signature("anything"))  # so that the queue is known
    del sendings[:]
    app.send(app.signature("anything"))
    assert [len(sendings), sendings[0]] == [1, 1]
    app.close()


def test_a_receive_that_finds_something_costs_one_trip_also_when_it_would_wait(broker, sendings):
    broker.publish(messages(2))
    broker.receive(["q"], limit=1, wait_seconds=5, hold_seconds=HOLD)
    del sendings[:]
    assert broker.receive(["q", "other"], limit=1, wait_seconds=5, hold_seconds=HOLD)
    assert sendings == [1]


def test_an_idle_receive_reads_at_its_start_and_at_its_end(broker, sendings):
    broker.receive(["q"], limit=1, wait_seconds=0.001, hold_seconds=HOLD)
    del sendings[:]
    assert not broker.receive(["q", "r"], limit=1, wait_seconds=0.3, hold_seconds=HOLD)
    assert sendings == [1, 1]


@pytest.mark.parametrize("count", [0, 20_000])
def test_what_is_delayed_does_not_slow_receiving_down(broker, client, count):
    """The commands of one call, and what they touch, are the same however many messages are delayed."""
    if count:
        broker.publish(messages(count, eta=time.time() + 1e6))
    broker.publish(messages(10))
    assert len(broker.receive(["q"], limit=5, wait_seconds=0, hold_seconds=HOLD)) == 5
    client.config_resetstat()
    assert len(broker.receive(["q"], limit=5, wait_seconds=0, hold_seconds=HOLD)) == 5
    stats = {name.removeprefix("cmdstat_"): told["calls"] for name, told in client.info("commandstats").items()}
    inner = {name: calls for name, calls in stats.items() if name not in {"info", "config|resetstat", "evalsha"}}
    # One EXISTS asks for fair keys, the other one for priorities.
    assert inner == {
        "time": 1, "zrangebyscore": 3, "exists": 2, "lpop": 1, "hmget": 1, "zadd": 1,
    }  # fmt: skip


# Waking


def waiting(client, prefix):
    return client.zcard(Keys(prefix).queue("q") + b":waiting")


def test_one_message_wakes_one_waiting_receive(url, client, prefix):
    brokers = [make_broker(url, DriverContext()) for _ in range(3)]
    calls = [
        Background(lambda each=each: each.receive(["q"], limit=1, wait_seconds=20, hold_seconds=HOLD))
        for each in brokers
    ]
    until(lambda: waiting(client, prefix) == 3, "three wait")
    for left in (2, 1, 0):
        brokers[0].publish(messages(1))
        assert waiting(client, prefix) == left
    assert [len(call.result()) for call in calls] == [1, 1, 1]
    for each in brokers:
        each.close()


def test_who_was_woken_by_one_queue_is_not_expected_at_another(broker, client, prefix):
    call = Background(lambda: broker.receive(["other", "q"], limit=9, wait_seconds=20, hold_seconds=HOLD))
    until(lambda: waiting(client, prefix) == 1, "it waits")
    broker.publish([Message(id="m", queue="other", body=b"")])
    assert len(call.result()) == 1
    assert waiting(client, prefix) == 0


def test_who_is_gone_is_passed_over(url, broker, client, prefix):
    gone = "nobody:listens"
    client.zadd(Keys(prefix).queue("q") + b":waiting", {gone: 9e15})
    call = Background(lambda: broker.receive(["q"], limit=9, wait_seconds=20, hold_seconds=HOLD))
    until(lambda: waiting(client, prefix) == 2, "it waits")
    broker.publish(messages(1))
    assert len(call.result()) == 1


def test_who_waits_survives_the_loss_of_its_connections_and_of_all_scripts(url, broker, client, prefix):
    def receive():
        while True:
            with suppress(ServiceUnavailable):  # as the worker does; a connection lost during its sleep raises nothing
                return broker.receive(["q"], limit=9, wait_seconds=30, hold_seconds=HOLD)

    call = Background(receive)
    for _ in range(3):
        until(lambda: waiting(client, prefix) >= 1, "it waits")
        client.delete(Keys(prefix).queue("q") + b":waiting")
        client.script_flush()
        client.client_kill_filter(_type="pubsub")
        client.client_kill_filter(_type="normal", skipme=True)
    until(lambda: waiting(client, prefix) >= 1, "it waits again")
    other = make_broker(url, DriverContext())
    other.publish(messages(1))
    assert len(call.result()) == 1
    other.close()


def test_a_shorter_delay_wakes_a_receive_that_sleeps_longer(broker, client, prefix):
    broker.publish(messages(1, eta=time.time() + 3600))
    call = Background(lambda: broker.receive(["q"], limit=9, wait_seconds=30, hold_seconds=HOLD))
    until(lambda: waiting(client, prefix) == 1, "it waits")
    broker.publish([Message(id="soon", queue="q", body=b"", eta=time.time() + 0.2)])
    (delivery,) = call.result()
    assert delivery.message.id == "soon"


def test_waits_in_vain_leave_nothing_at_a_task(backend, client, prefix):
    backend.record(starts(1))
    for _ in range(3):
        assert backend.wait(["0"], timeout_seconds=0.01) == {}
    assert client.scard(Keys(prefix).task("0") + b":waiting") == 0


def test_waits_for_many_that_end_with_one_of_them_leave_nothing_at_the_others(backend, client, prefix):
    """A caller that waits for thousands of tasks waits again whenever one of them has ended."""
    names = [str(number) for number in range(4)]
    backend.record(starts(4))
    key = Keys(prefix).task("3") + b":waiting"
    for ended in names[:3]:
        call = Background(lambda left=names: backend.wait(left, timeout_seconds=30))
        until(lambda: client.scard(key) == 1, "it waits")
        backend.record([ends(4)[int(ended)]])
        assert list(call.result()) == [ended]
        assert client.scard(key) == 0
        names = names[1:]


# What is left


def test_nothing_is_kept_for_ever_but_the_names_of_queues_and_the_last_versions(url, client, prefix):
    """After a workflow with groups, retries, delays, locks and waiting: the names of queues, and the last versions."""
    settings = {"result_retention_seconds": 0.3, "redelivery_window_seconds": 0.6, "counts_retention_seconds": 0}
    app = App(url, url, concurrency=2, schedules=False, **settings)

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="total")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    from drivetrain import chord

    with app.worker().start():
        assert add.send(1, 2).get(timeout=60) == 3
        assert app.send(chord([add.s(n, n) for n in range(5)], total.s())).get(timeout=60) == 20
        assert app.send(add.s(3, 4).set(delay=0.05)).get(timeout=60) == 7
        with app.lock("l", seconds=10):
            pass
        keys = Keys(prefix)
        until(lambda: not list(client.scan_iter(keys.pattern("t"))), "all results are gone")
        until(lambda: broker_is_empty(client, prefix), "all messages are gone")
    app.close()
    immortal = {key for key in client.scan_iter(f"{prefix}:*") if client.ttl(key) < 0}
    assert immortal - {keys.values(shard) + b":version" for shard in range(SHARDS)} == {keys.queues}


def broker_is_empty(client, prefix):
    kinds = {key.rpartition(b"}")[2] for key in client.scan_iter(Keys(prefix).pattern("q"))}
    return kinds <= {b":sequence", b":waiting"}


def test_settled_and_purged_messages_leave_nothing(broker, client, prefix):
    broker.publish([*messages(4), *messages(2, eta=time.time() + 1e6)])
    taken = broker.receive(["q"], limit=3, wait_seconds=1, hold_seconds=HOLD)
    broker.dead_letter([(each, "why") for each in taken[:2]])
    broker.acknowledge(taken[2:])
    for section in QueueSection:
        broker.purge("q", section)
    assert broker_is_empty(client, prefix)


# Processes


def test_a_forked_child_shares_no_connection(broker, backend):
    broker.publish(messages(2))
    backend.record(starts(1))
    child = os.fork()
    if child == 0:
        try:
            good = backend.read(["0"])[0] is not None
            good = good and len(broker.receive(["q"], limit=1, wait_seconds=1, hold_seconds=HOLD)) == 1
            os._exit(0 if good else 1)
        except BaseException:
            os._exit(2)
    for _ in range(200):
        backend.read(["0"])
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert len(broker.receive(["q"], limit=2, wait_seconds=1, hold_seconds=HOLD)) == 1


def test_objects_can_be_used_after_close(url):
    for make in (make_broker, make_backend):
        driver = make(url, DriverContext())
        driver.ping()
        driver.close()
        driver.ping()
        driver.close()


def test_the_notification_carries_the_record_if_the_call_waits_for_one_task(url, backend, client, prefix):
    def ended(task_ids, payload=b"v"):
        backend.record(starts(2))
        call = Background(lambda: backend.wait(task_ids, timeout_seconds=60))
        until(lambda: client.exists(*(Keys(prefix).task(one) + b":waiting" for one in task_ids)), "it waits")
        backend.record([evolve(ends(1)[0], payload=payload, member=None)])
        told = call.result()
        found = backend.read(["0"])[0]
        backend.forget(["0", "1"])
        return told, found

    told, found = ended(["0"])
    assert told == {"0": found}
    assert found.payload == b"v"
    told, _ = ended(["0", "1"])
    assert told == {"0": None}, "many of them may come before anybody reads"
    told, found = ended(["0"], bytes(100_000))
    assert told == {"0": None}
    assert len(found.payload) == 100_000
