"""Backends that break R40: lists of unfinished tasks, by pages."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from weakref import WeakKeyDictionary

from drivetrain.contract import TaskPage, evolve
from drivetrain.drivers.memory.backend import MemoryBackend
from mutants.backend_base import broken, mutants_of


@broken("R40", "takes a position in the list for its cursor")
class PositionAsCursor(MemoryBackend):
    def unfinished(self, *, limit, cursor=None):
        first = int(cursor or 0)
        with self._store.condition:
            ids = sorted(self._store.unfinished)
            records = [self._store.tasks[task_id] for task_id in ids[first : first + limit]]
        return TaskPage(records=records, cursor=str(first + limit) if first + limit < len(ids) else None)


@broken("R40", "gives no page but the first")
class OnePage(MemoryBackend):
    def unfinished(self, *, limit, cursor=None):
        return evolve(super().unfinished(limit=limit, cursor=cursor), cursor=None)


@broken("R40", "holds one record more on a page than its limit, to see whether there are more")
class OneMore(MemoryBackend):
    def unfinished(self, *, limit, cursor=None):
        return super().unfinished(limit=limit + 1, cursor=cursor)


@broken("R40", "knows no limit on later pages")
class LimitsTheFirstPage(MemoryBackend):
    def unfinished(self, *, limit, cursor=None):
        return super().unfinished(limit=limit if cursor is None else 10**6, cursor=cursor)


@broken("R40", "ends the list where the task of its cursor has ended")
class CursorIsGone(MemoryBackend):
    def unfinished(self, *, limit, cursor=None):
        if cursor is not None and cursor not in self._store.unfinished:
            return TaskPage()
        return super().unfinished(limit=limit, cursor=cursor)


@broken("R40", "takes a page with room left for the last")
class ShortPageIsTheLast(MemoryBackend):
    """Reads as many records as it may show, and leaves out those that have ended."""

    def unfinished(self, *, limit, cursor=None):
        with self._store.condition:
            ids = sorted(task_id for task_id in self._store.tasks if cursor is None or task_id > cursor)[:limit]
            records = [self._store.tasks[task_id] for task_id in ids if task_id in self._store.unfinished]
        return TaskPage(records=records, cursor=ids[-1] if len(records) == limit else None)


@broken("R40", "goes on behind the time of the last record of a page, at which others began too")
class TimeAsCursor(MemoryBackend):
    def unfinished(self, *, limit, cursor=None):
        with self._store.condition:
            begun = sorted((self._first_at(task_id), task_id) for task_id in self._store.unfinished)
            behind = [one for one in begun if cursor is None or one[0] > float(cursor)]
            page = behind[:limit]
            records = [self._store.tasks[task_id] for _, task_id in page]
        return TaskPage(records=records, cursor=repr(page[-1][0]) if len(behind) > len(page) else None)

    def _first_at(self, task_id):
        return min(entry.at for entry in self._store.tasks[task_id].history.values())


@broken("R40", "lists what has changed last first, and so leaves out what changes between two pages")
class LastChangedFirst(MemoryBackend):
    numbers = count(1)
    #: For each store, when each task changed last.
    changes: WeakKeyDictionary[object, dict[str, int]] = WeakKeyDictionary()

    def record(self, transitions):
        outcomes = super().record(transitions)
        changes = self.changes.setdefault(self._store, {})
        changes.update((transition.task_id, next(self.numbers)) for transition in transitions)
        return outcomes

    def unfinished(self, *, limit, cursor=None):
        with self._store.condition:
            changes = self.changes.get(self._store, {})
            found = sorted(((changes[task_id], task_id) for task_id in self._store.unfinished), reverse=True)
            behind = [one for one in found if cursor is None or one[0] < int(cursor)]
            records = [self._store.tasks[task_id] for _, task_id in behind[:limit]]
        return TaskPage(records=records, cursor=str(behind[limit - 1][0]) if len(behind) > limit else None)


@broken("R40", "goes on where whoever has asked last was")
class OneCursorForAll(MemoryBackend):
    listing: Iterator[str] = iter(())

    def unfinished(self, *, limit, cursor=None):
        with self._store.condition:
            if cursor is None:
                self.listing = iter(sorted(self._store.unfinished))
            ids = list(islice(self.listing, limit))
            records = [self._store.tasks[task_id] for task_id in ids if task_id in self._store.unfinished]
        return TaskPage(records=records, cursor="more" if len(ids) == limit else None)


@broken("R14", "lists on its later pages what has ended since the first")
class ListsASnapshot(MemoryBackend):
    def unfinished(self, *, limit, cursor=None):
        if cursor is None:
            self.found = super().unfinished(limit=10**6).records
        first = int(cursor or 0)
        more = first + limit < len(self.found)
        return TaskPage(records=self.found[first : first + limit], cursor=str(first + limit) if more else None)


MUTANTS = mutants_of(globals())
