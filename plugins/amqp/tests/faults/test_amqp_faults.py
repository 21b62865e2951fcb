"""Faults of a real RabbitMQ: lost connections, a killed node, a memory alarm, refused logins, a consumer timeout."""

import logging
import threading
import time

import pytest

from drivetrain.contract import ServiceUnavailable
from support.messages import message
from support.waiting import until

HOLD = 60.0
PATIENCE = 60.0


class Load:
    """Two threads that publish and two that work, for as long as wished; a call that fails is made again."""

    def __init__(self, senders, workers):
        self.published, self.finished, self.errors = [], set(), []
        self._ending, self._senders_done = threading.Event(), threading.Event()
        self._more = threading.Condition()
        self._senders = [threading.Thread(target=self._publish, args=(each, n)) for n, each in enumerate(senders)]
        self._workers = [threading.Thread(target=self._work, args=(each,)) for each in workers]

    def __enter__(self):
        for each in (*self._senders, *self._workers):
            each.start()
        return self

    def __exit__(self, *_):
        self._ending.set()
        for each in self._senders:
            each.join(PATIENCE)
        with self._more:
            self._more.wait_for(lambda: not set(self.published) - self.finished, PATIENCE)
        self._senders_done.set()
        for each in self._workers:
            each.join(PATIENCE)

    def await_more(self, count):
        """Wait until ``count`` more messages are acknowledged."""
        with self._more:
            wanted = len(self.finished) + count
            assert self._more.wait_for(lambda: len(self.finished) >= wanted, PATIENCE), f"{count} more do not come"

    def _publish(self, broker, name):
        number = 0
        while not self._ending.is_set():
            batch = [message(f"{name}-{number + each}") for each in range(20)]
            if self._tried(lambda batch=batch: broker.publish(batch)):
                self.published += [each.id for each in batch]
                number += 20
            self._ending.wait(0.01)

    def _work(self, broker):
        while not self._senders_done.is_set():
            self._tried(lambda: self._work_once(broker))

    def _work_once(self, broker):
        taken = broker.receive(["q"], limit=50, wait_seconds=0.2, hold_seconds=HOLD)
        broker.acknowledge(taken)
        with self._more:
            self.finished |= {each.message.id for each in taken}
            self._more.notify_all()

    def _tried(self, call):
        try:
            call()
        except ServiceUnavailable as error:
            self.errors.append(error)
            self._senders_done.wait(0.05)
            return False
        return True


def _kill(rabbit):
    rabbit.kill()
    rabbit.start()


def _restart(rabbit):
    rabbit.stop()
    rabbit.start()


def _close_all(rabbit):
    rabbit.control("close_all_connections", "an operator's whim")


@pytest.mark.parametrize("fault", [_kill, _restart, _close_all])
def test_a_fault_under_load_loses_nothing(rabbit, make, fault):
    """Every published message is acknowledged in the end; senders and workers reconnect without help."""
    url = rabbit.url()
    with Load([make(url), make(url)], [make(url), make(url)]) as load:
        load.await_more(200)
        fault(rabbit)
        load.await_more(200)
    lost = set(load.published) - load.finished
    assert not lost, f"{len(lost)} of {len(load.published)} were lost"
    assert load.errors, "no call has failed: there was no fault"
    assert all(each.__cause__ is not None for each in load.errors)


@pytest.mark.parametrize(("options", "seconds"), [("", 3.0), ("&queue_type=quorum", 3.0), ("&queue_type=quorum", None)])
def test_the_first_message_of_a_queue_outlives_a_node_that_is_killed_at_once(rabbit, make, options, seconds):
    """RabbitMQ may not have written down yet that a quorum queue exists which it has just made, and starts it empty."""
    eta = None if seconds is None else time.time() + seconds
    make(rabbit.url(), options).publish([message(eta=eta)])
    _kill(rabbit)
    worker, came = make(rabbit.url(), options), []
    until(lambda: came.extend(_received(worker)) or came, "the message comes")
    assert [each.message.id for each in came] == ["m"]


def _received(broker):
    return broker.receive(["q"], limit=9, wait_seconds=1, hold_seconds=HOLD)


def test_publishers_wait_while_memory_is_short_and_go_on(rabbit, make, caplog):
    """A memory alarm: publish blocks, workers go on, the log says why; afterwards all is as before."""
    sender, worker = make(rabbit.url()), make(rabbit.url())
    sender.publish([message("before")])
    done = threading.Event()

    def publish():
        sender.publish([message("meanwhile")])
        done.set()

    with caplog.at_level(logging.WARNING, "drivetrain.amqp"):
        rabbit.control("set_vm_memory_high_watermark", "0.00001")
        try:
            publishing = threading.Thread(target=publish)
            publishing.start()
            until(lambda: "accepts no messages now" in caplog.text, "the log says so")
            worker.acknowledge(worker.receive(["q"], limit=1, wait_seconds=5, hold_seconds=HOLD))
            assert not done.is_set()
        finally:
            rabbit.control("set_vm_memory_high_watermark", "0.4")
        assert done.wait(PATIENCE)
        publishing.join(PATIENCE)
        until(lambda: "accepts messages again" in caplog.text, "the log says so")
    (delivery,) = worker.receive(["q"], limit=9, wait_seconds=5, hold_seconds=HOLD)
    assert delivery.message.id == "meanwhile"


def test_publishers_do_not_wait_for_ever(rabbit, make):
    sender = make(rabbit.url(), "&blocked_timeout_seconds=0.2")
    sender.publish([message()])
    rabbit.control("set_vm_memory_high_watermark", "0.00001")
    try:
        with pytest.raises(ServiceUnavailable, match="blocked_timeout_seconds"):
            sender.publish([message()])
    finally:
        rabbit.control("set_vm_memory_high_watermark", "0.4")
    until(lambda: _works(lambda: sender.publish([message()])), "it works again")


def _works(call):
    try:
        call()
    except ServiceUnavailable:
        return False
    return True


def test_a_server_that_hangs_is_noticed(rabbit, make):
    """No answer, no end of the connection: the call ends after its time all the same, also one with much to send."""
    broker = make(rabbit.url(), "&call_timeout_seconds=0.5&connect_timeout_seconds=0.5")
    broker.publish([message()])
    rabbit.process.pause()
    try:
        for call in (broker.ping, lambda: broker.publish([message(body=b"x" * 10_000_000)])):
            with pytest.raises(ServiceUnavailable):
                call()
    finally:
        rabbit.process.resume()
    until(lambda: _works(broker.ping), "it works again")


def test_a_consumer_timeout_is_mended_and_late_acknowledgements_change_nothing(rabbit, make, namespace, caplog):
    """The server takes back what was held for too long; the next `receive` works, and what is settled late is void."""
    rabbit.control("eval", "application:set_env(rabbit, consumer_timeout, 2000).")
    try:
        broker, other = make(rabbit.url()), make(rabbit.url())
        broker.publish([message("long"), message("short")])
        held = broker.receive(["q"], limit=2, wait_seconds=5, hold_seconds=HOLD)
        taken = []

        def again():
            taken.extend(other.receive(["q"], limit=2, wait_seconds=0.5, hold_seconds=HOLD))
            return len(taken) == 2

        until(again, "they come back")
        assert all(each.redelivered for each in taken)
        broker.acknowledge(held)
        broker.dead_letter([(held[0], "late")])
        assert list(broker.extend(held, hold_seconds=HOLD)) == [False, False]
        assert list(other.extend(taken, hold_seconds=HOLD)) == [True, True]
        other.acknowledge(taken)
        broker.publish([message("next")])
        (following,) = broker.receive(["q"], limit=2, wait_seconds=5, hold_seconds=HOLD)
        assert following.message.id == "next"
        assert "timed out" in caplog.text
    finally:
        rabbit.control("eval", "application:set_env(rabbit, consumer_timeout, 1800000).")
