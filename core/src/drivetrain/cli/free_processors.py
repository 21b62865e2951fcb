"""How many processors nothing uses: of the machine, or of the control group (a container) that has fewer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from attrs import frozen

__all__ = ["ProcessorMeter"]

_MACHINE, _GROUP_USE, _GROUP_LIMIT = "/proc/stat", "/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/cpu.max"


def _read(path: str) -> str:
    return Path(path).read_text(encoding="ascii")


@frozen
class _Sample:
    """What was counted until some time. None: this system does not count it."""

    at: float
    #: Of all processors of the machine: the time without work, and all time, in the same unit.
    machine: tuple[int, int] | None
    #: Of the control group: the processor time that was used, in microseconds.
    group: int | None


class ProcessorMeter:
    """Measures between two calls. Used by one thread.

    Args:
        read: reads a file of the system.
        clock: seconds that never go back.
        processors: how many the machine has.
    """

    def __init__(
        self,
        *,
        read: Callable[[str], str] = _read,
        clock: Callable[[], float] = time.monotonic,
        processors: int | None = None,
    ) -> None:
        self._read = read
        self._clock = clock
        self._processors = processors or os.cpu_count() or 1
        self._before = self._sample()

    def free(self) -> float | None:
        """The number of free processors since the last call, 0 or more; None: unknown."""
        before, now = self._before, self._sample()
        self._before = now
        known = [one for one in (self._machine(before, now), self._group(before, now)) if one is not None]
        if not known:
            known = self._by_load()
        return max(0.0, min(known)) if known else None

    def _sample(self) -> _Sample:
        return _Sample(self._clock(), self._machine_times(), self._group_use())

    def _machine_times(self) -> tuple[int, int] | None:
        with suppress(OSError, ValueError, IndexError):
            # cpu user nice system idle iowait irq softirq steal …: what follows is counted in user and nice too.
            times = [int(text) for text in self._read(_MACHINE).split("\n", 1)[0].split()[1:9]]
            return times[3] + times[4], sum(times)
        return None

    def _group_use(self) -> int | None:
        with suppress(OSError, ValueError):
            for line in self._read(_GROUP_USE).splitlines():
                name, _, value = line.partition(" ")
                if name == "usage_usec":
                    return int(value)
        return None

    def _machine(self, before: _Sample, now: _Sample) -> float | None:
        if before.machine is None or now.machine is None or now.machine[1] <= before.machine[1]:
            return None
        idle, total = (later - earlier for earlier, later in zip(before.machine, now.machine, strict=True))
        return self._processors * idle / total

    def _group(self, before: _Sample, now: _Sample) -> float | None:
        if before.group is None or now.group is None or now.at <= before.at:
            return None
        with suppress(OSError, ValueError):  # "max 100000" has no limit
            quota, period = map(int, self._read(_GROUP_LIMIT).split())
            return quota / period - (now.group - before.group) / 1e6 / (now.at - before.at)
        return None

    def _by_load(self) -> list[float]:
        """By the load of the last minute, on systems without these files."""
        with suppress(OSError, AttributeError):  # Windows has none
            return [self._processors - os.getloadavg()[0]]
        return []
