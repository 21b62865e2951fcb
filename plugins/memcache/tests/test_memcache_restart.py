"""Memcached ends in the middle of a chord and comes back empty: who waits is told, and the next one goes right."""

import threading

import pytest

from drivetrain import App, UnknownResult, chord
from services.redis import RedisServer
from support.waiting import Log, happened


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


def test_a_memcached_that_comes_back_empty_is_told_to_who_waits_and_stops_nobody(broker, servers):
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
