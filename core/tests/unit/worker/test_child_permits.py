"""Permits of a child process: what the worker has taken back is not begun by a permit for the next batch."""

from multiprocessing.connection import Pipe

import pytest

from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.pools import child
from drivetrain.worker.pools.channel import BATCHES, Permits

pytestmark = pytest.mark.skipif(not BATCHES, reason="no batches here")


@pytest.fixture
def permits():
    """The permits of a worker, and those of its child."""
    reader, writer = Pipe(duplex=False)
    ours = Permits(reader, writer)
    yield ours, Permits(reader)
    ours.close()


class Channel:
    """Notes the answers. After the first one, the worker gives the next batch before the child goes on."""

    def __init__(self, worker):
        self.answers = []
        self._worker = worker

    def send(self, answer):
        self.answers.append(answer)
        if len(self.answers) == 1:
            assert self._worker.take(2) == 2, "the worker takes the others back"
            self._worker.give(2, 1)


def test_a_child_between_two_tasks_begins_nothing_that_was_taken_back(permits, monkeypatch):
    worker, childs = permits
    channel = Channel(worker)
    monkeypatch.setattr(child, "_answer", lambda answer: answer)
    monkeypatch.setattr(child._Runner, "_run", lambda _runner, work: work)
    runner = child._Runner(channel, childs, WorkerOptions(queues=["default"]))
    worker.give(3, 0)
    runner.run(["long", "short", "shorter"])
    runner.run(["next", "last"])
    assert channel.answers == ["long", "next", "last"]
    assert worker.take(9) == 0


def test_batches_are_told_apart_however_many_there_were(permits):
    worker, childs = permits
    for batch in range(600):
        worker.give(1, batch)
        assert childs.begin(batch)
        assert not childs.begin(batch)
