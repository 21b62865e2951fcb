"""What a scheduler needs to tick a schedule: its definition, its workflow and its instants. Kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen

from drivetrain.contract import DrivetrainError, ScheduleSpec, Timetable
from drivetrain.worker.logs import get_logger
from drivetrain.worker.schedules.instants import Instants
from drivetrain.worker.schedules.sending import StoredWorkflow
from drivetrain.worker.schedules.state import Definition, Entry
from drivetrain.worker.schedules.store import ScheduleStore

__all__ = ["Prepared", "Preparer", "instants_of"]

logger = get_logger("drivetrain.schedules")

#: How many schedules are kept in memory.
_MOST_PREPARED = 20_000


@frozen(eq=False)
class Prepared:
    """A definition, ready to tick."""

    definition: Definition
    workflow: StoredWorkflow
    instants: Instants


def instants_of(definition: Definition, timetable: Callable[[ScheduleSpec], Timetable]) -> Instants:
    """The instants of a definition.

    Args:
        definition: the definition.
        timetable: makes a timetable.

    Raises:
        ConfigurationError: no timetable of its kind is installed, or its parameters are wrong.
    """
    spec = ScheduleSpec(definition.kind, definition.parameters)
    return Instants(timetable(spec), definition.start, definition.end)


class Preparer:
    """Prepares schedules, each once. For one thread.

    Args:
        store: reads the definitions.
        timetable: makes a timetable.
    """

    def __init__(self, store: ScheduleStore, timetable: Callable[[ScheduleSpec], Timetable]) -> None:
        self._store = store
        self._timetable = timetable
        self._prepared: dict[str, Prepared] = {}
        #: The definitions that this process cannot tick, which were logged.
        self._failed: set[str] = set()

    def prepare(self, entries: Sequence[Entry]) -> dict[str, Prepared]:
        """What is needed to tick these entries, by the id of the schedule.

        A schedule that this process cannot tick is left out, and logged once: another process may be able to.

        Raises:
            ServiceError: the backend could not be reached.
        """
        unknown = [entry for entry in entries if entry.definition not in self._prepared]
        if len(self._prepared) + len(unknown) > _MOST_PREPARED:
            self._prepared.clear()
            unknown = list(entries)
        definitions = self._store.definitions(entry.definition for entry in unknown) if unknown else {}
        for entry in unknown:
            definition = definitions.get(entry.definition)
            if definition is None:
                self._report(entry, "its definition cannot be read")
            else:
                self._add(entry, definition)
        return {entry.id: self._prepared[entry.definition] for entry in entries if entry.definition in self._prepared}

    def _add(self, entry: Entry, definition: Definition) -> None:
        try:
            instants = instants_of(definition, self._timetable)
            self._prepared[entry.definition] = Prepared(definition, StoredWorkflow(definition), instants)
        except DrivetrainError as error:
            self._report(entry, str(error))
        else:
            self._failed.discard(entry.definition)

    def _report(self, entry: Entry, why: str) -> None:
        if entry.definition not in self._failed:
            self._failed.add(entry.definition)
            logger.error("this process cannot tick the schedule %s: %s; another process may", entry.id, why)
