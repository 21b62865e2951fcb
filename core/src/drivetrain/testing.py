"""Helpers for the tests of applications: virtual time, and tasks that run when the test calls them.

    from drivetrain.testing import VirtualTime

    def test_reminders():
        with VirtualTime(app) as time:              # memory://, for any configuration of the app
            remind.si("Ada").set(delay=timedelta(days=30)).send()
            time.run_for(days=31)                   # at once
            assert sent == ["Ada"]

Time begins now, or at ``start=``. All tasks run in the thread of the test, in due order, the same in every run.
Queues, retries, ETAs, expiry, schedules, chains and chords are those of the real worker and the real ``memory://``
drivers. Only the time is virtual.

What was sent is in ``time.sent``; `record_sent` lists it without running anything. Fixtures for pytest are in
`drivetrain.pytest`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from drivetrain.app.application import App
from drivetrain.app.queued_tasks import QueuedTask
from drivetrain.app.sent_tasks import SentTask, SentTasks
from drivetrain.contract import QueueSection, reset_after_fork
from drivetrain.worker.schedules.scheduler import Scheduler
from drivetrain.worker.worker import Worker

__all__ = ["SentTask", "SentTasks", "VirtualClock", "VirtualTime", "record_sent"]

#: After this number of waits in which no thread has turned the clock, no thread will turn it.
_MOST_WAITS = 1000
_FOR_EVER = (
    "this would wait without end, since virtual time does not pass on its own; "
    "run tasks first with run_for, run_until or run_ready"
)

#: How long time passes when a message was released for an unknown time, in seconds.
_MOMENT_SECONDS = 0.05


class VirtualClock:
    """A clock whose time passes only when `turn` is called, or when a thread waits. Thread-safe.

    A wait turns it at once: after a wait of five seconds, five seconds have passed.
    """

    def __init__(self, start: datetime | None = None, *, explain: Callable[[], str] = str) -> None:
        """Make it.

        Args:
            start: its first time (aware); None: now.
            explain: returns text for the error of a wait without end, for example the next due task.
        """
        self._began = (start or datetime.now(UTC)).timestamp()
        self._explain = explain
        self._passed = 0.0
        self._waits = 0
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """See `drivetrain.contract.ForkAware`."""
        self._lock = threading.Lock()

    def now(self) -> float:
        """See `Clock.now`."""
        return self._began + self._passed

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self._passed

    def turn(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        if seconds < 0:
            raise ValueError(f"time cannot be turned back by {-seconds} seconds")
        self._waits = 0
        self._turn(seconds)

    def _turn(self, seconds: float) -> None:
        with self._lock:
            self._passed += seconds

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:  # noqa: ARG002 - no thread notifies
        """See `Clock.wait`. No other thread notifies, so the time passes at once."""
        self._pass(timeout)
        return False

    def wait_event(self, event: threading.Event, timeout: float | None) -> bool:
        """See `Clock.wait_event`."""
        if not event.is_set():
            self._pass(timeout)
        return event.is_set()

    def _pass(self, timeout: float | None) -> None:
        self._waits += 1
        if timeout is None or self._waits > _MOST_WAITS:
            raise RuntimeError(f"{_FOR_EVER}{self._explain()}")
        self._turn(max(0.0, timeout))


class VirtualTime:
    """Runs an app in virtual time, on new ``memory://`` drivers, while the context is entered.

    Its schedules tick, those that are declared and those that are put meanwhile.

    Not thread-safe. ``async def`` tasks run one after another; child processes and time limits are not used.
    """

    def __init__(self, app: App, *, start: datetime | None = None) -> None:
        """Make it; the app changes only when the context is entered.

        Args:
            app: the app to run.
            start: when time begins (aware); None: now.
        """
        self._app = app
        self._clock = VirtualClock(start, explain=self._next_task)
        #: What was sent since the context was entered, in order.
        self.sent = SentTasks(lambda: app.runtime)
        self._using = app.using("memory://", "memory://", clock=self._clock, plugins=[self.sent])
        self._scheduler: Scheduler | None = None
        self._worker: Worker | None = None

    def __enter__(self) -> Self:
        self._using.__enter__()
        self._scheduler = self._app.scheduler(now=self._clock.now)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._using.__exit__(kind, error, trace)

    def now(self) -> datetime:
        """The virtual time."""
        return datetime.fromtimestamp(self._clock.now(), UTC)

    def run_ready(self) -> int:
        """Send the ticks and run the tasks that are due now, and those that follow from them; the number of attempts.

        No time passes.
        """
        self._tick()
        queues: tuple[str, ...] = ()
        ran = 0
        while (now_known := tuple(self._app.operations.queues())) != queues:  # tasks may have sent to other queues
            queues = now_known
            ran += self._drain(queues)
        return ran

    def run_for(self, **duration: float) -> int:
        """Let time pass (``days=30, hours=1``), and run tasks when they are due; the number of attempts."""
        return self.run_until(self.now() + timedelta(**duration))

    def run_until(self, end: datetime) -> int:
        """Let time pass until ``end`` (aware), and run tasks when they are due; the number of attempts."""
        last = end.timestamp()
        ran = self.run_ready()
        while (now := self._clock.now()) < last and (due := self._next_due()) is not None and due <= last:
            # A message that was released for a short time still shows its first ETA.
            self._clock.turn(due - now if due > now else min(_MOMENT_SECONDS, last - now))
            ran += self.run_ready()
        self._clock.turn(max(0.0, last - self._clock.now()))
        return ran

    def _drain(self, queues: tuple[str, ...]) -> int:
        if self._worker is None or self._worker.options.queues != queues:
            self._worker = self._app.worker(queues=queues)
        return self._worker.drain()

    def _tick(self) -> float | None:
        """Send the ticks that are due; when the next one is due. None: there is none."""
        assert self._scheduler is not None, "enter the context of VirtualTime first"  # noqa: S101
        due = self._scheduler.tick()
        while due is not None and due <= self._clock.now():
            due = self._scheduler.tick()
        return due

    def _next_due(self) -> float | None:
        """When the next task or the next tick is due."""
        times = [time for time in (self._next_task_due(), self._tick()) if time is not None]
        return min(times, default=None)

    def _next_task_due(self) -> float | None:
        broker = self._app.runtime.broker
        delayed = (broker.peek(queue, QueueSection.DELAYED, limit=1) for queue in self._app.operations.queues())
        return min((message.eta for (message,) in filter(None, delayed) if message.eta is not None), default=None)

    def _next_task(self) -> str:
        """The next task that would run, for an error message."""
        operations = self._app.operations
        queued = [
            task
            for section in (QueueSection.READY, QueueSection.DELAYED)
            for queue in operations.queues()
            for task in operations.tasks(queue, section, limit=1)
        ]
        now = self.now()
        if not queued:
            return f". It is {now} now, and no task is in any queue"
        first = min(queued, key=lambda task: _due(task, now))
        due = _due(first, now)
        when = f"is due at {due}" if due > now else "is ready"
        return f". It is {now} now; the next task, {first.task} ({first.task_id}), {when}"


@contextmanager
def record_sent(app: App) -> Iterator[SentTasks]:
    """List what an app sends, on new ``memory://`` drivers, until the context ends. Nothing runs.

    ``with record_sent(app) as sent: …`` and then ``assert sent.one(welcome).arguments == {"user": "Ada"}``.
    """
    sent = SentTasks(lambda: app.runtime)
    with app.using("memory://", plugins=[sent]):
        yield sent


def _due(task: QueuedTask, now: datetime) -> datetime:
    return now if task.eta is None else max(task.eta, now)
