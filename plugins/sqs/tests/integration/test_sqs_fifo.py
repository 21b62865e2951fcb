"""What FIFO queues are for, and what they lack: groups in order, retries, and delays that keep nobody waiting."""

import itertools
import time

import pytest

from drivetrain import App, retry
from drivetrain.contract import MESSAGE_GROUP_HEADER, Message, QueueSection, SystemClock
from drivetrain_sqs.broker import SqsBroker
from drivetrain_sqs.options import Options

_numbers = itertools.count()
PATIENCE = 30


def message(name, group=None, **fields):
    headers = {} if group is None else {MESSAGE_GROUP_HEADER: group}
    return Message(id=str(name), queue="q", body=b"body", headers=headers, **fields)


@pytest.fixture
def broker(localstack):
    made = SqsBroker(Options.parse(localstack.url(f"fifo{next(_numbers)}", fifo="true")), SystemClock())
    yield made
    made.close()


def drain(broker, count, limit=10):
    came, end = [], time.monotonic() + PATIENCE
    while len(came) < count:
        assert time.monotonic() < end, f"{came} of {count} came"
        taken = broker.receive(["q"], limit=limit, wait_seconds=2, hold_seconds=30)
        broker.acknowledge(taken)
        came += [each.message.id for each in taken]
    return came


def test_a_group_comes_in_its_order_however_many_batches_it_takes(broker):
    broker.publish([message(f"{number}", group="abc"[number % 3]) for number in range(45)])
    came = drain(broker, 45)
    for start in range(3):
        assert [int(name) for name in came if int(name) % 3 == start] == list(range(start, 45, 3))


def test_only_the_group_of_a_message_in_flight_waits(broker):
    broker.publish([message("first", "g"), message("second", "g"), message("other", "h"), message("alone")])
    (held,) = broker.receive(["q"], limit=1, wait_seconds=5, hold_seconds=30)
    assert held.message.id == "first"
    others = drain(broker, 2)
    assert sorted(others) == ["alone", "other"]
    broker.release([held])
    assert drain(broker, 2, limit=1) == ["first", "second"]


def test_a_delayed_message_does_not_block_its_group(broker):
    broker.publish([message("later", "g", eta=time.time() + 3), message("now", "g")])
    assert drain(broker, 1) == ["now"]
    assert broker.sizes(["q"])["q"].delayed == 1, "it has waited for the delayed one of its group"
    assert drain(broker, 1) == ["later"]


def test_the_same_message_is_carried_as_often_as_it_is_published(broker):
    broker.publish([message("a", "g"), message("a", "g")])
    broker.publish([message("a", "g")])
    assert drain(broker, 3) == ["a", "a", "a"]


def test_dead_letters_of_one_group_are_all_seen_and_found(broker):
    """A look hides what it sees, and with it what follows in its group: so they have a group each."""
    broker.publish([message(each, "g") for each in range(12)])
    for each in range(12):
        (taken,) = broker.receive(["q"], limit=1, wait_seconds=PATIENCE, hold_seconds=30)
        broker.dead_letter([(taken, f"why {each}")])
    assert [each.id for each in broker.peek("q", QueueSection.DEAD, limit=20)] == [str(each) for each in range(12)]
    assert broker.replay("q", ["11"]) == 1
    assert drain(broker, 1) == ["11"]


def test_retries_and_delays_of_a_group_run(localstack):
    app = App(localstack.url("fiforetries", fifo="true"), backend="memory://")
    runs, ran_at = [], []

    @app.task(retry=retry.fixed(0.3, max_retries=2))
    def flaky(name: str) -> str:
        runs.append(name)
        ran_at.append(time.time())
        if runs.count(name) < 3:
            raise ValueError(name)
        return name

    sent = time.time()
    with app.worker(concurrency=2):
        first = flaky.s("a").set(message_group="g", delay=1.5).send()
        assert first.get(timeout=PATIENCE) == "a"
    app.close()
    assert runs == ["a"] * 3, "a retry was taken for a duplicate"
    assert ran_at[0] - sent >= 1.5
