"""What AWS may do and imitations do not: duplicates, disorder, hidden messages, half-done batches, refusals."""

import itertools
import threading
import time

import pytest

from drivetrain.contract import (
    MESSAGE_GROUP_HEADER,
    AuthenticationFailed,
    Message,
    PublishFailed,
    QueueSection,
    ServiceRefused,
    ServiceUnavailable,
    SystemClock,
)
from drivetrain_sqs.broker import SqsBroker
from drivetrain_sqs.connection import Clients, connect
from drivetrain_sqs.options import Options
from drivetrain_sqs.receive_buffer import ReceiveCall
from services.sqs_client import Calls, Faults, FaultyClient, client_error

_numbers = itertools.count()
PATIENCE = 30


def message(name, queue="q", **fields):
    return Message(id=str(name), queue=queue, body=b"body", **fields)


@pytest.fixture
def make(moto):
    """Makes brokers with faults, each on a prefix of its own."""
    made, own = [], f"faults{next(_numbers)}"

    def make(faults, prefix="", calls=None, **options):
        noted = calls or Calls()

        def faulty(parsed):
            clients = connect(parsed)
            return Clients(*(FaultyClient(each, noted, faults) for each in (clients.long_poll, clients.request)))

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


def test_a_duplicate_of_a_message_in_flight_is_dropped(make):
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
def test_random_faults_lose_no_message(make, fifo):
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


def test_a_repeated_acknowledge_covers_only_the_failed_part(make):
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
    assert broker.sizes(["q"])["q"].in_flight == 0


def test_entries_that_fail_once_are_sent_again_alone(make):
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


def test_publish_failed_names_the_refused_messages_and_the_rest_is_sent(make):
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


def test_an_expired_token_is_an_error_and_the_next_call_reads_credentials_again(make):
    faults = Faults()
    broker = make(faults)
    broker.publish([message("a")])
    before = broker._api.clients()
    faults.next_errors["receive_message"] = [client_error("ExpiredToken", status=403)]
    with pytest.raises(AuthenticationFailed, match="session has ended"):
        broker.receive(["q"], limit=1, wait_seconds=0, hold_seconds=30)
    assert drain(broker, 1) == ["a"]
    assert broker._api.clients() is not before, "the client with the old credentials is still in use"


def test_throttling_and_too_many_in_flight_are_different_errors(make):
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

    def failing(buffer, **rest):
        asked.append(buffer.queue)
        if buffer.queue == "second":
            raise ServiceUnavailable("raised by a test")
        return original(buffer, **rest)

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
    assert [each.id for each in broker.peek("q", QueueSection.DEAD, limit=9)] == ["a"]
    assert broker.sizes(["q"])["q"].in_flight == 1


def test_buffered_messages_without_a_receive_are_released(make):
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


def test_close_releases_undelivered_messages(make):
    broker, other = make(Faults(), prefix="closing"), make(Faults(), prefix="closing")
    broker.publish([message("soon", eta=time.time() + 0.9)])
    assert broker.receive(["q"], limit=1, wait_seconds=0, hold_seconds=600) == []
    broker.close()
    assert drain(other, 1) == ["soon"]


def test_nothing_is_settled_after_the_end_of_its_hold(make):
    broker, other = make(Faults(), prefix="holding"), make(Faults(), prefix="holding")
    broker.publish([message("a")])
    (late,) = broker.receive(["q"], limit=1, wait_seconds=5, hold_seconds=0.2)
    (current,) = other.receive(["q"], limit=1, wait_seconds=10, hold_seconds=30)
    assert list(broker.extend([late], hold_seconds=30)) == [False]
    broker.acknowledge([late])
    broker.release([late])
    broker.dead_letter([(late, "why")])
    assert list(other.extend([current], hold_seconds=30)) == [True]
    assert other.peek("q", QueueSection.DEAD, limit=1) == []


def test_a_refused_entry_is_an_error_and_stays_unsettled(make):
    faults = Faults(failing_entries=1.0, failing_code="AccessDenied")
    broker = make(faults)
    faults.failing_entries = 0.0
    broker.publish([message("a")])
    (taken,) = broker.receive(["q"], limit=1, wait_seconds=5, hold_seconds=30)
    faults.failing_entries = 1.0
    for call in (
        lambda: broker.acknowledge([taken]),
        lambda: broker.release([taken]),
        lambda: broker.extend([taken], hold_seconds=30),
    ):
        with pytest.raises(ServiceRefused, match="allow this identity the action sqs:"):
            call()
    faults.failing_entries = 0.0
    assert list(broker.extend([taken], hold_seconds=30)) == [True]
    broker.acknowledge([taken])
    assert broker.sizes(["q"])["q"].in_flight == 0


@pytest.mark.parametrize(
    "code", ["ReceiptHandleIsInvalid", "InvalidIdFormat", "AWS.SimpleQueueService.MessageNotInflight"]
)
def test_an_entry_with_a_stale_handle_counts_as_settled(make, code):
    faults = Faults(failing_code=code)
    broker = make(faults)
    broker.publish([message("a")])
    (taken,) = broker.receive(["q"], limit=1, wait_seconds=5, hold_seconds=30)
    faults.failing_entries = 1.0
    assert list(broker.extend([taken], hold_seconds=30)) == [False]
    broker.acknowledge([taken])


def test_messages_from_before_a_failed_call_are_delivered(make):
    """Of one queue: the first call brings ten, and the two that follow at once fail."""
    broker = make(Faults())
    broker.publish([message(each) for each in range(10)])
    broker.sizes(["q", "other"])
    original, asked = broker._receiver._fetcher.fetch, []

    def failing(buffer, **rest):
        asked.append(buffer.queue)
        if len(asked) > 1:
            raise ServiceUnavailable("raised by a test")
        return original(buffer, **rest)

    broker._receiver._fetcher.fetch = failing
    taken = broker.receive(["q", "other"], limit=30, wait_seconds=0, hold_seconds=30)
    assert asked[:3] == ["q", "q", "q"]
    assert len(taken) == 10, "what the first call has brought is lost until its hold ends"


def test_a_failing_queue_does_not_block_others(make, caplog):
    broker = make(Faults())
    broker.publish([message("a", "broken"), message("b", "works")])
    original = broker._receiver._fetcher.fetch

    def failing(buffer, **rest):
        if buffer.queue == "broken":
            raise ServiceRefused("raised by a test")
        return original(buffer, **rest)

    broker._receiver._fetcher.fetch = failing
    (taken,) = broker.receive(["broken", "works"], limit=10, wait_seconds=0, hold_seconds=30)
    assert taken.message.id == "b"
    assert "could not receive from some queues: raised by a test" in caplog.text
    with pytest.raises(ServiceRefused, match="raised by a test"):
        broker.receive(["broken", "works"], limit=10, wait_seconds=0, hold_seconds=30)


def test_a_missing_queue_does_not_block_others(make):
    maker = make(Faults())
    maker.publish([message("a", "there")])
    maker.dead_letter([(maker.receive(["there"], limit=1, wait_seconds=5, hold_seconds=30)[0], "why")])
    maker.replay("there")
    broker = make(Faults(), create="false")
    (taken,) = broker.receive(["missing", "there"], limit=10, wait_seconds=5, hold_seconds=30)
    assert taken.message.id == "a"
    with pytest.raises(ServiceRefused, match="there is no queue"):
        broker.receive(["missing", "there"], limit=10, wait_seconds=5, hold_seconds=30)


def test_receive_recovers_when_no_thread_could_start(make, monkeypatch):
    broker = make(Faults())
    broker.publish([message("a")])

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr("threading.Thread.start", refuse)
        with pytest.raises(RuntimeError):
            broker.receive(["q"], limit=1, wait_seconds=5, hold_seconds=30)
    (taken,) = broker.receive(["q"], limit=1, wait_seconds=PATIENCE, hold_seconds=30)
    assert taken.message.id == "a"


def test_the_next_receive_gets_the_messages_of_an_earlier_poll(make):
    """A caller that goes on asking; so a worker's stop need not wait for a poll."""
    faults, calls = Faults(), Calls()
    broker, other = make(faults, prefix="outlasting", calls=calls), make(Faults(), prefix="outlasting")
    end = time.monotonic() + PATIENCE
    while max((sent["WaitTimeSeconds"] for _, sent in calls.of("receive_message")), default=0) < 4:
        assert broker.receive(["q"], limit=8, wait_seconds=0.5, hold_seconds=30) == []
        assert time.monotonic() < end, "no poll has grown longer than the calls that began it"
    polls = len(calls.of("receive_message"))
    other.publish([message("a")])
    taken = []
    while not taken:
        taken = broker.receive(["q"], limit=8, wait_seconds=0.5, hold_seconds=30)
        assert time.monotonic() < end
    assert [each.delivery_count for each in taken] == [1]
    assert len(calls.of("receive_message")) == polls, "another call was made for what the poll has brought"


def test_a_caller_that_asks_once_leaves_no_poll_behind(make):
    broker, other = make(Faults(), prefix="once"), make(Faults(), prefix="once")
    assert broker.receive(["q"], limit=8, wait_seconds=1, hold_seconds=30) == []
    broker._receiver._polls.join(PATIENCE)
    other.publish([message("a")])
    (taken,) = other.receive(["q"], limit=1, wait_seconds=5, hold_seconds=30)
    assert taken.delivery_count == 1, "somebody else had it first"


def test_close_seconds_makes_close_wait_for_polls_and_release_their_messages(make):
    broker, other = make(Faults(), prefix="waits", close_seconds="30"), make(Faults(), prefix="waits")
    other.publish([message("first", "known")])
    broker.receive(["q"], limit=8, wait_seconds=0.2, hold_seconds=600)
    buffers = broker._buffer._buffers
    call = ReceiveCall(limit=8, hold_seconds=600, deadline=0.0, asking_since=0.0, closings=0)
    broker._receiver._polls.join(PATIENCE)
    broker._receiver._polls.begin(list(buffers.values()), call, 20)
    closing = threading.Thread(target=broker.close)
    closing.start()
    other.publish([message("a")])
    closing.join(PATIENCE)
    assert not closing.is_alive(), "it waits for the whole poll, or for ever"
    assert drain(other, 1) == ["a"]


def test_batches_of_a_fifo_queue_do_not_overtake_one_that_failed(make):
    faults, calls = Faults(), Calls()
    broker = make(faults, fifo="true", calls=calls)
    broker.publish([message("first")])
    assert drain(broker, 1) == ["first"]
    before = len(calls.of("send_message_batch"))
    faults.next_errors["send_message_batch"] = [client_error("InternalError", "SendMessageBatch", 500)]
    batch = [message(each, headers={MESSAGE_GROUP_HEADER: "g"}) for each in range(25)]
    with pytest.raises(ServiceUnavailable):
        broker.publish(batch)
    assert len(calls.of("send_message_batch")) - before == 1, "what follows was sent before what failed"
    broker.publish(batch)
    assert drain(broker, 25) == [str(each) for each in range(25)]
