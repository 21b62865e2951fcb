"""Who reads a connection: those who wait for something by it, in turn, and a thread when nobody does."""

import socket
import threading

import pytest
from pika import ConnectionParameters, exceptions

from drivetrain_amqp.transport import Transport
from drivetrain_amqp.waiting import Handlers, ReadLoop

PATIENCE = 60.0


class Read:
    """A connection to a server that says what the test wants it to say; what came, and who has read it."""

    def __init__(self, server):
        host, port = server.getsockname()
        self.transport = Transport(ConnectionParameters(host, port))
        self.server, _ = server.accept()
        self.read_loop = ReadLoop(self.transport, Handlers(self._take, lambda: 1.0, self._fail))
        self.came, self.readers, self.errors = b"", [], []
        self.changed = threading.Condition()
        self.take = lambda: None
        self.read_loop.start("reads while nobody waits")

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

    def wait(self, sign, seconds=PATIENCE):
        def done():
            return sign in self.came or bool(self.errors)

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


def test_who_waits_reads_himself(read):
    threading.Timer(0.05, read.server.sendall, [b"a"]).start()
    assert read.wait(b"a")
    assert read.readers == [threading.current_thread().name]


def test_a_thread_reads_while_nobody_waits(read):
    read.server.sendall(b"a")
    with read.changed:
        assert read.changed.wait_for(lambda: read.came == b"a", PATIENCE)
    assert read.readers == ["reads while nobody waits"]
    assert read.wait(b"a"), "what has come already is not waited for"


def test_one_reads_for_all_and_when_he_has_his_own_others_go_on(read):
    """Ten wait at once, and what they wait for comes one by one, in another order: nobody is forgotten."""
    signs = [bytes([number]) for number in range(10)]
    came = dict.fromkeys(signs, False)

    def wait(sign):
        came[sign] = read.wait(sign)

    threads = [threading.Thread(target=wait, args=(sign,)) for sign in signs]
    for each in threads:
        each.start()
    for sign in reversed(signs):
        read.server.sendall(sign)
        threads[signs.index(sign)].join(PATIENCE)
        assert came[sign], f"{sign} came, and who waits for it was not told"


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


def test_who_is_interrupted_while_he_reads_gives_the_connection_up(read):
    """Half of what he has read may be lost: nobody must go on from there."""

    def interrupted():
        raise KeyboardInterrupt

    read.take = interrupted
    threading.Timer(0.05, read.server.sendall, [b"a"]).start()
    with pytest.raises(KeyboardInterrupt):
        read.wait(b"a")
    assert "interrupted" in str(read.errors[0])
    assert read.read_loop.ended.wait(PATIENCE)
