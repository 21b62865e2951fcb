"""MongoDB: a server that is named, a real ``mongod``, or nx-27017, which speaks its protocol upon SQLite."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from services.processes import ServerProcess, free_port
from services.required import missing

__all__ = ["MongoServer"]

#: The URL of a server that runs already, without a database; it is neither stopped nor started.
URL_VARIABLE = "MONGODB_URL"
#: How long a client looks for a server that is away, in milliseconds.
SELECTION_MILLISECONDS = 10_000

#: How long it may take to tell a client how it is, in milliseconds; after that the client cuts off what it has asked.
#: nx-27017 does one thing at a time, on machines that may have a hundred others to do.
_ANSWER_MILLISECONDS = 30_000

_OPTIONS = f"serverSelectionTimeoutMS={SELECTION_MILLISECONDS}&connectTimeoutMS={_ANSWER_MILLISECONDS}"


class MongoServer:
    """A private MongoDB, or what can be had in its place. What it has acknowledged survives `kill`."""

    def __init__(self, directory: Path) -> None:
        """Describe it; `start` starts it.

        Args:
            directory: of its own.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._named = os.environ.get(URL_VARIABLE, "")
        self.port = free_port()
        #: ``named``, ``mongod`` or ``nx-27017``.
        self.kind = "named" if self._named else _kind()
        self.process: ServerProcess | None = None
        if not self._named:
            self.process = ServerProcess(
                _command(self.kind, directory, self.port), log=directory / "output", ready=self._is_ready
            )

    @property
    def stoppable(self) -> bool:
        """Whether it is ours to stop."""
        return self.process is not None

    @property
    def replicates(self) -> bool:
        """Whether it is a replica set, which has change streams."""
        with self.client() as client:
            return "setName" in client.admin.command("hello")

    def url(self, database: str = "drivetrain", **options: str) -> str:
        """Of a database; with options of the driver."""
        place, _, given = (self._named or f"mongodb://127.0.0.1:{self.port}").partition("?")
        pairs = [*filter(None, [given, _OPTIONS]), *(f"{name}={text}" for name, text in options.items())]
        return f"{place.rstrip('/')}/{database}?{'&'.join(pairs)}"

    def client(self) -> Any:
        """A client of the pymongo package, for looking and for breaking."""
        from pymongo import MongoClient

        return MongoClient(self.url(), retryWrites=False, retryReads=False, directConnection=True)

    def start(self) -> None:
        """Start it, where it is ours."""
        if self.process is not None:
            self.process.start()

    def kill(self) -> None:
        """End it as a crash does, where it is ours."""
        if self.process is not None:
            self.process.kill()

    def stop(self) -> None:
        """Ask it to end, where it is ours."""
        if self.process is not None:
            self.process.stop()

    def _is_ready(self) -> bool:
        with self.client() as client:
            if self.kind == "mongod":
                _initiate(client, self.port)
            return bool(client.admin.command("hello")["isWritablePrimary"])


def _kind() -> str:
    if shutil.which("mongod"):
        return "mongod"
    if _nx() is None:
        missing("mongodb", "there is no mongod on PATH, and nx-27017 is not installed")
    return "nx-27017"


def _nx() -> str | None:
    beside = Path(sys.executable).with_name("nx-27017")
    return str(beside) if beside.exists() else shutil.which("nx-27017")


def _command(kind: str, directory: Path, port: int) -> list[str | Path]:
    if kind == "mongod":
        data = directory / "data"
        data.mkdir(exist_ok=True)
        place: list[str | Path] = ["--dbpath", data, "--port", str(port), "--bind_ip", "127.0.0.1"]
        return ["mongod", *place, "--replSet", "rs0", "--setParameter", "enableTestCommands=1"]
    nx = _nx()
    assert nx is not None
    # Without names of their own, its log and its pid lie where every other one's do.
    own: list[str | Path] = ["--log-file", directory / "log", "--pid-file", directory / "pid"]
    return [nx, "--db", directory / "mongo.db", "--host", "127.0.0.1", "-p", str(port), *own]


def _initiate(client: Any, port: int) -> None:
    from pymongo.errors import OperationFailure

    try:
        member = {"_id": 0, "host": f"127.0.0.1:{port}"}
        client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
    except OperationFailure as error:
        if error.code != 23:  # AlreadyInitialized: it was started before
            raise
