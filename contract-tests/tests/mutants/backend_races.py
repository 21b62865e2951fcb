"""Backends that look and act in two steps, or that show how their service orders concurrent writes (R2 to R33)."""

from __future__ import annotations

import threading
from collections import defaultdict
from contextlib import ExitStack, contextmanager

from drivetrain.contract import GroupProgress, Outcome, Renewal, ServiceRefused, State, evolve
from drivetrain.drivers.memory.backend import MemoryBackend, _OpenGroup
from mutants.backend_base import Ruled, broken, mutants_of

# Check, then act


class InTwoSteps(Ruled):
    """Inserts a record atomically, as under a unique key; changes one without a row lock."""

    def record(self, transitions):
        return [self._record_one(transition) for transition in transitions]

    def _record_one(self, transition):
        now = self._clock.now()
        with self._store.condition:
            before = self._store.find(transition.task_id, now)
            if before is None:
                return super()._record(transition, now)
        after = self.rule(before, transition, now)
        if after is None:
            return Outcome(applied=False, before=before)
        with self._store.condition:
            present = self._store.find(transition.task_id, now)
            if not self.unchanged(before, present, transition):
                return Outcome(applied=False, before=present)
            self._store.put(after)
            self._store.condition.notify_all()
            return Outcome(applied=True, before=before, group=self._complete_of(transition, now))

    def unchanged(self, before, present, transition):
        """Whether the record may be written: nobody has changed it meanwhile."""
        return present == before


@broken("R8", "changes records without a row lock")
class WithoutRowLock(InTwoSteps):
    def unchanged(self, before, present, transition):
        return True


@broken("R4", "compares the state only when it changes a record")
class ComparesTheState(InTwoSteps):
    def unchanged(self, before, present, transition):
        return present is not None and present.state is before.state


@broken("R8", "compares the run only when it changes a record")
class ComparesTheRun(InTwoSteps):
    def unchanged(self, before, present, transition):
        return present is not None and present.run == before.run


@broken("R8", "starts the next attempt without a look at what others do")
class StartsAttemptsUnseen(InTwoSteps):
    def unchanged(self, before, present, transition):
        return present == before or transition.attempt > before.attempt


@broken("R8", "takes over an ended lease without a look at what others do")
class TakesOverUnseen(InTwoSteps):
    def unchanged(self, before, present, transition):
        return present == before or (before.state is State.STARTED and transition.state is State.STARTED)


@broken("R8", "starts what was given back without a look at what others do")
class StartsGivenBackUnseen(InTwoSteps):
    def unchanged(self, before, present, transition):
        return present == before or before.state is State.RECEIVED


@broken("R2", "writes a start over a cancellation of that instant")
class StartsOverACancellation(InTwoSteps):
    def unchanged(self, before, present, transition):
        return present == before or transition.state is State.STARTED


@broken("R2", "writes one end over another of that instant")
class EndsOverAnEnd(InTwoSteps):
    def unchanged(self, before, present, transition):
        return present == before or transition.state.terminal


@broken("R5", "records the result of a run that is taken over at that instant")
class ResultOfTheFormer(InTwoSteps):
    def unchanged(self, before, present, transition):
        return present == before or transition.state is State.SUCCESS


@broken("R12", "writes a renewal over whatever another has recorded at that instant")
class RenewsOverOthers(MemoryBackend):
    def renew(self, leases):
        return [self._renew_one(lease) for lease in leases]

    def _renew_one(self, lease):
        (before,) = self.read([lease.task_id])
        if before is None or before.state is not State.STARTED or before.run != lease.run:
            return Renewal(held=False, state=before and before.state)
        after = evolve(before, leased_until=self._clock.now() + lease.seconds)
        with self._store.condition:
            self._store.put(after)
        return Renewal(held=True, state=before.state)


@broken("R19", "adds a member and counts in two quick steps")
class CountsInASecondStep(MemoryBackend):
    def complete(self, completions):
        return [self._complete_one(each) for each in completions]

    def _complete_one(self, completion):
        super().complete([completion])
        (found,) = self.read_groups([completion.member.group_id])
        return found and GroupProgress(size=found.size, done=found.done, failed=found.failed)


@broken("R18", "looks whether a member is complete and adds it in two steps")
class AddsMembersTwice(MemoryBackend):
    """The count is kept beside the members, as a counter of a service is."""

    counters: dict = {}

    def complete(self, completions):
        return [self._complete_one(each) for each in completions]

    def _complete_one(self, completion):
        member, now = completion.member, self._clock.now()
        with self._store.condition:
            found = self._store.find_group(member.group_id, now)
            if found is None:
                return None
            known = member.index in found.members
            counter = self.counters.setdefault(id(found), [found, 0])
        if not known:
            with self._store.condition:
                found.complete(member.index, completion.payload, failed=completion.failed)
                counter[1] += 1
        return GroupProgress(size=found.group.size, done=min(counter[1], found.group.size), failed=found.failed)


@broken("R23", "looks whether a group is open and opens it in two steps")
class OpensInTwoSteps(MemoryBackend):
    def open_groups(self, groups):
        for group in groups:
            if self.read_groups([group.group_id]) == [None]:
                with self._store.condition:
                    self._store.groups[group.group_id] = _OpenGroup(group)


# The order of locks: rows are locked one after the other, and a deadlock is an error of the client


class _Rows:
    """Locks of rows, and what a database makes of two transactions that wait for each other."""

    #: How long one waits for a row, in seconds; then the database gives up.
    patience = 0.2

    def __init__(self):
        self.locks = defaultdict(threading.Lock)

    @contextmanager
    def locked(self, names):
        with ExitStack() as held:
            for name in dict.fromkeys(names):
                if not self.locks[name].acquire(timeout=self.patience):
                    raise ServiceRefused("deadlock detected")
                held.callback(self.locks[name].release)
            yield


_rows: dict = defaultdict(_Rows)


class LocksRows(MemoryBackend):
    """Locks all rows of a batch before it changes them, in the order of the batch."""

    def _locked(self, names):
        return _rows[id(self._store)].locked(names)


@broken("R33", "locks the rows of a batch of transitions in its order")
class RecordsInOrder(LocksRows):
    def record(self, transitions):
        with self._locked([transition.task_id for transition in transitions]):
            return super().record(transitions)


@broken("R33", "locks the rows of a batch of leases in its order")
class RenewsInOrder(LocksRows):
    def renew(self, leases):
        with self._locked([lease.task_id for lease in leases]):
            return super().renew(leases)


@broken("R33", "locks the groups of a batch of completions in its order")
class CompletesInOrder(LocksRows):
    def complete(self, completions):
        with self._locked([each.member.group_id for each in completions]):
            return super().complete(completions)


@broken("R33", "locks the rows of a batch whose retention is shortened in its order")
class ShortensInOrder(LocksRows):
    def shorten_retention(self, task_ids, *, retention_seconds):
        with self._locked(task_ids):
            super().shorten_retention(task_ids, retention_seconds=retention_seconds)


@broken("R33", "locks the rows of a batch that it forgets in its order")
class ForgetsInOrder(LocksRows):
    def forget(self, task_ids):
        with self._locked(task_ids):
            super().forget(task_ids)


@broken("R33", "locks the groups of a batch that it opens in its order")
class OpensInOrder(LocksRows):
    def open_groups(self, groups):
        with self._locked([group.group_id for group in groups]):
            super().open_groups(groups)


@broken("R33", "locks the rows of the bodies that it stores in their order")
class StoresInOrder(LocksRows):
    def store_bodies(self, bodies):
        with self._locked(list(bodies)):
            super().store_bodies(bodies)


@broken("R33", "locks the rows of the members' groups after those of their tasks, in the order of the batch")
class LocksGroupsInOrder(LocksRows):
    def record(self, transitions):
        with self._locked([transition.member.group_id for transition in transitions if transition.member is not None]):
            return super().record(transitions)


@broken("R33", "says that a transaction must be tried again, and does not try")
class ShowsConflicts(InTwoSteps):
    def unchanged(self, before, present, transition):
        if present != before:
            raise ServiceRefused("could not serialize access due to concurrent update")
        return True


MUTANTS = mutants_of(globals())
