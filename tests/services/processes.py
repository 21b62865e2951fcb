"""A server as a process of our own: started, waited for, killed, paused, started again on the same port."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["NotStarted", "ServerProcess", "free_port"]

_START_SECONDS = 30.0
_STOP_SECONDS = 20.0
_PAUSE_SECONDS = 0.01
#: Below the ports that the system gives to clients: on Linux they begin at 32,768.
_PORTS = range(12_000, 30_000)


class NotStarted(Exception):
    """The server ended, or did not answer in time; the message has the tail of its log."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that no other process of these tests gets while this one lives.

    It lies below the ports from which the system chooses those of clients. A server may be stopped and started on it.
    """
    directory = Path(tempfile.gettempdir(), f"drivetrain-test-ports-{os.getuid()}")
    directory.mkdir(exist_ok=True)
    for port in random.Random().sample(_PORTS, len(_PORTS)):
        if _reserve(directory / str(port)) and _is_unused(port):
            return port
    raise NotStarted(f"all ports from {_PORTS.start} to {_PORTS.stop - 1} are in use")


def _reserve(path: Path) -> bool:
    """Lock a file until this process ends; False: another process has, or this one."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    return True  # the file stays open, and so locked


def _is_unused(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _without_libraries(environment: Mapping[str, str]) -> dict[str, str]:
    """Without ``PYTHONPATH``: the oldest libraries of a driver (`make oldest`) are none for servers in Python."""
    return {name: text for name, text in environment.items() if name != "PYTHONPATH"}


class ServerProcess:
    """One server. It dies with this process, however that ends."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        start_seconds: float = _START_SECONDS,
    ) -> None:
        """Describe it; `start` starts it.

        Args:
            command: what to run, in the foreground.
            log: where its output goes.
            ready: whether it answers, by its own protocol; may raise, which is no.
            environment: all of its environment, but for ``PYTHONPATH``; None: this process's own.
            directory: where it runs.
            start_seconds: how long it may take until it is ready.
        """
        self._command = [str(part) for part in command]
        self._log = log
        self._ready = ready
        self._environment = environment
        self._directory = directory
        self._start_seconds = start_seconds
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.kill)

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None, "it is not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it is."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, and return when it is ready.

        Raises:
            NotStarted: it ended, or was not ready in time.
        """
        # With its parent it is killed, even by kill -9. The signal comes when the thread that forked ends.
        with_us = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [*with_us, *self._command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_without_libraries(os.environ if self._environment is None else self._environment),
                cwd=self._directory,
            )
        end = time.monotonic() + self._start_seconds
        while not self._is_ready():
            if not self.running:
                raise NotStarted(f"{self._command[0]} ended with {self._process.returncode}:\n{self.log_tail()}")
            if time.monotonic() > end:
                self.kill()
                raise NotStarted(f"{self._command[0]} was not ready in {self._start_seconds} s:\n{self.log_tail()}")
            time.sleep(_PAUSE_SECONDS)

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self._signal(signal.SIGTERM)
        self._wait()

    def kill(self) -> None:
        """End it as a crash does."""
        self._signal(signal.SIGKILL)
        self._wait()

    def pause(self) -> None:
        """Let it hang: connections stay open, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def log_tail(self) -> str:
        """The last lines that it wrote."""
        return self._log.read_text("utf-8", "replace")[-2000:] if self._log.exists() else "(no log)"

    def _is_ready(self) -> bool:
        try:
            return self._ready()
        except Exception:
            return False

    def _signal(self, number: int) -> None:
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _wait(self) -> None:
        if self._process is not None:
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
