"""Busy-polling for a reply before blocking: never for long, and not where it cannot help."""

import itertools
import socket
import threading

import pytest

from drivetrain_redis import busy_poll as module
from drivetrain_redis.busy_poll import BusyPoll, block, busy_poll


class Server:
    """Has a reply at the n-th poll. Its clock advances by ten microseconds whenever it is read."""

    def __init__(self, replies_at):
        self.polls, self.replies_at = 0, replies_at
        self._clock = itertools.count()
        self.busy = BusyPoll(self._can_read, lambda: next(self._clock) * 1e-5)

    def _can_read(self):
        self.polls += 1
        return self.polls >= self.replies_at


def test_a_reply_that_comes_soon_is_found_without_blocking():
    server = Server(replies_at=5)
    server.busy.poll()
    assert server.polls == 5


def test_a_reply_that_does_not_come_is_polled_for_150_microseconds():
    server = Server(replies_at=10**9)
    server.busy.poll()
    assert 10 <= server.polls <= 20


def test_after_a_late_reply_four_are_not_polled_for():
    server = Server(replies_at=10**9)
    server.busy.poll()
    late, server.replies_at = server.polls, 0
    for _ in range(4):
        server.busy.poll()
    assert server.polls == late
    server.busy.poll()
    server.busy.poll()
    assert server.polls == late + 2


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_a_reply_on_a_real_socket_ends_the_poll_and_so_does_its_end(ends, monkeypatch):
    monkeypatch.setattr(module, "_POLL_SECONDS", 60.0)
    monkeypatch.setattr(module, "_cores", lambda: 2)
    ours, theirs = ends
    poll = busy_poll(ours)
    threading.Timer(0.05, theirs.sendall, (b"+OK\r\n",)).start()
    poll()
    assert ours.recv(9, socket.MSG_DONTWAIT) == b"+OK\r\n"
    threading.Timer(0.05, theirs.close).start()
    poll()
    assert ours.recv(9, socket.MSG_DONTWAIT) == b""


def test_one_core_is_left_to_the_server(ends, monkeypatch):
    monkeypatch.setattr(module, "_cores", lambda: 1)
    assert busy_poll(ends[0]) is block
