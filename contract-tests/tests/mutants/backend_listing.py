"""Backends that break R14, R40, R42 and R43: lists of tasks, by pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count, islice
from typing import ClassVar
from weakref import WeakKeyDictionary

from drivetrain.contract import State, TaskPage, TaskReach, evolve
from drivetrain.drivers.memory.backend import MemoryBackend
from mutants.backend_base import broken, mutants_of

_FAILED = {State.FAILURE, State.CANCELLED, State.EXPIRED}


class Chooses(MemoryBackend):
    """Children list other states than the requested ones."""

    def chosen(self, states):
        raise NotImplementedError

    def list_tasks(self, states, *, limit, cursor=None):
        return super().list_tasks(self.chosen(states), limit=limit, cursor=cursor)


class Sorts(MemoryBackend):
    """Lists in the order of a key, the largest first; children choose the key. A page begins behind the last key."""

    def key(self, record):
        raise NotImplementedError

    def listed(self, states):
        """The records in these states. Called with the lock held."""
        return [
            record for task_id in list(self._store.tasks) if (record := self._found(task_id)) and record.state in states
        ]

    def _found(self, task_id):
        return self._store.find(task_id, self._clock.now())

    def list_tasks(self, states, *, limit, cursor=None):
        with self._store.condition:
            keyed = [(self.key(record), record) for record in self.listed(states)]
            keyed.sort(key=lambda one: one[0], reverse=True)
            behind = [one for one in keyed if cursor is None or list(one[0]) < json.loads(cursor)]
            page = behind[:limit]
        more = len(behind) > len(page)
        return TaskPage(records=[record for _, record in page], cursor=json.dumps(page[-1][0]) if more else None)


# Which tasks are listed, which R14 is about


@broken("R14", "lists tasks that have ended with the unfinished ones")
class ListsEnded(Chooses):
    def chosen(self, states):
        return states if states <= _FAILED else frozenset(State)


@broken("R14", "does not list tasks that wait for another attempt")
class ListsTheRunning(Chooses):
    def chosen(self, states):
        return states - {State.RETRY}


@broken("R14", "lists more than it was asked for")
class ListsTooMany(MemoryBackend):
    def list_tasks(self, states, *, limit, cursor=None):
        return super().list_tasks(states, limit=10**6)


@broken("R14", "has one list for all that ended without success")
class OneListOfFailures(Chooses):
    def chosen(self, states):
        return states | _FAILED if states & _FAILED else states


@broken("R14", "knows no tasks that have expired")
class ForgetsExpired(Chooses):
    def chosen(self, states):
        return states - {State.EXPIRED}


@broken("R14", "says that it lists all, and lists nothing that succeeded")
class LacksSuccess(Chooses):
    def chosen(self, states):
        return states - {State.SUCCESS}


@broken("R14", "lists failed tasks where no state is requested")
class NoneMeansAny(Chooses):
    def chosen(self, states):
        return states or frozenset(State)


@broken("R14", "lists some of the states that it does not declare")
class ListsSomeUndeclared(Chooses):
    capabilities = evolve(MemoryBackend.capabilities, lists_tasks=TaskReach.UNFINISHED)

    def chosen(self, states):
        return states & (TaskReach.UNFINISHED.states | {State.FAILURE})


@broken("R14", "lists records without their payload")
class ListsHeads(MemoryBackend):
    def list_tasks(self, states, *, limit, cursor=None):
        page = super().list_tasks(states, limit=limit, cursor=cursor)
        return evolve(page, records=[evolve(record, history={}) for record in page.records])


@broken("R14", "lists on its later pages what has ended since the first")
class ListsASnapshot(MemoryBackend):
    def list_tasks(self, states, *, limit, cursor=None):
        if cursor is None:
            self.found = super().list_tasks(states, limit=10**6).records
        first = int(cursor or 0)
        more = first + limit < len(self.found)
        return TaskPage(records=self.found[first : first + limit], cursor=str(first + limit) if more else None)


# Pages, which R40 is about


@broken("R40", "takes a position in the list for its cursor")
class PositionAsCursor(MemoryBackend):
    def list_tasks(self, states, *, limit, cursor=None):
        first = int(cursor or 0)
        with self._store.condition:
            found = [self._store.tasks[task_id] for task_id in sorted(self._store.tasks)]
            found = [record for record in found if record.state in states]
        more = first + limit < len(found)
        return TaskPage(records=found[first : first + limit], cursor=str(first + limit) if more else None)


@broken("R40", "gives no page but the first")
class OnePage(MemoryBackend):
    def list_tasks(self, states, *, limit, cursor=None):
        return evolve(super().list_tasks(states, limit=limit, cursor=cursor), cursor=None)


@broken("R40", "holds one record more on a page than its limit, to see whether there are more")
class OneMore(MemoryBackend):
    def list_tasks(self, states, *, limit, cursor=None):
        return super().list_tasks(states, limit=limit + 1, cursor=cursor)


@broken("R40", "knows no limit on later pages")
class LimitsTheFirstPage(MemoryBackend):
    def list_tasks(self, states, *, limit, cursor=None):
        return super().list_tasks(states, limit=limit if cursor is None else 10**6, cursor=cursor)


@broken("R40", "ends the list where the task of its cursor is gone")
class CursorIsGone(MemoryBackend):
    def list_tasks(self, states, *, limit, cursor=None):
        if cursor is not None and int(cursor) not in self._store.numbered:
            return TaskPage()
        return super().list_tasks(states, limit=limit, cursor=cursor)


@broken("R40", "takes a page with room left for the last")
class ShortPageIsTheLast(MemoryBackend):
    """Reads as many records as it may show, and leaves out those in other states."""

    def list_tasks(self, states, *, limit, cursor=None):
        page = super().list_tasks(frozenset(State), limit=limit, cursor=cursor)
        records = [record for record in page.records if record.state in states]
        return TaskPage(records=records, cursor=page.cursor if len(records) == limit else None)


@broken("R40", "goes on behind the time of the last record of a page, at which others began too")
class TimeAsCursor(Sorts):
    def key(self, record):
        return [min(change.at for change in record.history.values())]


@broken("R40", "goes on behind the instant of the last failure, at which a batch failed")
class InstantAsCursor(Sorts):
    def key(self, record):
        return [record.history[record.state].at] if record.state in _FAILED else [0.0, record.task_id]


class Changed(Sorts):
    """Knows when each task changed last."""

    numbers = count(1)
    #: For each store, when each task changed last.
    changes: ClassVar[WeakKeyDictionary[object, dict[str, int]]] = WeakKeyDictionary()

    def record(self, transitions):
        outcomes = super().record(transitions)
        changes = self.changes.setdefault(self._store, {})
        changes.update((transition.task_id, next(self.numbers)) for transition in transitions)
        return outcomes

    def changed(self, record):
        return self.changes.get(self._store, {}).get(record.task_id, 0)


@broken("R40", "lists what has changed last first, and so leaves out what changes between two pages")
class LastChangedFirst(Changed):
    def key(self, record):
        return [self.changed(record)]


@broken("R40", "lists state after state, and so leaves out what goes to a state that was listed before")
class StateAfterState(Sorts):
    def key(self, record):
        return [record.state.value, record.task_id]


@broken("R40", "forgets the second of its lists when a page of the first is full")
class OneOfTwoLists(MemoryBackend):
    def list_tasks(self, states, *, limit, cursor=None):
        failed = frozenset(states & _FAILED)
        page = super().list_tasks(failed or states, limit=limit, cursor=cursor)
        if not failed or page.cursor is not None or len(page.records) == limit:
            return page
        rest = super().list_tasks(states - failed, limit=limit - len(page.records))
        return TaskPage(records=[*page.records, *rest.records])


@broken("R40", "goes on where whoever has asked last was")
class OneCursorForAll(MemoryBackend):
    listing: Iterator[str] = iter(())

    def list_tasks(self, states, *, limit, cursor=None):
        with self._store.condition:
            if cursor is None:
                self.listing = iter(sorted(self._store.tasks))
            ids = list(islice(self.listing, limit))
            found = [self._store.tasks[task_id] for task_id in ids if task_id in self._store.tasks]
        records = [record for record in found if record.state in states]
        return TaskPage(records=records, cursor="more" if len(ids) == limit else None)


# What is there, which R42 is about


class Indexed(Sorts):
    """Keeps a list of failed tasks next to the records; children keep it wrongly."""

    index: ClassVar[WeakKeyDictionary[object, dict[str, object]]] = WeakKeyDictionary()

    def entries(self):
        return self.index.setdefault(self._store, {})

    def record(self, transitions):
        outcomes = super().record(transitions)
        for transition, outcome in zip(transitions, outcomes, strict=True):
            record = self._store.tasks.get(transition.task_id)
            if outcome.applied and record is not None and record.state in _FAILED:
                self.entries()[transition.task_id] = record
        return outcomes

    def key(self, record):
        return [record.task_id]

    def there(self, record):
        """Whether an entry of the list is shown."""
        return True

    def listed(self, states):
        shown = [one for one in self.entries().values() if one.state in states and self.there(one)]
        return [*super().listed(states - _FAILED), *shown]


@broken("R42", "lists failed tasks from a copy that nothing takes out")
class CopiesFailures(Indexed):
    pass


@broken("R42", "takes expired tasks out of its list at the next sweep only")
class ListsUntilSwept(Indexed):
    def there(self, record):
        return record.task_id in self._store.tasks

    def forget(self, task_ids):
        super().forget(task_ids)
        for task_id in task_ids:
            self.entries().pop(task_id, None)


@broken("R42", "keeps the first end of an entry when its retention is shortened")
class KeepsTheFirstEnd(Indexed):
    def there(self, record):
        return record.expires_at is None or record.expires_at > self._clock.now()

    def forget(self, task_ids):
        super().forget(task_ids)
        for task_id in task_ids:
            self.entries().pop(task_id, None)


@broken("R42", "takes an id out of its list at the end of the earlier record")
class EndsWithTheEarlier(MemoryBackend):
    ends: ClassVar[WeakKeyDictionary[object, dict[str, float]]] = WeakKeyDictionary()

    def record(self, transitions):
        now, ends = self._clock.now(), self.ends.setdefault(self._store, {})
        for transition in transitions:
            if transition.retention is not None:
                ends.setdefault(transition.task_id, now + transition.retention)
        return super().record(transitions)

    def list_tasks(self, states, *, limit, cursor=None):
        page, now = super().list_tasks(states, limit=limit, cursor=cursor), self._clock.now()
        ends = self.ends.get(self._store, {})
        records = [one for one in page.records if ends.get(one.task_id, now + 1) > now]
        return evolve(page, records=records)


@broken("R42", "lists a task that is tried again as between two attempts too")
class StaysInRetry(MemoryBackend):
    def list_tasks(self, states, *, limit, cursor=None):
        if states != {State.RETRY}:
            return super().list_tasks(states, limit=limit, cursor=cursor)
        page = super().list_tasks(TaskReach.UNFINISHED.states, limit=limit, cursor=cursor)
        return evolve(page, records=[one for one in page.records if State.RETRY in one.history])


@broken("R42", "has one list of failed tasks for all namespaces")
class SharesTheIndex(Sorts):
    stores: ClassVar[list[object]] = []

    def record(self, transitions):
        if all(self._store is not store for store in self.stores):
            self.stores.append(self._store)
        return super().record(transitions)

    def key(self, record):
        return [record.task_id]

    def listed(self, states):
        others = [one for store in self.stores if store is not self._store for one in list(store.tasks.values())]
        return [*super().listed(states), *[one for one in others if one.state in states & _FAILED]]


# The order, which R43 is about


@broken("R43", "lists the oldest first")
class OldestFirst(Sorts):
    def key(self, record):
        return [-self._store.numbers[record.task_id]]


@broken("R43", "lists each page newest first, and the oldest page first")
class SortsPages(OldestFirst):
    def list_tasks(self, states, *, limit, cursor=None):
        page = super().list_tasks(states, limit=limit, cursor=cursor)
        return evolve(page, records=page.records[::-1])


@broken("R43", "lists tasks by their ids")
class ById(Sorts):
    def key(self, record):
        return [record.task_id]


@broken("R43", "lists the states one after the other, each newest first")
class ByState(Sorts):
    def key(self, record):
        return [record.state.value, self._store.numbers[record.task_id]]


@broken("R43", "lists tasks first that were tried often")
class ByAttempt(Sorts):
    def key(self, record):
        return [record.attempt, self._store.numbers[record.task_id]]


@broken("R43", "counts whole seconds, so that those of one second come in any order")
class BySecond(Sorts):
    def key(self, record):
        return [int(record.history[record.state].at), record.task_id]


MUTANTS = mutants_of(globals())
