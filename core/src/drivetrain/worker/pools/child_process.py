"""A child process with its connections, as the worker has it: how it starts, and how it ends."""

from __future__ import annotations

import multiprocessing
import threading
import time
from multiprocessing import connection
from pathlib import Path
from typing import Any, Protocol

from attrs import define, field

from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.pools import child
from drivetrain.worker.pools.channel import Channel, Permits
from drivetrain.worker.pools.reference import TaskReference

__all__ = ["ChildDied", "ChildProcess", "Launch", "Process", "spawn"]

#: How long a child that has closed its connection may take to end by itself, in seconds.
_FAREWELL_SECONDS = 1.0
#: How often to check whether it has ended, in seconds.
_FAREWELL_PAUSE_SECONDS = 0.005
#: How long the system may take to end a process that was killed, in seconds.
_LAST_SECONDS = 5.0
#: How long a child that is replaced may take to end by itself, in seconds.
_RETIREMENT_SECONDS = 30.0


class ChildDied(Exception):
    """The child process has ended, or has closed its connection. The text is a predicate: ``was killed by SIGKILL``."""


class Process(Protocol):
    """A child process, with the interface that multiprocessing has."""

    @property
    def pid(self) -> int | None:
        """Its id; None: it has not started."""
        ...

    @property
    def exitcode(self) -> int | None:
        """Its exit code, negative for a signal; None: it is alive."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, for ``timeout`` seconds at most."""
        ...


class Launch(Protocol):
    """Starts a child process."""

    def __call__(
        self,
        theirs: connection.Connection[Any, Any],
        permits: connection.Connection[Any, Any],
        options: WorkerOptions,
        directory: Path,
        /,
    ) -> Process:
        """Start a process that serves its end of a connection, in a directory; may raise OSError."""
        ...


def spawn(
    theirs: connection.Connection[Any, Any],
    permits: connection.Connection[Any, Any],
    options: WorkerOptions,
    directory: Path,
) -> Process:
    """Start a process of multiprocessing. It runs the main script of the worker first."""
    # Spawned, not forked: a task must share nothing with the worker, above all no connections.
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=child.serve, args=(theirs, permits, options, directory), name="drivetrain-child")
    process.start()
    return process


@define(eq=False)
class ChildProcess:
    """A child process and its connections."""

    process: Process
    channel: Channel
    permits: Permits
    #: The modules that it was asked to import, each with a task in it.
    asked: dict[str, TaskReference] = field(factory=dict)
    #: The modules that it has imported. The time of imports counts for no task.
    imported: set[str] = field(factory=set)
    #: How many imports it was asked for, and has not answered.
    importing: int = 0
    #: How many batches it was given.
    batches: int = 0
    #: How many tasks it has run.
    ran: int = 0
    #: How much memory it used when it declared itself full, in bytes; None: it has not.
    full_bytes: int | None = None

    def close(self) -> None:
        """Close its connections; then it ends by itself."""
        self.channel.close()
        self.permits.close()

    def retire(self) -> None:
        """Let it end by itself, in a thread that cleans up after it."""
        self.close()
        try:
            threading.Thread(target=self._see_off, name="drivetrain-retired", daemon=True).start()
        except RuntimeError:  # the system starts no more threads
            self._kill()

    def end(self) -> None:
        """Kill it, and clean up after it."""
        self.close()
        self._kill()

    def exit_code_soon(self) -> int | None:
        """The exit code of one that has closed its connection; None: it still runs after a short wait."""
        # Not with `join`, which would wait without limit for a process that has closed all its files.
        latest = time.monotonic() + _FAREWELL_SECONDS
        while (code := self.process.exitcode) is None and time.monotonic() < latest:
            time.sleep(_FAREWELL_PAUSE_SECONDS)
        return code

    def _see_off(self) -> None:
        self.process.join(_RETIREMENT_SECONDS)
        if self.process.exitcode is None:  # a thread of a task may keep it alive
            self._kill()

    def _kill(self) -> None:
        self.process.kill()
        self.process.join(_LAST_SECONDS)
