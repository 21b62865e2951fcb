"""Looking for an answer before sleeping for it: never for long, and not where it does not help."""

import itertools
import socket
import threading

import pytest

from drivetrain_redis import alert
from drivetrain_redis.alert import Alert, alert_for, asleep


class Connection:
    """Has an answer after so many looks; the clock goes on by ten microseconds with each time it is asked."""

    def __init__(self, answered_at):
        self.looks, self.answered_at = 0, answered_at
        self._clock = itertools.count()
        self.alert = Alert(self._is_there, lambda: next(self._clock) * 1e-5)

    def _is_there(self):
        self.looks += 1
        return self.looks >= self.answered_at


def test_an_answer_that_comes_soon_is_seen_without_sleeping():
    connection = Connection(answered_at=5)
    connection.alert.look()
    assert connection.looks == 5


def test_what_does_not_come_is_looked_for_150_microseconds():
    connection = Connection(answered_at=10**9)
    connection.alert.look()
    assert 10 <= connection.looks <= 20


def test_after_one_that_was_late_some_are_slept_for_and_then_one_is_looked_for_again():
    connection = Connection(answered_at=10**9)
    connection.alert.look()
    late, connection.answered_at = connection.looks, 0
    for _ in range(4):
        connection.alert.look()
    assert connection.looks == late
    connection.alert.look()
    connection.alert.look()
    assert connection.looks == late + 2


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_a_real_socket_is_looked_at(ends, monkeypatch):
    """With all the time of the world it is the answer that ends the looking, or the end of the connection."""
    monkeypatch.setattr(alert, "_LOOK_SECONDS", 60.0)
    monkeypatch.setattr(alert, "_cores", lambda: 2)
    ours, theirs = ends
    look = alert_for(ours)
    threading.Timer(0.05, theirs.sendall, (b"+OK\r\n",)).start()
    look()
    assert ours.recv(9, socket.MSG_DONTWAIT) == b"+OK\r\n"
    threading.Timer(0.05, theirs.close).start()
    look()
    assert ours.recv(9, socket.MSG_DONTWAIT) == b""


def test_one_core_is_left_to_the_server(ends, monkeypatch):
    monkeypatch.setattr(alert, "_cores", lambda: 1)
    assert alert_for(ends[0]) is asleep
