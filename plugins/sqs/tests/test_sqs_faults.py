"""What AWS may do and imitations do not: duplicates, disorder, hidden messages, half-done batches, refusals."""

import itertools
import time

import pytest

from drivetrain.contract import (
    AuthenticationFailed,
    Message,
    Place,
    PublishFailed,
    ServiceRefused,
    ServiceUnavailable,
    SystemClock,
)
from drivetrain_sqs.broker import SqsBroker
from drivetrain_sqs.clients import Clients, connect
from drivetrain_sqs.options import Options
from services.sqs_client import Calls, Faults, FaultyClient, client_error

_numbers = itertools.count()
PATIENCE = 30


def message(name, queue="q", **fields):
    return Message(id=str(name), queue=queue, body=b"body", **fields)


@pytest.fixture
def make(moto):
    """Makes brokers with faults, each on a prefix of its own."""
    made, own = [], f"faults{next(_numbers)}"

    def make(faults, prefix="", **options):
        def faulty(parsed):
            clients, calls = connect(parsed), Calls()
            return Clients(*(FaultyClient(each, calls, faults) for each in (clients.patient, clients.prompt)))

        url = moto.url(prefix or own, **options)
        made.append(SqsBroker(Options.parse(url), SystemClock(), faulty))
        return made[-1]

    yield make
    for broker in made:
        broker.close()


def drain(broker, count, *, queue="q", limit=10):
    """Receive and acknowledge until ``count`` different messages came; the ids of all, as they came."""
    came, end = [], time.monotonic() + PATIENCE
    while len(set(came)) < count:
        assert time.monotonic() < end, f"{sorted(set(came))} of {count} messages came"
        taken = insist(lambda: broker.receive([queue], limit=limit, wait_seconds=1, hold_seconds=30))
        came += [each.message.id for each in taken]
        insist(lambda taken=taken: broker.acknowledge(taken))
    return came


def insist(call):
    """Make a call until it is not refused for a time, as core does."""
    for _ in range(100):
        try:
            return call()
        except ServiceUnavailable:
            continue
    raise AssertionError("never answered")


def test_what_is_delivered_twice_while_it_is_held_is_handed_out_once(make):
    faults = Faults(duplicates=1.0)
    broker = make(faults)
    broker.publish([message(each) for each in range(8)])
    taken, end = [], time.monotonic() + PATIENCE
    while len(taken) < 8 or faults.happened["duplicates"] < 8:
        taken += broker.receive(["q"], limit=3, wait_seconds=0, hold_seconds=30)
        assert time.monotonic() < end
    taken += broker.receive(["q"], limit=10, wait_seconds=0.3, hold_seconds=30)
    assert sorted(each.message.id for each in taken) == [str(each) for each in range(8)]
    assert all(broker.extend(taken, hold_seconds=30))
    broker.acknowledge(taken)


@pytest.mark.parametrize("fifo", ["false", "true"])
def test_nothing_is_lost_while_everything_goes_wrong_now_and_then(make, fifo):
    faults = Faults(
        seed=7, duplicates=0.2, failing_entries=0.15, throttling=0.1, lost_answers=0.1, hiding=0.2, reordering=True
    )
    broker, total = make(faults, fifo=fifo), 40
    for start in range(0, total, 10):
        batch = [message(each) for each in range(start, start + 10)]
        insist(lambda batch=batch: broker.publish(batch))
    came = drain(broker, total)
    assert set(came) == {str(each) for each in range(total)}
    assert sum(faults.happened.values()) >= 10, f"too little went wrong: {faults.happened}"


def test_an_acknowledgement_that_fails_in_part_is_made_again_for_that_part(make):
    faults = Faults()
    broker = make(faults)
    broker.publish([message(each) for each in range(6)])
    taken = []
    while len(taken) < 6:
        taken += broker.receive(["q"], limit=6, wait_seconds=1, hold_seconds=30)
    faults.failing_entries = 0.5
    with pytest.raises(ServiceUnavailable):
        broker.acknowledge(taken)
    failed = [each for each in taken if not each.receipt.settled]
    assert 0 < len(failed) < 6
    faults.failing_entries = 0.0
    broker.acknowledge(taken)
    assert all(each.receipt.settled for each in taken)
    assert broker.sizes(["q"])["q"].held == 0


def test_entries_that_fail_for_a_time_are_sent_once_more_and_alone(make):
    faults = Faults(seed=3, failing_entries=0.3)
    broker = make(faults)
    sent = []
    for number in range(20):  # often enough that some entries fail once, and none of them twice
        try:
            broker.publish([message(number)])
            sent.append(str(number))
        except ServiceUnavailable:
            continue
    failed = faults.happened["failing_entries"]
    faults.failing_entries = 0.0
    assert failed
    assert sorted(drain(broker, len(sent))) == sorted(sent), "a message that was refused was sent, or one twice"


def test_what_is_refused_for_good_is_told_by_message_and_the_rest_is_sent(make):
    refused = client_error("AccessDenied", "SendMessageBatch", 403)
    faults = Faults()
    broker = make(faults)
    broker.publish([message("first")])
    faults.next_errors["send_message_batch"] = [refused]
    with pytest.raises(PublishFailed) as caught:
        broker.publish([message(each) for each in range(15)])
    assert len(caught.value.failures) in {5, 10}
    assert all("sqs:SendMessage" in str(error) for error in caught.value.failures.values())
    faults.next_errors["send_message_batch"] = [refused]
    with pytest.raises(ServiceRefused, match="allow this identity the action sqs:SendMessage"):
        broker.publish([message("alone")])


def test_an_expired_token_is_told_and_new_credentials_are_looked_for(make):
    faults = Faults()
    broker = make(faults)
    broker.publish([message("a")])
    before = broker._service._ready()
    faults.next_errors["receive_message"] = [client_error("ExpiredToken", status=403)]
    with pytest.raises(AuthenticationFailed, match="session has ended"):
        broker.receive(["q"], limit=1, wait_seconds=0, hold_seconds=30)
    assert drain(broker, 1) == ["a"]
    assert broker._service._ready() is not before, "the client with the old credentials is still in use"


def test_throttling_and_too_many_in_flight_are_told_apart(make):
    faults = Faults()
    broker = make(faults)
    broker.publish([message("a")])
    faults.next_errors["receive_message"] = [client_error("ThrottlingException"), client_error("OverLimit")]
    with pytest.raises(ServiceUnavailable, match="Throttling"):
        broker.receive(["q"], limit=1, wait_seconds=0, hold_seconds=30)
    with pytest.raises(ServiceRefused, match="120,000"):
        broker.receive(["q"], limit=1, wait_seconds=0, hold_seconds=30)


def test_a_failing_second_queue_loses_nothing_of_the_first(make):
    faults = Faults()
    broker = make(faults)
    broker.publish([message("a", "first"), message("b", "second")])
    broker.sizes(["first", "second"])
    original, asked = broker._receiver._fetcher.fetch, []

    def failing(source, **rest):
        asked.append(source.queue)
        if source.queue == "second":
            raise ServiceUnavailable("told by a test")
        return original(source, **rest)

    broker._receiver._fetcher.fetch = failing
    taken = broker.receive(["first", "second"], limit=10, wait_seconds=0, hold_seconds=30)
    assert asked[-1] == "second"
    assert [each.message.id for each in taken] == ["a"]


def test_a_dead_letter_is_sent_before_its_message_is_deleted(make):
    faults = Faults()
    broker = make(faults)
    broker.publish([message("a")])
    (taken,) = broker.receive(["q"], limit=1, wait_seconds=5, hold_seconds=30)
    faults.next_errors["delete_message_batch"] = [client_error("InternalError", "DeleteMessageBatch", 500)]
    with pytest.raises(ServiceUnavailable):
        broker.dead_letter([(taken, "why")])
    assert [each.id for each in broker.peek("q", Place.DEAD, limit=9)] == ["a"]
    assert broker.sizes(["q"])["q"].held == 1


def test_what_comes_when_nobody_asks_any_more_is_given_back(make):
    broker, other = make(Faults(), prefix="nobody"), make(Faults(), prefix="nobody")
    broker.publish([message("x", "other")])
    broker.acknowledge(broker.receive(["other"], limit=1, wait_seconds=2, hold_seconds=30))
    broker.publish([message("y", "second")])
    # The poll of the first queue goes on when the second one's message has been handed out.
    broker.receive(["first", "third"], limit=1, wait_seconds=0, hold_seconds=30)
    taken = broker.receive(["first", "second"], limit=1, wait_seconds=5, hold_seconds=30)
    assert [each.message.id for each in taken] == ["y"]
    other.publish([message("late", "first")])
    assert drain(other, 1, queue="first") == ["late"]


def test_close_gives_back_what_was_not_handed_out(make):
    broker, other = make(Faults(), prefix="closing"), make(Faults(), prefix="closing")
    broker.publish([message("soon", eta=time.time() + 0.9)])
    assert broker.receive(["q"], limit=1, wait_seconds=0, hold_seconds=600) == []
    broker.close()
    assert drain(other, 1) == ["soon"]


def test_a_hold_is_never_taken_to_last_longer_than_it_does(make):
    broker, other = make(Faults(), prefix="holding"), make(Faults(), prefix="holding")
    broker.publish([message("a")])
    (late,) = broker.receive(["q"], limit=1, wait_seconds=5, hold_seconds=0.2)
    (current,) = other.receive(["q"], limit=1, wait_seconds=10, hold_seconds=30)
    assert list(broker.extend([late], hold_seconds=30)) == [False]
    broker.acknowledge([late])
    broker.release([late])
    broker.dead_letter([(late, "why")])
    assert list(other.extend([current], hold_seconds=30)) == [True]
    assert other.peek("q", Place.DEAD, limit=1) == []
