"""Worker processes of a contestant, and what they take: time and memory, their children's included."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from place import Place

__all__ = ["Workers", "cpu_seconds", "with_us"]

_SCRIPT = Path(__file__).with_name("one.py")
_STOP_SECONDS = 60.0


def with_us() -> list[str]:
    """What to put before a command, so that its process dies with this one, even by kill -9 (on Linux)."""
    return ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []


class Workers:
    """Some worker processes, ready when made."""

    def __init__(self, entry: str, place: Place) -> None:
        command = [*with_us(), sys.executable, str(_SCRIPT), "work", entry, place.as_json()]
        self._processes = [
            subprocess.Popen([*command, str(number)], stdout=subprocess.PIPE, text=True)
            for number in range(place.processes)
        ]
        for process in self._processes:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                self.stop()
                raise RuntimeError(f"a worker of {entry} did not start")

    def cpu(self) -> float:
        """The seconds of a processor that they have taken until now."""
        return cpu_seconds(process.pid for process in self._processes)

    def rss(self) -> float:
        """The resident memory of all of them, in MB; what children share with their parent counts for each."""
        return sum(process.memory_info().rss for process in self._all()) / 1e6

    def pss(self) -> float:
        """The memory of all of them, in MB; what several processes share is divided among them. Linux only."""
        return (
            sum(getattr(process.memory_full_info(), "pss", process.memory_info().rss) for process in self._all()) / 1e6
        )

    def stop(self) -> None:
        """Ask them to stop, and wait until they have; then kill what is left of their children."""
        children = [child for process in self._processes for child in _tree(process.pid)[1:]]
        for process in self._processes:
            process.terminate()
        try:
            for process in self._processes:
                process.communicate(timeout=_STOP_SECONDS)
        finally:
            for process in [*self._processes, *children]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    def _all(self) -> Sequence[psutil.Process]:
        return [one for process in self._processes for one in _tree(process.pid)]


def cpu_seconds(pids: Iterable[int]) -> float:
    """The seconds of a processor that these processes and their children have taken until now."""
    times = [process.cpu_times() for pid in pids for process in _tree(pid)]
    return float(sum(time.user + time.system for time in times))


def _tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
