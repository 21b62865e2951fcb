"""For the tests of applications: time that you turn, and tasks that run when you say so.

    from drivetrain.testing import VirtualTime

    def test_reminders():
        with VirtualTime(app) as time:              # memory://, whatever the app is configured with
            remind.si("Ada").set(delay=timedelta(days=30)).send()
            time.run_for(days=31)                   # at once
            assert sent == ["Ada"]

Everything runs in the thread of the test, in due order, the same every time. Queues, retries, ETAs, expiry, chains and
chords are those of the real worker and the real ``memory://`` drivers; only the time is not real.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from drivetrain.app.application import App
from drivetrain.contract import Place

__all__ = ["VirtualClock", "VirtualTime"]

_START = datetime(2026, 1, 1, tzinfo=UTC)
#: Waiting so often without anybody turning the clock means that nobody will.
_MOST_WAITS = 1000
_FOR_EVER = (
    "this would wait for ever: in virtual time nothing happens by itself; "
    "let tasks run first, with run_for, run_until or run_ready"
)

#: How long time passes where it is not known how long something was put off, in seconds.
_MOMENT_SECONDS = 0.05


class VirtualClock:
    """A clock that stands still until it is turned. Thread-safe.

    Waiting turns it: who waits five seconds for something that has not happened, has let five seconds pass.
    """

    def __init__(self, start: datetime = _START) -> None:
        """Make it, showing ``start`` (aware)."""
        self._began = start.timestamp()
        self._passed = 0.0
        self._waits = 0
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

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:  # noqa: ARG002 - nobody notifies
        """See `Clock.wait`. Nobody else is there to notify, so the time simply passes."""
        self._pass(timeout)
        return False

    def wait_event(self, event: threading.Event, timeout: float | None) -> bool:
        """See `Clock.wait_event`."""
        if not event.is_set():
            self._pass(timeout)
        return event.is_set()

    def _pass(self, timeout: float | None) -> None:
        if timeout is None:
            raise RuntimeError(_FOR_EVER)
        self._waits += 1
        if self._waits > _MOST_WAITS:
            raise RuntimeError(_FOR_EVER)
        self._turn(max(0.0, timeout))


class VirtualTime:
    """Lets an app run in virtual time, on fresh ``memory://`` drivers, as long as it is entered.

    Not thread-safe. ``async def`` tasks are run to their end one by one; child processes and time limits are not used.
    """

    def __init__(self, app: App, *, start: datetime = _START) -> None:
        """Make it; the app is untouched until it is entered."""
        self._app = app
        self._clock = VirtualClock(start)
        self._using = app.using("memory://", "memory://", clock=self._clock)

    def __enter__(self) -> Self:
        self._using.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._using.__exit__(kind, error, trace)

    def now(self) -> datetime:
        """The virtual time."""
        return datetime.fromtimestamp(self._clock.now(), UTC)

    def run_ready(self) -> int:
        """Run all that is due now, and what that leads to, without letting time pass; how many attempts."""
        queues = self._app.operations.queues()
        ran = drained = self._app.worker(queues=queues).drain()
        while drained:
            # Tasks may have used queues that nobody knew of before.
            queues = self._app.operations.queues()
            ran += (drained := self._app.worker(queues=queues).drain())
        return ran

    def run_for(self, **duration: float) -> int:
        """Let time pass (``days=30, hours=1``), and run everything when it is due; how many attempts."""
        return self.run_until(self.now() + timedelta(**duration))

    def run_until(self, end: datetime) -> int:
        """Let time pass until ``end`` (aware), and run everything when it is due; how many attempts."""
        last = end.timestamp()
        ran = self.run_ready()
        while (now := self._clock.now()) < last and (due := self._next_due()) is not None and due <= last:
            # What was given back for a moment shows the ETA that it was sent with.
            self._clock.turn(due - now if due > now else min(_MOMENT_SECONDS, last - now))
            ran += self.run_ready()
        self._clock.turn(max(0.0, last - self._clock.now()))
        return ran

    def _next_due(self) -> float | None:
        broker = self._app.runtime.broker
        delayed = (broker.peek(queue, Place.DELAYED, limit=1) for queue in self._app.operations.queues())
        return min((message.eta for (message,) in filter(None, delayed) if message.eta is not None), default=None)
