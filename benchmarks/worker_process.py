"""A contestant's worker in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_SCRIPT = Path(__file__).with_name("one.py")
_STOP_SECONDS = 60.0


class WorkerProcess:
    """Started, and ready, when made."""

    def __init__(self, entry: str, directory: Path, threads: int) -> None:
        command = [sys.executable, str(_SCRIPT), "work", entry, str(directory), str(threads)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if self._process.stdout is None or self._process.stdout.readline() != "ready\n":
            raise RuntimeError(f"the worker of {entry} did not start")

    def rss(self) -> float:
        """The memory that it has now, in MB."""
        return _rss(self._process.pid)

    def stop(self) -> None:
        """Ask it to stop, and wait until it has."""
        self._process.terminate()
        try:
            self._process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise


def _rss(pid: int) -> float:
    """The resident memory of a process, in MB."""
    status = Path(f"/proc/{pid}/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6
    told = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(told.stdout) * 1024 / 1e6
