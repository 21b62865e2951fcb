"""SQS as moto and LocalStack imitate it: each in a virtual environment of its own, made when it is first needed.

Both keep all in memory. To be away without forgetting, each stands behind a gate that can be shut.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services.processes import NotStarted, ServerProcess, free_port
from services.required import missing

__all__ = ["LocalStackServer", "MotoServer", "SqsServer"]

_HERE = Path(__file__).parent
_ENVIRONMENTS = _HERE.parents[1] / ".venv" / "servers"
#: LocalStack uses what the standard library has since 3.13, whatever its metadata says.
_LOCALSTACK_PYTHON = (3, 13)
_INSTALL_SECONDS = 600
_START_SECONDS = 90.0
_PAUSE_SECONDS = 0.01


class SqsServer:
    """An imitation of SQS. `stop` and `start` shut and open its gate."""

    #: What differs from AWS, for tests to ask.
    name = ""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port, self._hidden_port = free_port(), free_port()
        self.process = self._described(directory, self._hidden_port)
        self.gate = ServerProcess(
            [sys.executable, _HERE / "gate.py", str(self.port), str(self._hidden_port)],
            log=directory / "gate.log",
            ready=lambda: self._answers(self.port),
        )

    @property
    def host(self) -> str:
        """With its port."""
        return f"127.0.0.1:{self.port}"

    def url(self, namespace: str, **options: str) -> str:
        """The URL of a broker that makes its queues."""
        told = {"namespace": namespace, "region": "us-east-1", "create": "true", **options}
        query = "&".join(f"{name}={value}" for name, value in told.items())
        return f"sqs+http://key:secret-of-the-url@{self.host}?{query}"

    def run(self) -> None:
        """Start the server and open its gate; `missing` if that cannot be."""
        try:
            self.process.start()
            self.gate.start()
        except NotStarted as error:
            missing(self.name, str(error))

    def end(self) -> None:
        """Shut the gate and end the server."""
        self.gate.kill()
        self.process.kill()

    def stop(self) -> None:
        """Be away."""
        os.kill(self.gate.pid, signal.SIGUSR1)
        self._await(lambda: not _connects(self.port), "the gate does not shut")

    def start(self) -> None:
        """Be there again."""
        os.kill(self.gate.pid, signal.SIGUSR2)
        self._await(lambda: _connects(self.port), "the gate does not open")

    def _await(self, holds: Callable[[], bool], fault: str) -> None:
        end = time.monotonic() + _START_SECONDS
        while not holds():
            assert time.monotonic() < end, fault
            time.sleep(_PAUSE_SECONDS)

    def _described(self, directory: Path, port: int) -> ServerProcess:
        raise NotImplementedError

    def _answers(self, port: int) -> bool:
        raise NotImplementedError


class MotoServer(SqsServer):
    """moto: exact times, slow."""

    name = "moto"

    def _described(self, directory: Path, port: int) -> ServerProcess:
        python = _environment(self.name, sys.executable)
        return ServerProcess(
            [python, _HERE / "moto_server.py", "-H", "127.0.0.1", "-p", str(port)],
            log=directory / "log",
            ready=lambda: self._answers(port),
            start_seconds=_START_SECONDS,
        )

    def _answers(self, port: int) -> bool:
        return _get(f"http://127.0.0.1:{port}/moto-api/")


class LocalStackServer(SqsServer):
    """LocalStack: faster, and its times have ticks of a second."""

    name = "localstack"

    def _described(self, directory: Path, port: int) -> ServerProcess:
        python = _environment(self.name, _python(*_LOCALSTACK_PYTHON) or _no_python())
        return ServerProcess(
            [python, "-m", "localstack.runtime.main"],
            log=directory / "log",
            ready=lambda: self._answers(port),
            environment={**os.environ, **_localstack_settings(directory, port, self.port)},
            directory=directory,
            start_seconds=_START_SECONDS,
        )

    def _answers(self, port: int) -> bool:
        return _get(f"http://127.0.0.1:{port}/_localstack/health")


def _localstack_settings(directory: Path, port: int, shown_port: int) -> Mapping[str, str]:
    return {
        "GATEWAY_SERVER": "hypercorn",  # the default one listens on all addresses
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "LOCALSTACK_HOST": f"127.0.0.1:{shown_port}",
        "SQS_ENDPOINT_STRATEGY": "path",
        "SERVICES": "sqs",
        "STRICT_SERVICE_LOADING": "1",
        "EAGER_SERVICE_LOADING": "1",
        "DISABLE_EVENTS": "1",
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "DNS_ADDRESS": "0",
        "LS_LOG": "warn",
        "LOCALSTACK_VOLUME_DIR": str(directory / "volume"),
        "TMPDIR": str(directory),
    }


def _connects(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _get(url: str) -> bool:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return bool(answer.status == 200)


def _no_python() -> str:
    missing(
        "localstack", f"it needs Python {_LOCALSTACK_PYTHON[0]}.{_LOCALSTACK_PYTHON[1]} or newer, and there is none"
    )
    raise AssertionError("`missing` has not returned")


def _python(*oldest: int) -> str | None:
    """A Python that is new enough: this one, one on PATH, or one of pyenv's."""
    if sys.version_info >= oldest:
        return sys.executable
    major, minor = oldest
    names = [f"python{major}.{each}" for each in range(minor, minor + 4)]
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    # pyenv's shims stand on PATH and only work where the version was chosen.
    places = [*sorted(map(str, versions.glob(f"{major}.*/bin"))), os.environ.get("PATH", os.defpath)]
    return shutil.which(next((each for each in names if shutil.which(each, path=os.pathsep.join(places))), ""),
                        path=os.pathsep.join(places))  # fmt: skip


def _environment(service: str, python: str) -> Path:
    """The Python of the virtual environment of a service; made if it is not there, or has other pins."""
    pins = _HERE / f"requirements-{service}.txt"
    wanted = hashlib.sha256(pins.read_bytes() + python.encode()).hexdigest()
    place = _ENVIRONMENTS / service
    stamp, found = place / "installed", place / "bin" / "python"
    with _locked(_ENVIRONMENTS / f"{service}.lock"):
        if not (stamp.exists() and stamp.read_text() == wanted):
            shutil.rmtree(place, ignore_errors=True)
            _run(service, python, "-m", "venv", str(place))
            _run(service, str(found), "-m", "pip", "install", "--quiet", "--no-deps",
                 "--disable-pip-version-check", "-r", str(pins))  # fmt: skip
            stamp.write_text(wanted)
    return found


def _run(service: str, *command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        missing(service, f"its virtual environment cannot be made: {error}")
    else:
        if done.returncode:
            missing(service, f"its virtual environment cannot be made: {done.stderr[-1000:]}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """While this is held, no other process of these tests makes the same environment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
