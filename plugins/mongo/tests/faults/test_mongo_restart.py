"""MongoDB is killed in the middle of a chord and comes back: nothing is lost, and nothing runs twice.

In short what the workflow contract does at length with the same two brokers (``test_mongo_with_*.py``).
"""

import threading

import pytest

from drivetrain import App, chord
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


def test_a_chord_survives_a_killed_mongodb(broker, stoppable, namespace):
    if not stoppable.server.stoppable:
        pytest.skip("this server is not ours to stop")
    app = App(broker, backend=stoppable.server.url(namespace=namespace))
    begun, goes_on = threading.Event(), threading.Event()
    ran, called = Log(), Log()

    @app.task(name="member")
    def member(number: int) -> int:
        ran.note(number)
        if number == 3:
            begun.set()
            happened(goes_on, "mongodb came back")
        return number

    @app.task(name="callback")
    def callback(numbers: list[int]) -> int:
        called.note(numbers)
        return sum(numbers)

    with app, app.worker():
        handle = chord([member.s(number) for number in range(20)], callback.s()).send()
        happened(begun, "a member began")
        stoppable.stop()
        goes_on.set()  # it ends while nobody can record it
        stoppable.start()
        assert handle.get(timeout=60) == 190
    assert sorted(ran.notes) == list(range(20))
    assert called.notes == [list(range(20))]
