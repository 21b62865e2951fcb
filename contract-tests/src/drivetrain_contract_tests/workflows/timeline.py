"""Schedules of one namespace, at a time that a check sets: no check waits for an hour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from threading import Event
from typing import Any

from drivetrain import App, Scheduler
from drivetrain.app.schedules import Schedules
from drivetrain.contract import ServiceError
from drivetrain.worker.schedules.tick import Tick, read_tick
from drivetrain.worker.schedules.ticker import BUSY_SECONDS
from drivetrain.workflow.frames import TICK_HEADER
from drivetrain_contract_tests.workflows.app_harness import AppHarness

__all__ = ["HOUR", "START", "Timeline", "hours", "utc"]

HOUR = 3600.0
#: When a check begins, in Unix seconds: a full hour.
START = 1_800_000_000.0
#: A scheduler that finds another one at work looks again as often.
_LOOKS = 250


def hours(*numbers: float) -> list[float]:
    """These hours after the start, in Unix seconds."""
    return [START + number * HOUR for number in numbers]


class Timeline:
    """Apps and schedulers on a harness, all with the time of the check."""

    def __init__(self, harness: AppHarness, start: float = START) -> None:
        self.harness = harness
        self.time = start

    def now(self) -> float:
        """The time of the check."""
        return self.time

    def at(self, hour: float) -> None:
        """Let it be this number of hours after the start."""
        self.time = START + hour * HOUR

    def app(self, **settings: Any) -> App:
        """An app whose workers do not tick."""
        return self.harness.app(**settings)

    def schedules(self, app: App) -> Schedules:
        """The schedules of an app, by the time of the check."""
        return Schedules(app._services, now=self.now)

    def scheduler(self, app: App) -> Scheduler:
        """A scheduler that has looked at nothing yet."""
        return app.scheduler(now=self.now)

    def tick(self, scheduler: Scheduler) -> None:
        """Tick until nothing is due any more; a scheduler that is refused by a service looks again."""
        pause = Event()
        for _ in range(_LOOKS):
            with suppress(ServiceError):
                due = scheduler.tick()
                if due is None or (due > self.time and due != self.time + BUSY_SECONDS):
                    return
            pause.wait(0.02)
        raise AssertionError("something is still due, and no scheduler sends it")

    def tick_at(self, scheduler: Scheduler, *moments: float) -> None:
        """Tick at each of these hours."""
        for hour in moments:
            self.at(hour)
            self.tick(scheduler)

    def ticks(self, schedule: str = "") -> list[Tick]:
        """The ticks of all messages that were published, repeated ones too; of one schedule, or of all."""
        found = [
            read_tick(header) for message in self.harness.run_log.messages if (header := _tick_of(message.headers))
        ]
        return [tick for tick in found if tick is not None and schedule in ("", tick.schedule)]

    def instants(self, schedule: str = "") -> list[float]:
        """The instants of `ticks`, sorted."""
        return sorted(tick.instant.timestamp() for tick in self.ticks(schedule))

    def runs(self) -> Counter[str]:
        """How often the task of each id has run."""
        return Counter(run.task_id for run in self.harness.run_log.runs)

    def run_all(self, app: App, enough: Callable[[], bool]) -> None:
        """Run a worker until something holds and no message is left."""
        worker = self.harness.worker(app)
        try:
            self.harness.until(enough, "the workflows of the ticks run")
            self.harness.quiet()
        finally:
            worker.stop()


def _tick_of(headers: Any) -> str | None:
    header: str | None = headers.get(TICK_HEADER)
    return header


def utc(*fields: int) -> datetime:
    """A time in UTC."""
    return datetime(*fields, tzinfo=UTC)  # type: ignore[misc,arg-type]
