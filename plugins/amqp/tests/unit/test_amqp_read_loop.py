"""The read loop: a waiting thread reads the socket, and a thread of its own reads while no other thread waits."""

import socket
import threading

import pytest
from pika import ConnectionParameters, exceptions

from drivetrain_amqp.protocol.read_loop import Handlers, ReadLoop
from drivetrain_amqp.protocol.transport import Transport

PATIENCE = 60.0


class Read:
    """A connection to a server that the test plays: the received bytes, and the names of the threads that read."""

    def __init__(self, server):
        host, port = server.getsockname()
        self.transport = Transport(ConnectionParameters(host, port))
        self.server, _ = server.accept()
        self.read_loop = ReadLoop(self.transport, Handlers(self._take, lambda: 1.0, self._fail))
        self.came, self.readers, self.errors = b"", [], []
        self.changed = threading.Condition()
        self.take = lambda: None
        self.read_loop.start("background thread")

    def _take(self, data):
        self.readers.append(threading.current_thread().name)
        self.take()
        with self.changed:
            self.came += data
            self.changed.notify_all()

    def _fail(self, error):
        self.errors.append(error)
        self.read_loop.stop()
        with self.changed:
            self.changed.notify_all()

    def wait(self, answer, seconds=PATIENCE):
        def done():
            return answer in self.came or bool(self.errors)

        def sleep(remaining):
            with self.changed:
                if not done():
                    self.changed.wait(remaining)

        return self.read_loop.wait(done, sleep, seconds)


@pytest.fixture
def read():
    with socket.create_server(("127.0.0.1", 0)) as server:
        read = Read(server)
        yield read
        read.read_loop.stop()
        assert read.read_loop.ended.wait(PATIENCE), "its thread goes on"
        read.server.close()


def test_a_waiting_thread_reads(read):
    threading.Timer(0.05, read.server.sendall, [b"a"]).start()
    assert read.wait(b"a")
    assert read.readers == [threading.current_thread().name]


def test_the_background_thread_reads_while_no_thread_waits(read):
    read.server.sendall(b"a")
    with read.changed:
        assert read.changed.wait_for(lambda: read.came == b"a", PATIENCE)
    assert read.readers == ["background thread"]
    assert read.wait(b"a"), "it waits for bytes that have come already"


def test_one_thread_reads_for_all_and_another_goes_on_when_it_has_its_answer(read):
    """Ten threads wait at once. Their answers come one by one, in another order; each thread gets its own."""
    answers = [bytes([number]) for number in range(10)]
    came = dict.fromkeys(answers, False)

    def wait(answer):
        came[answer] = read.wait(answer)

    threads = [threading.Thread(target=wait, args=(answer,)) for answer in answers]
    for each in threads:
        each.start()
    for answer in reversed(answers):
        read.server.sendall(answer)
        threads[answers.index(answer)].join(PATIENCE)
        assert came[answer], f"{answer} came, and the thread that waits for it sleeps on"


def test_a_wait_ends_with_its_time(read):
    assert not read.wait(b"a", 0.01)
    assert not read.errors


def test_the_end_of_the_connection_ends_every_wait(read):
    waiting = threading.Thread(target=read.wait, args=(b"a",))
    waiting.start()
    read.server.close()
    assert read.wait(b"b")
    waiting.join(PATIENCE)
    assert not waiting.is_alive()
    assert isinstance(read.errors[0], exceptions.StreamLostError)


def test_an_interrupt_while_reading_ends_the_connection(read):
    """Half a frame may be lost, so no thread may read on."""

    def interrupted():
        raise KeyboardInterrupt

    read.take = interrupted
    threading.Timer(0.05, read.server.sendall, [b"a"]).start()
    with pytest.raises(KeyboardInterrupt):
        read.wait(b"a")
    assert "interrupted" in str(read.errors[0])
    assert read.read_loop.ended.wait(PATIENCE)
