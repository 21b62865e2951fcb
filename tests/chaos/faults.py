"""Worker processes from the command line, and the faults that are done to them and to the services."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random

from attrs import define, field

from chaos.judging import Disturbance
from drivetrain_contract_tests import Service

__all__ = ["Faults", "Workers"]

#: A worker dies with the thread that starts it, however this process ends.
_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--") if shutil.which("setpriv") else ()
#: Without a supervisor, since it is the workers themselves that are killed and paused.
_OPTIONS = ("--no-supervisor", "--log-format", "json")
_WORKER = (*_WITH_US, sys.executable, "-m", "drivetrain.cli", "worker", "chaos.tasks:app", *_OPTIONS)
_STOP_SECONDS = 60.0


@define(eq=False)
class Workers:
    """A fixed number of worker processes; whichever ends is replaced. For one thread at a time."""

    number: int
    environment: Mapping[str, str]
    logs: Path
    _running: list[subprocess.Popen[bytes]] = field(factory=list, init=False)
    _started: int = field(default=0, init=False)

    def fill(self) -> None:
        """Start workers until there are enough."""
        self._running = [process for process in self._running if process.poll() is None]
        while len(self._running) < self.number:
            self._started += 1
            with (self.logs / f"worker-{self._started}.log").open("wb") as log:
                self._running.append(
                    subprocess.Popen(
                        _WORKER, env=dict(self.environment), stdout=log, stderr=log, start_new_session=True
                    )
                )

    def pids(self) -> Sequence[int]:
        """Of those that run."""
        return [process.pid for process in self._running if process.poll() is None]

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to one worker."""
        for process in self._running:
            if process.pid == pid and process.poll() is None:
                process.send_signal(number)

    def wait(self, pid: int) -> None:
        """Wait until a worker has ended; it is killed when that takes too long."""
        for process in self._running:
            if process.pid == pid:
                _wait(process)

    def stop(self) -> list[int]:
        """Ask all to stop; their exit codes."""
        for process in self._running:
            process.terminate()
        return [_wait(process) for process in self._running]

    def kill(self) -> None:
        """End all at once."""
        for process in self._running:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


class Faults:
    """Does one random fault after the other, in the thread that calls `run`."""

    def __init__(self, seed: int, workers: Workers, services: Sequence[Service], *, lease_seconds: float) -> None:
        self._random = Random(seed)
        self._workers = workers
        self._stoppable = [service for service in services if service.stop is not None and service.start is not None]
        self._lease_seconds = lease_seconds
        self.done: list[Disturbance] = []
        self._kinds: list[tuple[Callable[[int], None], int]] = [
            (self._kill_worker, 4),
            (self._terminate_worker, 2),
            (self._pause_worker, 2),
        ]
        if self._stoppable:
            self._kinds.append((self._kill_service, 2))

    def run(self, seconds: float, over: threading.Event) -> None:
        """Do faults for ``seconds``, with random pauses between them; afterwards all services and workers run again."""
        end = time.monotonic() + seconds
        kinds, weights = [kind for kind, _ in self._kinds], [weight for _, weight in self._kinds]
        while time.monotonic() < end and not over.wait(self._random.uniform(0.5, 2.5)):
            (fault,) = self._random.choices(kinds, weights)
            pids = self._workers.pids()
            if pids:
                fault(self._random.choice(pids))
            self._workers.fill()

    def once(self, progress: Callable[[], bool]) -> None:
        """Do each kind of fault once, in a random order; afterwards all services and workers run again.

        Args:
            progress: called before each fault, and after the last: waits until workflows have ended meanwhile, and says
                whether they have. After a False no fault is done any more.
        """
        kinds = [kind for kind, _ in self._kinds]
        for fault in self._random.sample(kinds, len(kinds)):
            if not progress():
                return
            self._workers.fill()
            fault(self._random.choice(self._workers.pids()))
        self._workers.fill()
        progress()

    def _kill_worker(self, pid: int) -> None:
        began = time.time()
        self._workers.signal(pid, signal.SIGKILL)
        self._workers.wait(pid)
        self._note("worker killed", pid, began)

    def _terminate_worker(self, pid: int) -> None:
        began = time.time()
        self._workers.signal(pid, signal.SIGTERM)
        self._workers.wait(pid)
        self._note("worker terminated", pid, began)

    def _pause_worker(self, pid: int) -> None:
        began = time.time()
        self._workers.signal(pid, signal.SIGSTOP)
        time.sleep(self._lease_seconds * self._random.uniform(0.2, 2.0))
        self._workers.signal(pid, signal.SIGCONT)
        self._note("worker paused", pid, began)

    def _kill_service(self, _pid: int) -> None:
        service = self._random.choice(self._stoppable)
        assert service.stop is not None
        assert service.start is not None
        began = time.time()
        service.stop()
        time.sleep(self._random.uniform(0.0, 1.0))
        service.start()
        self._note("service killed", None, began)

    def _note(self, kind: str, pid: int | None, began: float) -> None:
        self.done.append(Disturbance(kind, pid, began, time.time()))


def environment(broker: str, backend: str, runs: Path, variable: str, lease_seconds: float) -> dict[str, str]:
    """The environment of a worker: where it works, and short leases."""
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        variable: str(runs),
        "DRIVETRAIN_BROKER": broker,
        "DRIVETRAIN_BACKEND": backend,
        "DRIVETRAIN_LEASE_SECONDS": str(lease_seconds),
        "DRIVETRAIN_GRACE_SECONDS": "1.5",
        "DRIVETRAIN_CONCURRENCY": "4",
    }
