"""What the tests of ``sqlite://`` share: objects and other processes that use one file."""

import signal
import sqlite3
import subprocess
import sys

import pytest

from drivetrain.contract import DriverContext, Message, State, SystemClock, Transition
from drivetrain.drivers.sqlite import make_backend, make_broker
from drivetrain.drivers.sqlite.options import Options

# What the children have in common: `url`, the two drivers, and one line in, one line out.
CHILD = """
import os, sys
from drivetrain.contract import DriverContext, Message, State, Transition
from drivetrain.drivers.sqlite import make_backend, make_broker

url = sys.argv[1]
broker, backend = make_broker(url, DriverContext()), make_backend(url, DriverContext())

def say(*words):
    print(*words, flush=True)

def hear():
    return sys.stdin.readline().strip()

def receive(limit, wait=10.0, hold=30.0):
    return broker.receive(["q"], limit=limit, wait_seconds=wait, hold_seconds=hold)

def publish(ids):
    broker.publish([Message(id=str(id_), queue="q", body=b"x" * 100) for id_ in ids])
"""


class Child:
    """A process that runs a few lines of Python on the file."""

    def __init__(self, url, code):
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD + code, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self, line=""):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def line(self):
        """Its next line; empty once it has ended."""
        return self.process.stdout.readline().strip()

    def lines(self):
        """All that it still says, until it ends."""
        return self.process.stdout.read().split("\n")[:-1]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/work.db"


@pytest.fixture
def child(url):
    children = []

    def start(code):
        children.append(Child(url, code))
        return children[-1]

    yield start
    for each in children:
        each.process.kill()
        each.process.communicate()


@pytest.fixture
def make(url):
    """Makes brokers and backends of ``url``, with more behind it."""
    made = []

    def make(kind, more="", clock=None):
        maker = {"broker": make_broker, "backend": make_backend}[kind]
        made.append(maker(url + more, DriverContext(clock=clock or SystemClock())))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def messages():
    """Makes messages of these ids."""

    def make(*ids, queue="q", **fields):
        return [Message(id=str(id_), queue=queue, body=b"body", **fields) for id_ in ids]

    return make


@pytest.fixture
def ids():
    """The ids of deliveries."""
    return lambda deliveries: [delivery.message.id for delivery in deliveries]


@pytest.fixture
def receive():
    """Receives; what is not said does not matter."""

    def receive(broker, limit=100, wait=0.0, hold=30.0):
        return broker.receive(["q"], limit=limit, wait_seconds=wait, hold_seconds=hold)

    return receive


@pytest.fixture
def sent():
    """Makes the transition that a sender records."""
    return lambda task_id, **fields: Transition(task_id=task_id, state=State.PENDING, at=1.0, **fields)


@pytest.fixture
def assert_sound(url):
    """Lets SQLite check the file."""

    def check():
        connection = sqlite3.connect(Options.parse(url).path)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()

    return check
