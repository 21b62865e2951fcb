"""`drivetrain.contract.ConnectionPool`: which connections it hands out again, and which it closes."""

import os
import socket
import threading
from itertools import count

import pytest
from attrs import define

from drivetrain.contract import ConnectionPool, socket_is_quiet
from drivetrain.testing import VirtualClock


@define(eq=False)
class Connection:
    number: int
    usable: bool = True
    closed: int = 0

    def close(self):
        self.closed += 1


class Opener:
    """Opens connections, and knows all of them."""

    def __init__(self):
        self.opened = []

    def __call__(self):
        self.opened.append(Connection(len(self.opened)))
        return self.opened[-1]

    def closed(self):
        return [each.number for each in self.opened if each.closed]


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def opener():
    return Opener()


@pytest.fixture
def pool(opener, clock):
    return ConnectionPool(
        opener, Connection.close, is_usable=lambda one: one.usable, longest_idle_seconds=60, clock=clock
    )


def give_back_together(pool, number):
    """Have a number of idle connections, the first of which was given back last."""
    for connection in reversed([pool.take() for _ in range(number)]):
        pool.give_back(connection)


def test_a_connection_is_opened_for_the_first_call_and_used_again(pool, opener):
    assert opener.opened == []
    for _ in range(3):
        with pool.connection() as connection:
            assert connection is opener.opened[0]
    assert len(opener.opened) == 1


def test_no_two_calls_share_a_connection(pool):
    with pool.connection() as one, pool.connection() as other:
        assert one is not other


def test_the_connection_that_was_returned_last_is_used_first(pool):
    one, two, three = pool.take(), pool.take(), pool.take()
    for connection in (two, three, one):
        pool.give_back(connection)
    assert [pool.take(), pool.take(), pool.take()] == [one, three, two]


@pytest.mark.parametrize(("seconds", "asked"), [(0.999, 0), (1.0, 1)])
def test_a_connection_that_was_idle_for_a_moment_is_not_asked(opener, clock, seconds, asked):
    questions = []
    pool = ConnectionPool(opener, Connection.close, is_usable=lambda one: not questions.append(one), clock=clock)
    give_back_together(pool, 1)
    clock.turn(seconds)
    pool.take()
    assert len(questions) == asked
    assert len(opener.opened) == 1


def test_a_stale_connection_is_closed_and_the_next_one_is_taken(pool, opener, clock):
    give_back_together(pool, 3)
    for connection in opener.opened[:2]:
        connection.usable = False
    clock.turn(1)
    assert pool.take() is opener.opened[2]
    assert opener.closed() == [0, 1]


def test_where_all_are_stale_a_new_one_is_opened(pool, opener, clock):
    give_back_together(pool, 2)
    for connection in opener.opened:
        connection.usable = False
    clock.turn(1)
    assert pool.take().number == 2
    assert opener.closed() == [0, 1]


def test_idle_connections_are_closed(pool, opener, clock):
    give_back_together(pool, 3)
    for _ in range(12):
        clock.turn(9.9)
        with pool.connection() as connection:
            assert connection is opener.opened[0]
    assert opener.closed() == [1, 2]


def test_a_connection_that_was_idle_for_too_long_is_not_asked_but_closed(pool, opener, clock):
    give_back_together(pool, 1)
    clock.turn(60)
    assert pool.take().number == 1
    assert opener.closed() == [0]


def test_a_failure_closes_its_connection_and_the_idle_ones(pool, opener):
    give_back_together(pool, 3)
    with pytest.raises(ZeroDivisionError), pool.connection():
        raise ZeroDivisionError
    assert opener.closed() == [0, 1, 2]
    assert pool.take().number == 3


def test_what_is_in_use_when_the_pool_is_cleared_is_closed_afterwards(pool, opener):
    with pool.connection():
        pool.clear()
        assert opener.closed() == []
    assert opener.closed() == [0]
    assert pool.take().number == 1


def test_what_is_being_opened_when_the_pool_is_cleared_is_closed_afterwards(clock):
    opened = []

    def open_connection():
        pool.clear()  # as another thread may
        opened.append(Connection(len(opened)))
        return opened[-1]

    pool = ConnectionPool(open_connection, Connection.close, clock=clock)
    pool.give_back(pool.take())
    assert opened[0].closed == 1


def test_the_generation_grows_with_each_failure(pool):
    before = pool.generation
    pool.discard(pool.take())
    assert pool.generation > before


def test_a_connection_that_cannot_be_opened_is_the_caller_s_error(clock):
    def refuse():
        raise ConnectionRefusedError

    pool = ConnectionPool(refuse, Connection.close, clock=clock)
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError), pool.connection():
            pytest.fail("there is no connection")


def test_after_a_fork_the_child_opens_its_own_and_closes_none(pool, opener):
    give_back_together(pool, 2)
    inherited = pool.take()  # as a thread that is inside a call has it
    pool.after_fork()
    assert pool.take().number == 2
    pool.give_back(inherited)
    pool.discard(inherited)
    assert opener.closed() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_forked_child_s_pool_is_empty(pool, opener):
    give_back_together(pool, 1)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if pool.take().number == 1 and not opener.closed() else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pool.take().number == 0


def test_threads_share_it(clock):
    """No connection is in two threads at once, while some calls fail and the pool is cleared."""
    numbers, errors = count(), []

    @define(eq=False)
    class Exclusive:
        number: int
        users: int = 0
        closed: bool = False

        def close(self):
            self.closed = True

    pool = ConnectionPool(lambda: Exclusive(next(numbers)), Exclusive.close, check_after_seconds=0, clock=clock)

    def call(fails):
        with pool.connection() as connection:
            connection.users += 1
            if connection.users != 1 or connection.closed:
                errors.append(connection)
            connection.users -= 1
            if fails:
                raise ZeroDivisionError

    def work():
        for each in range(500):
            try:
                call(fails=each % 50 == 49)
            except ZeroDivisionError:
                continue

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert next(numbers) <= 4 * (4 * 10 + 1)


class TestSockets:
    @pytest.fixture
    def pair(self):
        one, other = socket.socketpair()
        with one, other:
            yield one, other

    def test_an_open_one_is_quiet(self, pair):
        assert socket_is_quiet(pair[0])

    def test_one_with_unread_bytes_is_not(self, pair):
        pair[1].sendall(b"an answer that nobody reads")
        assert not socket_is_quiet(pair[0])

    def test_one_that_the_server_has_closed_is_not(self, pair):
        pair[1].close()
        assert not socket_is_quiet(pair[0])

    def test_one_that_is_closed_here_is_not(self, pair):
        pair[0].close()
        assert not socket_is_quiet(pair[0])

    def test_a_time_out_of_the_socket_is_not_waited_for(self, pair):
        pair[0].settimeout(1e6)
        assert socket_is_quiet(pair[0])
