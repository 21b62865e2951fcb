"""Memcached ends in the middle of a chord and comes back empty: waiting callers get an error, and new work succeeds."""

import threading
from contextlib import suppress

import pytest

from drivetrain import App, UnknownResult, chord
from drivetrain.contract import ServiceUnavailable, State, Transition, ValueWrite
from drivetrain_memcache.keys import Keys, Kind
from services.redis import RedisServer
from support.waiting import Log, happened, until


@pytest.fixture(params=["sqlite", "redis"])
def broker(request, tmp_path):
    """The URL of a broker."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/work.db"
        return
    server = RedisServer(tmp_path / "redis")
    server.process.start()
    yield server.url
    server.process.kill()


def test_waiting_callers_get_an_error_when_memcached_comes_back_empty_and_new_work_succeeds(broker, servers):
    memcached = servers()
    app = App(broker, backend=memcached.url)
    begun, goes_on = threading.Event(), threading.Event()
    called = Log()

    @app.task(name="member")
    def member(number: int) -> int:
        begun.set()
        happened(goes_on, "memcached came back")
        return number

    @app.task(name="callback")
    def callback(numbers: list[int]) -> int:
        called.note(numbers)
        return sum(numbers)

    with app, app.worker():
        lost = chord([member.s(number) for number in range(5)], callback.s()).send()
        happened(begun, "a member began")
        memcached.process.kill()
        memcached.process.start()
        goes_on.set()
        with pytest.raises(UnknownResult):
            lost.get(timeout=60)
        assert chord([member.s(number) for number in range(5)], callback.s()).send().get(timeout=60) == 10
    assert called.notes == [[0, 1, 2, 3, 4]]


class Interrupted:
    """Lets something happen once between what a backend has read and what it then writes."""

    def __init__(self, backend, monkeypatch):
        self.meanwhile = None
        change = backend._store.change

        def interrupted(writes, fetched=()):
            if writes and self.meanwhile is not None:
                happens, self.meanwhile = self.meanwhile, None
                happens()
            return change(writes, fetched)

        monkeypatch.setattr(backend._store, "change", interrupted)


def test_a_value_read_before_a_restart_changes_nothing_after_it(servers, backends, monkeypatch):
    """Memcached numbers its changes from 1 again: an item of afterwards can have the number of another one before."""
    memcached = servers()
    slow, other = backends(memcached.url), backends(memcached.url)
    interrupted = Interrupted(slow, monkeypatch)

    def restart(begin):
        before = marks()
        memcached.process.kill()
        memcached.process.start()
        begin()
        assert marks() == before, "the numbers do not meet, so that nothing is tested"
        for _ in range(2):  # the first may find that its connection is lost
            with suppress(ServiceUnavailable):
                slow.ping()  # another thread of it does, so that the slow one goes on with a new connection

    def marks():
        client = memcached.client()
        found = client.gets_many([keys.named(Kind.VALUE, "v").name, keys.named(Kind.ENTRY, "t").name])
        client.close()
        return {name: mark for name, (_, mark) in found.items()}

    keys = Keys("drivetrain")
    slow.write_values([ValueWrite(key="v", value=b"", expires_in_seconds=0.001)])
    until(lambda: slow.read_values(["v"]) == [None], "it has expired")
    written = []
    write = ValueWrite(key="v", value=b"other", if_version=0)
    interrupted.meanwhile = lambda: restart(lambda: written.extend(other.write_values([write])))
    (outcome,) = slow.write_values([ValueWrite(key="v", value=b"slow", if_version=0)])
    assert (outcome.written, outcome.current) == (False, written[0].current)

    memcached.process.kill()
    memcached.process.start()
    with suppress(ServiceUnavailable):
        slow.ping()
    start = Transition(task_id="t", state=State.STARTED, at=1.0, run="slow", lease=0.0)
    end = Transition(task_id="t", state=State.SUCCESS, at=1.0, payload=b"other")
    with suppress(ServiceUnavailable):
        other.ping()
    slow.record([start])
    interrupted.meanwhile = lambda: restart(lambda: other.record([end]))
    (outcome,) = slow.record([Transition(task_id="t", state=State.FAILURE, at=2.0, run="slow", payload=b"slow")])
    assert not outcome.applied
    assert other.read(["t"])[0].payload == b"other"
