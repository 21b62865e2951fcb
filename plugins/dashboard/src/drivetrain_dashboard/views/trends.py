"""How queues change, and which workers have gone, between two readings of the dashboard. It asks no service."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping

from attrs import define, field, frozen

from drivetrain.contract import QueueSizes
from drivetrain.worker.status import WorkerStatus

__all__ = ["GoneWorker", "Trends"]

#: For how long sizes are remembered, and how far two of them must be apart to be compared, in seconds.
_REMEMBERED_SECONDS, _LEAST_SECONDS = 600.0, 20.0
#: How many queues and workers are remembered at most.
_MOST = 1000
#: A worker reports every two seconds. One that was silent for this long before it disappeared has died.
_SILENT_SECONDS = 7.0
#: For how long a worker that has died is shown, in seconds.
_SHOWN_SECONDS = 900.0


@frozen(kw_only=True)
class GoneWorker:
    """A worker that has disappeared without saying so.

    Attributes:
        name: its name.
        host: the name of its machine.
        reported: when it reported last, in Unix seconds.
        running: how many tasks it ran then.
    """

    name: str
    host: str
    reported: float
    running: int


@define
class _Samples:
    """The sizes of one queue, the oldest first: a time and a number of ready messages."""

    found: deque[tuple[float, int]] = field(factory=deque)

    def add(self, at: float, ready: int) -> None:
        self.found.append((at, ready))
        while self.found[0][0] < at - _REMEMBERED_SECONDS:
            self.found.popleft()


class Trends:
    """Remembers the last ten minutes, in memory that is bounded. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples: dict[str, _Samples] = {}
        #: The workers of the latest reading, with its time, by name and start.
        self._seen: dict[tuple[str, float], tuple[float, WorkerStatus]] = {}
        self._gone: dict[tuple[str, float], GoneWorker] = {}

    def note_sizes(self, at: float, sizes: Mapping[str, QueueSizes]) -> None:
        """Remember the sizes of queues.

        Args:
            at: the time, in Unix seconds.
            sizes: their sizes, by the name of the queue.
        """
        with self._lock:
            for queue, one in sizes.items():
                if one.ready is not None and (queue in self._samples or len(self._samples) < _MOST):
                    self._samples.setdefault(queue, _Samples()).add(at, one.ready)
            for queue in [queue for queue in self._samples if queue not in sizes]:
                del self._samples[queue]

    def per_minute(self, queue: str) -> float | None:
        """By how many ready messages a queue has grown in a minute; None: it was not watched for long enough."""
        with self._lock:
            samples = self._samples.get(queue)
            if samples is None:
                return None
            (began, before), (ended, after) = samples.found[0], samples.found[-1]
        return (after - before) / (ended - began) * 60.0 if ended - began >= _LEAST_SECONDS else None

    def note_workers(self, at: float, workers: Iterable[WorkerStatus]) -> None:
        """Remember the workers that live.

        Args:
            at: the time, in Unix seconds.
            workers: the workers.
        """
        alive = {(one.name, one.started): one for one in workers}
        with self._lock:
            for key, (seen_at, last) in self._seen.items():
                # A worker that ends removes its status. That of a dead one lasts, and grows old before it goes.
                if key not in alive and not last.stopping and seen_at - last.reported >= _SILENT_SECONDS:
                    self._gone[key] = GoneWorker(
                        name=last.name, host=last.host, reported=last.reported, running=last.running_count
                    )
            self._seen = {key: (at, one) for key, one in list(alive.items())[:_MOST]}
            self._gone = {
                key: one for key, one in self._gone.items() if key not in alive and at - one.reported < _SHOWN_SECONDS
            }

    def gone(self) -> list[GoneWorker]:
        """The workers that have died within the last 15 minutes, as far as earlier readings have seen them."""
        with self._lock:
            return sorted(self._gone.values(), key=lambda one: one.reported, reverse=True)
