"""What an app needs to tick its schedules: the declared ones, and the parts of a scheduler."""

from __future__ import annotations

from collections.abc import Callable

from drivetrain.app.ids import new_id
from drivetrain.app.schedule_book import ScheduleBook
from drivetrain.app.services import Services
from drivetrain.app.tick_sending import TickSender
from drivetrain.contract import NotSupported, ScheduleSpec, Timetable
from drivetrain.worker.registry import Registry
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.schedules.scheduler import Scheduler
from drivetrain.worker.schedules.store import ScheduleStore
from drivetrain.worker.schedules.syncing import Synchronizer
from drivetrain.worker.schedules.ticker import Ticker

__all__ = ["Scheduling"]


class Scheduling:
    """Makes schedulers of an app. Thread-safe.

    Args:
        services: the services of the app.
        registry: the tasks of the app.

    Attributes:
        book: the declared schedules.
    """

    def __init__(self, services: Services, registry: Registry) -> None:
        self._services = services
        self._registry = registry
        self.book = ScheduleBook(services.settings, self._timetable)

    def _timetable(self, spec: ScheduleSpec) -> Timetable:
        return self._services.drivers.timetable(spec)

    def sync(self, runtime: Runtime, now: Callable[[], float]) -> None:
        """Store the declared schedules.

        Args:
            runtime: the drivers.
            now: the time by which schedules tick, in Unix seconds.

        Raises:
            InvalidSignature: a workflow is wrong.
            ServiceError: the backend could not be reached.
        """
        synchronizer = Synchronizer(self._store(runtime), runtime.clock, self._timetable, new_id=new_id, now=now)
        synchronizer.sync(self.book.definitions(self._registry), self._services.settings.schedule_revision)

    def scheduler(self, runtime: Runtime, now: Callable[[], float] | None = None) -> Scheduler:
        """A scheduler.

        Args:
            runtime: the drivers that it uses.
            now: the time by which ticks are due, in Unix seconds; None: by the clock of the backend.

        Raises:
            NotSupported: the backend stores nothing.
            InvalidSignature: the workflow of a declared schedule is wrong.
        """
        if not runtime.backend.capabilities.stores:
            raise NotSupported("schedules need a backend that stores results, and this app's backend is null://")
        self.book.definitions(self._registry)  # a wrong workflow is an error now, and not in a thread
        ticker = Ticker(runtime, TickSender(runtime), self._store(runtime), self._timetable, now=now)
        return Scheduler(runtime, ticker, lambda: self.sync(runtime, ticker.now), lambda: len(self.book) > 0)

    def _store(self, runtime: Runtime) -> ScheduleStore:
        return ScheduleStore(runtime.backend, lease_seconds=self._services.settings.lease_seconds)
