"""Decides how many worker processes a supervisor runs: by the work that waits, and by free processors. Pure."""

from __future__ import annotations

from attrs import define, frozen

from drivetrain.worker.status import Scale

__all__ = ["Autoscaler", "Decision", "Load"]

#: Work waits if the processes would need longer than this to start all of it, in seconds.
_BACKLOG_SECONDS = 1.0
#: How long work must wait before a process is added, and how long after a change, in seconds.
_GROW_SECONDS = 3.0
#: How long there must be a process too many before one is removed, and how long after a change, in seconds.
_SHRINK_SECONDS = 30.0
#: How many processors must be free for another process.
_FREE_PROCESSORS = 0.5
#: Fewer processes must be able to do the work with this part of their slots, and of one processor each.
_BUSY_SLOTS, _BUSY_PROCESSOR = 0.5, 0.7


@frozen(kw_only=True)
class Load:
    """What the processes of a worker do now.

    Attributes:
        processes: how many run or start, without those that retire.
        starting: how many of them have not reported yet.
        waiting: how many tasks are ready in the queues, or were received and wait for a slot.
        running: how many tasks run.
        ended_per_second: how many tasks end.
        slots: how many tasks one process runs at once.
        processors_used: how many processors the processes use.
        processors_free: how many processors nothing uses; None: unknown.
    """

    processes: int
    starting: int
    waiting: int
    running: int
    ended_per_second: float
    slots: int
    processors_used: float
    processors_free: float | None


@frozen
class Decision:
    """How many processes there are to be, and why."""

    processes: int
    reason: str


@define
class Autoscaler:
    """Decides for one worker. Used by one thread.

    A process is added where work waits and a processor is free: at most half as many again at a time. One is removed
    after half a minute in which fewer could do the work. So a short pause removes none, and the number does not swing.

    Attributes:
        least: the smallest number of processes.
        most: the largest number.
    """

    least: int
    most: int
    _grow_since: float | None = None
    _shrink_since: float | None = None
    _changed_at: float | None = None

    def scale(self, processes: int) -> Scale:
        """What the processes report of it."""
        return Scale(processes=processes, least=self.least, most=self.most)

    def decide(self, load: Load, now: float) -> Decision | None:
        """The change for a load; None: there is none. Call it every second.

        Args:
            load: what the processes do.
            now: seconds of a monotonic clock.
        """
        self._grow_since = _since(self._grow_since, now, holds=self._wants_more(load))
        self._shrink_since = _since(self._shrink_since, now, holds=self._wants_fewer(load))
        if self._is_due(self._grow_since, _GROW_SECONDS, now):
            decision = self._more(load)
        elif self._is_due(self._shrink_since, _SHRINK_SECONDS, now):
            decision = Decision(load.processes - 1, f"{load.running} tasks run, and {load.waiting} wait")
        else:
            return None
        self._changed_at, self._grow_since, self._shrink_since = now, None, None
        return decision

    def _wants_more(self, load: Load) -> bool:
        has_room = load.processes < self.most and not load.starting
        waits = load.waiting > load.ended_per_second * _BACKLOG_SECONDS
        return has_room and waits and (load.processors_free is None or load.processors_free >= _FREE_PROCESSORS)

    def _wants_fewer(self, load: Load) -> bool:
        fewer = load.processes - 1
        return (
            fewer >= self.least
            and not load.starting
            and load.running + load.waiting <= _BUSY_SLOTS * load.slots * fewer
            and load.processors_used <= _BUSY_PROCESSOR * fewer
        )

    def _more(self, load: Load) -> Decision:
        free = 1 if load.processors_free is None else int(load.processors_free)
        added = min(max(1, min(load.processes // 2, free)), self.most - load.processes)
        known = "" if load.processors_free is None else f", and {load.processors_free:.1f} processors are free"
        return Decision(load.processes + added, f"{load.waiting} tasks wait, {load.running} run{known}")

    def _is_due(self, since: float | None, seconds: float, now: float) -> bool:
        rested = self._changed_at is None or now - self._changed_at >= seconds
        return since is not None and now - since >= seconds and rested


def _since(since: float | None, now: float, *, holds: bool) -> float | None:
    """Since when something holds without a break."""
    if not holds:
        return None
    return now if since is None else since
