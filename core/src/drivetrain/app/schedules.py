"""Schedules at run time: put, removed, paused, triggered, backfilled, listed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar, Unpack
from uuid import uuid4

from msgspec.structs import replace

from drivetrain.app.ids import new_id
from drivetrain.app.result import Result
from drivetrain.app.schedule_book import Declaration, ScheduleOptions, check_declaration, define
from drivetrain.app.services import Services
from drivetrain.app.shown_schedules import (
    BackfillReport,
    RemovedSchedule,
    Schedule,
    UnknownSchedule,
    running,
    shown,
    time_of,
    times_of,
)
from drivetrain.app.tick_sending import TickSender
from drivetrain.contract import (
    Backend,
    ConfigurationError,
    NotSupported,
    ScheduleSpec,
    ServiceUnavailable,
    chunks,
)
from drivetrain.worker.pauses import Pause
from drivetrain.worker.schedules.entries import edited, new_entry, next_due, paused, resumed
from drivetrain.worker.schedules.outcomes import last_id
from drivetrain.worker.schedules.preparing import Prepared, instants_of
from drivetrain.worker.schedules.sending import Outgoing, StoredWorkflow, outgoing
from drivetrain.worker.schedules.state import Definition, Entry, shard_of
from drivetrain.worker.schedules.store import ScheduleState, ScheduleStore, change
from drivetrain.worker.schedules.store_clock import StoreClock
from drivetrain.worker.schedules.tick import TickKind
from drivetrain.worker.schedules.tzdata import tzdata_version
from drivetrain.worker.value_lock import ValueLock
from drivetrain.workflow.signature import Workflow

__all__ = ["Schedules"]

M = TypeVar("M")

#: How many ticks a backfill sends in one batch.
_BATCH = 500


class Schedules:
    """The schedules of an app, as they are stored in its backend. Thread-safe.

    All methods raise `NotSupported` if the backend stores nothing, and `ServiceError` if it cannot be reached.

    Args:
        services: the services of the app.
        now: for tests, the time by which schedules tick, in Unix seconds; None: by the clock of the backend.
    """

    def __init__(self, services: Services, *, now: Callable[[], float] | None = None) -> None:
        self._services = services
        self._given_now = now

    # Reading

    def list(self, *, next: int = 1) -> Sequence[Schedule]:  # noqa: A002 - what it lists
        """All schedules by id, each with its ``next`` ticks."""
        entries = self._store().read().entries()
        return self._shown(entries, next)

    def get(self, schedule_id: str, *, next: int = 5) -> Schedule:  # noqa: A002 - as in `list`
        """One schedule, with its ``next`` ticks; raises UnknownSchedule."""
        entry = self._store().read([shard_of(schedule_id)]).get(schedule_id)
        if entry is None:
            raise UnknownSchedule(schedule_id)
        return self._shown([entry], next)[0]

    # Changing

    def put(
        self, schedule_id: str, workflow: Workflow[Any], when: ScheduleSpec, /, **options: Unpack[ScheduleOptions]
    ) -> Schedule:
        """Store a schedule: a new one, or in the place of the one of this id.

        The first tick of a new schedule comes after now. Another time begins at the present: nothing fires at once, and
        what was sent stays. An orphaned schedule becomes one of run time.

        Args:
            schedule_id: its id.
            workflow: what each tick sends.
            when: when it ticks.
            options: see `ScheduleOptions`.

        Raises:
            ConfigurationError: an option or a parameter is wrong, or code declares a schedule of this id.
            InvalidSignature: the workflow is wrong.
        """
        self.put_many([(schedule_id, workflow, when, options)])
        return self.get(schedule_id)

    def put_many(self, schedules: Sequence[tuple[str, Workflow[Any], ScheduleSpec, ScheduleOptions]]) -> None:
        """`put` for many schedules in one step, which costs little more than one."""
        services, runtime = self._services, self._services.runtime
        definitions = []
        for schedule_id, workflow, when, options in schedules:
            declaration = Declaration(schedule_id, workflow, when, options)
            check_declaration(declaration, services.settings, services.drivers.timetable)
            definitions.append(define(declaration, services.settings, runtime.registry))
        now = self._now()

        def put(state: ScheduleState, _: ValueLock) -> None:
            for definition in definitions:
                self._put(state, definition, now)

        self._change([definition.id for definition in definitions], put)

    def remove(self, schedule_id: str) -> RemovedSchedule:
        """Remove a schedule. When this returns, no tick of it follows; workflows that were sent go on.

        Raises:
            UnknownSchedule: there is none.
            ConfigurationError: code declares it, and would bring it back.
        """

        def remove(state: ScheduleState, _: ValueLock) -> Entry:
            entry = _existing(state, schedule_id)
            if entry.declared and not entry.orphaned:
                raise ConfigurationError(
                    f"code or settings declare the schedule {schedule_id!r}; remove it there, or pause it here"
                )
            state.remove(schedule_id)
            state.drop_definition(entry.definition)
            return entry

        entry = self._change([schedule_id], remove)
        return RemovedSchedule(schedule_id, time_of(entry.last), running(entry))

    def pause(self, schedule_id: str, *, why: str = "", by: str = "") -> None:
        """Pause a schedule: it does not tick until it is resumed. A deploy does not resume it.

        Args:
            schedule_id: its id.
            why: a reason, shown to operators.
            by: who pauses it, shown to operators.

        Raises:
            UnknownSchedule: there is none.
        """
        pause = Pause(since=self._services.runtime.clock.now(), why=why, by=by)
        self._change([schedule_id], lambda state, _: state.put(paused(_existing(state, schedule_id), pause)))

    def resume(self, schedule_id: str, *, missed: bool = False) -> bool:
        """Let a schedule tick again; whether it was paused.

        Args:
            schedule_id: its id.
            missed: whether the ticks of the pause are sent as the schedule's ``misfire`` and ``catch_up`` say; by
                default the next tick comes after now.

        Raises:
            UnknownSchedule: there is none.
        """
        now = self._now()

        def resume(state: ScheduleState, _: ValueLock) -> bool:
            entry = _existing(state, schedule_id)
            if entry.paused is None:
                return False
            prepared = self._prepared(entry)
            entry = resumed(entry, now=now, missed=missed)
            state.put(replace(entry, due=next_due(entry, prepared.definition, prepared.instants, now=now)))
            return True

        return self._change([schedule_id], resume)

    def trigger(self, schedule_id: str) -> Result[Any]:
        """Send the workflow of a schedule now, in addition to its ticks; a handle to its result.

        It works while the schedule is paused, and whatever runs. Later ticks count it as the workflow before them.

        Raises:
            UnknownSchedule: there is none.
        """
        now, label, sender = self._now(), uuid4().hex, TickSender(self._services.runtime)

        def trigger(state: ScheduleState, lock: ValueLock) -> str:
            entry = _existing(state, schedule_id)
            one = outgoing(entry, self._prepared(entry).workflow, now, TickKind.TRIGGERED, label)
            sender.send_frames([one.frames], _fence(lock))
            state.put(replace(entry, unfinished=(*entry.unfinished, one.sent)))
            return last_id(entry, one.sent)

        return Result(self._services, self._change([schedule_id], trigger))

    def backfill(
        self, schedule_id: str, start: datetime, end: datetime, *, label: str = "", limit: int = 1000
    ) -> BackfillReport:
        """Send the ticks of a past period, oldest first, whatever the schedule's rules say.

        Without a label, each tick has its own id: a tick that has run, and whose record is kept, does not run again.
        With a label, all of them run, once for each label.

        Args:
            schedule_id: its id.
            start: the first instant (aware).
            end: the end (aware), not included; not in the future.
            label: distinguishes this backfill from the ticks and from other backfills.
            limit: the most ticks.

        Raises:
            UnknownSchedule: there is none.
            ConfigurationError: the period is wrong, or has more ticks than ``limit``.
        """
        now = self._now()
        _check_period(start, end, now)
        entry = self._store().read([shard_of(schedule_id)]).get(schedule_id)
        if entry is None:
            raise UnknownSchedule(schedule_id)
        prepared = self._prepared(entry)
        instants = list(
            islice(prepared.instants.between(start.timestamp() - 0.001, end.timestamp() - 0.001), limit + 1)
        )
        if len(instants) > limit:
            raise ConfigurationError(
                f"the schedule {schedule_id!r} has more than {limit} ticks in this period; use a shorter one, or limit="
            )
        key = f"backfill {label}" if label else ""
        ticks = [outgoing(entry, prepared.workflow, one, TickKind.BACKFILLED, key) for one in instants]
        return self._backfill(ticks)

    # Helpers

    def _backfill(self, ticks: Sequence[Outgoing]) -> BackfillReport:
        backend, sender = self._services.runtime.backend, TickSender(self._services.runtime)
        sent: list[float] = []
        known: list[float] = []
        for batch in chunks(ticks, _BATCH):
            records = backend.read([one.first_id for one in batch])
            missing = [one for one, record in zip(batch, records, strict=True) if record is None]
            known += [one.sent.instant for one, record in zip(batch, records, strict=True) if record is not None]
            if missing:
                sender.send_frames([one.frames for one in missing], _no_fence)
                sent += [one.sent.instant for one in missing]
        return BackfillReport(times_of(sent), times_of(known))

    def _put(self, state: ScheduleState, definition: Definition, now: float) -> None:
        entry = state.get(definition.id)
        if entry is not None and entry.declared and not entry.orphaned:
            raise ConfigurationError(
                f"code or settings declare the schedule {definition.id!r}; change it there, or use another id"
            )
        name = state.define(definition)
        if entry is None:
            entry = new_entry(definition, incarnation=new_id(), name=name, now=now)
        else:
            state.drop_definition(entry.definition)
            if entry.orphaned:
                entry = replace(entry, orphaned=False, declared=False, cursor=max(entry.cursor, now))
            entry = edited(entry, definition, name=name, now=now)
        instants = instants_of(definition, self._services.drivers.timetable)
        due = next_due(entry, definition, instants, now=now)
        state.put(replace(entry, due=due, tzdata=tzdata_version()))

    def _change(self, schedule_ids: Sequence[str], make: Callable[[ScheduleState, ValueLock], M]) -> M:
        shards = [shard_of(schedule_id) for schedule_id in schedule_ids]
        return change(self._store(), self._services.runtime.clock, shards, make)

    def _store(self) -> ScheduleStore:
        settings = self._services.settings
        return ScheduleStore(_storing(self._services.runtime.backend), lease_seconds=settings.lease_seconds)

    def _now(self) -> float:
        if self._given_now is not None:
            return self._given_now()
        runtime = self._services.runtime
        return StoreClock(_storing(runtime.backend), runtime.clock).now()

    def _prepared(self, entry: Entry) -> Prepared:
        definition = self._store().definitions([entry.definition]).get(entry.definition)
        if definition is None:
            raise UnknownSchedule(entry.id)
        instants = instants_of(definition, self._services.drivers.timetable)
        return Prepared(definition, StoredWorkflow(definition), instants)

    def _shown(self, entries: Sequence[Entry], count: int) -> Sequence[Schedule]:
        definitions = self._store().definitions(entry.definition for entry in entries)
        return [
            shown(entry, definitions.get(entry.definition), self._services.drivers.timetable, count)
            for entry in entries
        ]


def _existing(state: ScheduleState, schedule_id: str) -> Entry:
    entry = state.get(schedule_id)
    if entry is None:
        raise UnknownSchedule(schedule_id)
    return entry


def _fence(lock: ValueLock) -> Callable[[], None]:
    def check() -> None:
        if not lock.renew():
            raise ServiceUnavailable("a scheduler has taken over the schedules meanwhile; try again")

    return check


def _no_fence() -> None:
    """The ids of a backfill make repetitions harmless, and no cursor moves."""


def _check_period(start: datetime, end: datetime, now: float) -> None:
    for name, value in (("start", start), ("end", end)):
        if value.utcoffset() is None:
            raise ConfigurationError(f"{name} is {value!r}; it must be a datetime with a time zone")
    if start >= end:
        raise ConfigurationError(f"the period begins at {start} and ends at {end}; it must end later")
    if end.timestamp() > now + 1:
        raise ConfigurationError(f"the period ends at {end}, in the future; the schedule itself sends future ticks")


def _storing(backend: Backend) -> Backend:
    if not backend.capabilities.stores:
        raise NotSupported("schedules need a backend that stores results, and this app's backend is null://")
    return backend
