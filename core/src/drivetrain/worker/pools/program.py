"""A child process that runs a program of its own, without multiprocessing.

A process that multiprocessing spawns runs the main script of the worker again. Users of the processes pool write their
script for that. A suspect may come from any pool, and its script may start a worker or send tasks when it runs.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.pools import child

__all__ = ["SUPPORTED", "Program", "serve"]

#: Whether this platform passes an open connection to a program.
SUPPORTED = os.name == "posix"

_CODE = f"import sys; from {__name__} import serve; serve(int(sys.argv[1]), int(sys.argv[2]))"


class Program:
    """The program, seen from the worker; see `drivetrain.worker.pools.child_process.Process`."""

    def __init__(
        self,
        theirs: Connection[Any, Any],
        permits: Connection[Any, Any],
        options: WorkerOptions,
        directory: Path,
    ) -> None:
        """Start it.

        Args:
            theirs: the program's end of the connection.
            permits: its permits to begin tasks.
            options: the options of the worker.
            directory: the working directory of the program.

        Raises:
            OSError: no process can be started.
        """
        self._popen = subprocess.Popen(  # noqa: S603 - this very interpreter
            [sys.executable, "-c", _CODE, str(theirs.fileno()), str(permits.fileno())],
            pass_fds=[theirs.fileno(), permits.fileno()],
            stdin=subprocess.PIPE,
        )
        assert self._popen.stdin is not None  # noqa: S101
        with suppress(BrokenPipeError):  # it has died; waiting for its answer reports that
            # The search path of modules comes first: the options may need modules.
            self._popen.stdin.write(pickle.dumps(sys.path) + pickle.dumps((options, directory)))
            self._popen.stdin.flush()  # not closed: the end of the file reports the death of the worker to the program

    @property
    def pid(self) -> int | None:
        """Its id."""
        return self._popen.pid

    @property
    def exitcode(self) -> int | None:
        """Its exit code, negative for a signal; None: it is alive."""
        return self._popen.poll()

    def kill(self) -> None:
        """End it at once."""
        self._popen.kill()

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, at most ``timeout`` seconds, and clean up after it."""
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout)
            with suppress(OSError):
                self._popen.communicate()


def serve(descriptor: int, permits: int) -> None:
    """Serve the worker; the main function of the program.

    Args:
        descriptor: the file descriptor of this end of the connection.
        permits: the file descriptor of the permits to begin tasks.
    """
    sys.path[:] = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own worker
    options, directory = pickle.load(sys.stdin.buffer)  # noqa: S301
    # Tasks find an empty standard input, as in every child process.
    worker_lives, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    child.serve(Connection(descriptor), Connection(permits, writable=False), options, directory, worker_lives)
