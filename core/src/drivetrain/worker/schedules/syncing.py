"""Brings the stored schedules to what code and settings declare: made, edited, orphaned, adopted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from drivetrain.contract import Clock, ScheduleSpec, Timetable
from drivetrain.worker.logs import get_logger
from drivetrain.worker.schedules.entries import adopted, definition_digest, edited, new_entry, next_due, orphaned
from drivetrain.worker.schedules.preparing import instants_of
from drivetrain.worker.schedules.state import Definition, Entry
from drivetrain.worker.schedules.store import ScheduleState, ScheduleStore, change
from drivetrain.worker.schedules.tzdata import tzdata_version

__all__ = ["Synchronizer"]

logger = get_logger("drivetrain.schedules")


class Synchronizer:
    """Stores the declared schedules of an app.

    - A schedule that is new is made. One that has changed is edited. One that is declared no more is orphaned: it does
      not tick, and is shown until it is declared again or removed.
    - Schedules that were made at run time are not touched.
    - Of several revisions that are deployed at once, the highest counts. The same revision counts as it comes.

    Args:
        store: the schedules.
        clock: the clock of the app.
        timetable: makes a timetable.
        new_id: makes ids.
        now: the time by which schedules tick, in Unix seconds.
    """

    def __init__(
        self,
        store: ScheduleStore,
        clock: Clock,
        timetable: Callable[[ScheduleSpec], Timetable],
        *,
        new_id: Callable[[], str],
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._clock = clock
        self._timetable = timetable
        self._new_id = new_id
        self._now = now

    def sync(self, definitions: Sequence[Definition], revision: int) -> None:
        """Store what is declared. It writes nothing if that is stored already.

        Args:
            definitions: the declared schedules.
            revision: the revision of the code that declares them.

        Raises:
            ConfigurationError: no timetable of a schedule's kind is installed.
            ServiceError: the backend could not be reached.
        """
        declared = {definition.id: definition for definition in definitions}
        state = self._store.read()
        if state.head.revision > revision:
            logger.warning(
                "the stored schedules have revision %d and this app has %d: its schedules are not stored",
                state.head.revision,
                revision,
            )
        elif self._is_outdated(state, declared, revision):
            change(self._store, self._clock, None, lambda state, _: self._apply(state, declared, revision))

    def _is_outdated(self, state: ScheduleState, declared: Mapping[str, Definition], revision: int) -> bool:
        """Whether anything would change. Most workers start and find what is declared."""
        if state.head_is_stale() or (declared and state.head.revision != revision):
            return True
        known = {entry.id: entry for entry in state.entries()}
        if any(entry.declared and not entry.orphaned and entry.id not in declared for entry in known.values()):
            return True
        return any(_differs(known.get(one.id), one) for one in declared.values())

    def _apply(self, state: ScheduleState, declared: Mapping[str, Definition], revision: int) -> None:
        if state.head.revision > revision:
            return
        now = self._now()
        state.set_revision(revision)
        for entry in state.entries():
            if entry.declared and not entry.orphaned and entry.id not in declared:
                logger.warning("schedule %s is not declared any more; it does not tick", entry.id)
                state.put(orphaned(entry))
        for definition in declared.values():
            self._apply_one(state, definition, now)

    def _apply_one(self, state: ScheduleState, definition: Definition, now: float) -> None:
        entry = state.get(definition.id)
        if not _differs(entry, definition):
            return
        if entry is not None and not entry.declared:
            logger.error(
                "schedule %s is declared in code, and was also put at run time, which counts; remove one of the two",
                definition.id,
            )
            return
        if entry is None:
            logger.info("schedule %s is new", definition.id)
            name = state.define(definition)
            entry = new_entry(definition, incarnation=self._new_id(), name=name, now=now, declared=True)
        elif entry.digest != definition_digest(definition):
            logger.info("schedule %s has changed", definition.id)
            state.drop_definition(entry.definition)
            entry = edited(entry, definition, name=state.define(definition), now=now)
        if entry.orphaned:
            logger.info("schedule %s is declared again", definition.id)
            entry = adopted(entry, now)
        due = next_due(entry, definition, instants_of(definition, self._timetable), now=now)
        state.put(replace(entry, due=due, tzdata=tzdata_version()))


def _differs(entry: Entry | None, definition: Definition) -> bool:
    if entry is None or entry.orphaned:
        return True
    if not entry.declared:
        return True  # worth an error message at each start
    return entry.digest != definition_digest(definition) or entry.tzdata != tzdata_version()
