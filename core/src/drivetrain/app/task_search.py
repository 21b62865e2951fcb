"""The search for tasks: what the backend lists, and what queues and workers show where it lists nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from hashlib import sha256

from msgspec.structs import replace

from drivetrain.app.finding import FoundPage, FoundTask, SearchReach, TaskFilter
from drivetrain.app.limit_waiting import recorded_waits
from drivetrain.app.services import Services
from drivetrain.app.task_sightings import Sightings, in_words
from drivetrain.contract import (
    ConfigurationError,
    Failure,
    NotSupported,
    SerializationError,
    State,
    TaskPage,
    TaskRecord,
)
from drivetrain.worker.unfinished import Unfinished
from drivetrain.worker.value_codec import encode

__all__ = ["LARGEST_PAGE", "TaskSearch"]

#: The largest number of tasks on a page.
LARGEST_PAGE = 1000
#: How many records one call of the backend lists at least, where few of them may match.
_LISTED = 100
#: After how many pages of the backend, or seconds, a search returns what it has found, and a cursor.
_MOST_PAGES, _LONGEST_SECONDS = 100, 2.0


class TaskSearch:
    """Searches the tasks of an app. Thread-safe.

    Args:
        services: of the app.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._sightings = Sightings(services)

    def find(self, where: TaskFilter, *, limit: int, cursor: str | None) -> FoundPage:
        """A page of the tasks that match; see `drivetrain.app.operations.Operations.find`."""
        if not 1 <= limit <= LARGEST_PAGE:
            raise ConfigurationError(f"limit is {limit}; use a number from 1 to {LARGEST_PAGE}")
        position = None if cursor is None else _position(cursor, where)
        if where.task_id:
            return self._by_id(where)
        reach = self._services.runtime.backend.capabilities.lists_tasks.states
        wanted = frozenset(where.states or State)
        listed, unlisted = wanted & reach, wanted - reach
        if not listed or where.states:
            seen = self._sightings.of(unlisted, where) if unlisted and position is None else Sightings.NOTHING
            found = self._found([record for record in seen.records if where.matches(record, self._failure)])
            notices = seen.notices
        else:
            seen, found, notices = Sightings.NOTHING, [], _unlisted_notices(unlisted)
        if not listed and not seen.states and position is None:
            raise NotSupported(
                f"cannot find {in_words(unlisted)}: this app's backend does not list them (see `drivetrain describe`), "
                "and no queue or worker shows them; look a task up by its id: drivetrain result ID"
            )
        newest = sorted([*found, *seen.tasks], key=lambda task: task.changed or task.sent or 0.0, reverse=True)[:limit]
        tasks, following = self._listed(listed, where, limit - len(newest), position)
        sources = (*(["backend"] if listed else []), *seen.sources)
        return FoundPage(
            tasks=[*newest, *tasks],
            cursor=None if following is None else _cursor(following, where),
            reach=SearchReach(states=listed | seen.states, sources=sources, notices=notices),
        )

    def _by_id(self, where: TaskFilter) -> FoundPage:
        backend = self._services.runtime.backend
        if not backend.capabilities.stores:
            raise NotSupported("no task can be looked up by its id: the backend null:// stores nothing")
        (record,) = self._services.with_retries("read", lambda: backend.read([where.task_id]))
        matching = record is not None and where.matches(record, self._failure)
        tasks = self._found([record]) if record is not None and matching else []
        return FoundPage(tasks=tasks, reach=SearchReach(states=frozenset(State), sources=("backend",)))

    def _listed(
        self, states: AbstractSet[State], where: TaskFilter, limit: int, position: str | None
    ) -> tuple[list[FoundTask], str | None]:
        """Up to ``limit`` tasks from the backend's list; and the driver's cursor of the rest, "" for its first page."""
        if not states:
            return [], None
        clock = self._services.runtime.clock
        ends = clock.monotonic() + _LONGEST_SECONDS
        found: list[TaskRecord] = []
        following = position or None
        for _ in range(_MOST_PAGES):
            room = limit - len(found)
            if room == 0 or clock.monotonic() >= ends:
                return self._found(found), following or ""
            page, some = self._matching(states, where, room, following)
            found += some
            following = page.cursor
            if following is None:
                return self._found(found), None
        return self._found(found), following

    def _matching(
        self, states: AbstractSet[State], where: TaskFilter, room: int, cursor: str | None
    ) -> tuple[TaskPage, list[TaskRecord]]:
        """A page of the backend, and those of its records that match: at most ``room``."""
        length = room if where.chooses_by_state_only else max(room, _LISTED)
        page = self._list(states, length, cursor)
        matching = [record for record in page.records if where.matches(record, self._failure)]
        if len(matching) > room:
            # The cursor of a page is behind its last record, so the page must not hold more than there is room for.
            page = self._list(states, room, cursor)
            matching = [record for record in page.records if where.matches(record, self._failure)]
        return page, matching

    def _list(self, states: AbstractSet[State], limit: int, cursor: str | None) -> TaskPage:
        backend = self._services.runtime.backend
        return self._services.with_retries("list", lambda: backend.list_tasks(states, limit=limit, cursor=cursor))

    def _found(self, records: Sequence[TaskRecord]) -> list[FoundTask]:
        limits = self._services.with_retries("read", lambda: recorded_waits(self._services.runtime, records))
        return [FoundTask.of(record, self._failure(record), limits.get(record.task_id)) for record in records]

    def _failure(self, record: TaskRecord) -> str:
        """See `drivetrain.app.finding.FailureText`; empty too if it cannot be read."""
        services = self._services
        try:
            if record.state is State.RETRY:
                plain = Unfinished.load(services.runtime.payloads, record).failure
                failure = None if plain is None else services.runtime.registry.codec.decode(plain)
            elif record.state.terminal and record.state is not State.SUCCESS and record.payload is not None:
                failure = services.decoder.failure(record)
            else:
                return ""
        except SerializationError:
            return ""
        return f"{failure.type}: {failure.message}" if isinstance(failure, Failure) else ""


def _unlisted_notices(states: AbstractSet[State]) -> tuple[str, ...]:
    if not states:
        return ()
    how = "; index=all in the URL of the backend would list them" if states == {State.SUCCESS} else ""
    names = ",".join(sorted(state.value for state in states))
    return (f"{in_words(states)} are not listed{how}. Ask for state {names} to see the last ones of each worker.",)


# A cursor of a search is the driver's, with a mark of the search that it belongs to. The mark leaves out the time: an
# age such as "2h" is another time at each call.


def _cursor(position: str, where: TaskFilter) -> str:
    return base64.urlsafe_b64encode(json.dumps([_mark(where), position]).encode()).decode().rstrip("=")


def _position(cursor: str, where: TaskFilter) -> str:
    """The driver's cursor.

    Raises:
        ConfigurationError: it is none of this search.
    """
    try:
        mark, position = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        mark, position = None, None
    if mark != _mark(where) or not isinstance(position, str):
        raise ConfigurationError(
            f"{cursor!r} is not a cursor of this search: use the cursor of a page with the same conditions, or none to "
            "begin with the first page"
        )
    return position


def _mark(where: TaskFilter) -> str:
    return sha256(encode(replace(where, since=None))).hexdigest()[:8]
