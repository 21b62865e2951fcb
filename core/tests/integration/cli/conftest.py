"""A project with tasks in a directory of its own, the command line run in this process, and workers run for real."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from drivetrain import App
from drivetrain.cli import main
from drivetrain.cli.app_loading import load_app

SHOP = '''
import dataclasses
import logging
import os

from drivetrain import App

app = App("sqlite:///work.db?synchronous=normal", lease_seconds=5.0)
logger = logging.getLogger("shop")


@dataclasses.dataclass
class Receipt:
    total: int
    lines: list[str]


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def receipt(total: int) -> Receipt:
    return Receipt(total, ["a", "b"])


@app.task
def fail(word: str) -> None:
    raise ValueError(f"no {word}")


def _hold(gate: str) -> int:
    """Say that it runs, and end when somebody opens the gate (a named pipe) for writing."""
    logger.info("held at %s in process %d", gate, os.getpid(), extra={"gate": gate})
    with open(gate) as opened:
        opened.read()
    return os.getpid()


@app.task
def hold(gate: str) -> int:
    return _hold(gate)


@app.task
def end_process(code: int) -> None:
    os._exit(code)


@app.task(pool="processes")
def hold_in_child(gate: str) -> int:
    return _hold(gate)
'''


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The directory of the module ``shop``, which is also the current one."""
    for name in [name for name in os.environ if name.startswith("DRIVETRAIN_")]:
        monkeypatch.delenv(name)
    (tmp_path / "shop.py").write_text(SHOP, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def app(project):
    """The app of the module ``shop``."""
    with load_app("shop:app") as app:
        yield app


@pytest.fixture
def shop(app):
    """The module ``shop``."""
    return sys.modules["shop"]


@pytest.fixture
def run(project):
    """Call the program in this process."""

    def run(*args, **options):
        return CliRunner().invoke(main, [str(arg) for arg in args], **options)

    return run


@pytest.fixture
def run_json(run):
    """Call the program with ``--json``; the exit code and the document."""

    def run_json(*args):
        outcome = run(*args, "--json")
        return outcome.exit_code, json.loads(outcome.stdout)

    return run_json


class WorkerProcess:
    """``drivetrain worker`` in a process of its own, and what it says on stderr."""

    def __init__(self, *args: str) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "drivetrain.cli", "worker", *args],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def wait_for(self, *words: str) -> str:
        """The next line that has all these words in it."""
        for line in self._process.stderr:
            self.lines.append(line.rstrip())
            if all(word in line for word in words):
                return line
        raise AssertionError(f"it never said {words}:\n" + "\n".join(self.lines))

    def wait_to_work(self, workers: int = 1) -> None:
        """Wait until so many workers receive."""
        for _ in range(workers):
            self.wait_for("receives from")

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def ended(self) -> int:
        """Wait until it and all its children have ended; its exit code."""
        self.lines.extend(line.rstrip() for line in self._process.stderr)
        return self._process.wait()

    def close(self) -> None:
        """End all that is left."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            self._process.poll()
        self.ended()
        self._process.stderr.close()


@pytest.fixture
def start_worker(app):
    """Start ``drivetrain worker shop:app`` with further arguments; it receives already."""
    started: list[WorkerProcess] = []

    def start(*args: str, reference: str = "shop:app", workers: int = 1) -> WorkerProcess:
        worker = WorkerProcess(reference, *args)
        started.append(worker)
        worker.wait_to_work(workers)
        return worker

    yield start
    for worker in started:
        worker.close()


class Gate:
    """A named pipe that a task waits at."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path

    def open(self) -> None:
        """Let the task go on."""
        self.path.write_text("")


@pytest.fixture
def gate(project):
    """Make a gate."""
    return lambda name: Gate(project / name)


@pytest.fixture
def other_app(project):
    """An app over the same drivers that knows no tasks."""
    with App("sqlite:///work.db") as app:
        yield app
