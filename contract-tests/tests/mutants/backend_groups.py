"""Backends that break R18 to R32: groups, and how long things are kept."""

from __future__ import annotations

import math
import threading

from drivetrain.contract import GroupProgress, ServiceRefused, State, apply, evolve
from drivetrain.drivers.memory.backend import MemoryBackend, _OpenGroup
from mutants.backend_base import Ruled, broken, mutants_of
from mutants.backend_tasks import pause

# R18 to R25: groups


class Completes(MemoryBackend):
    def completed(self, found, index, payload, failed):
        """How the group stands after the completion, which this does."""
        return found.complete(index, payload, failed=failed)

    def _complete(self, member, payload, failed, now):
        found = self._store.find_group(member.group_id, now)
        return None if found is None else self.completed(found, member.index, payload, failed)


@broken("R18", "counts completions, not members")
class CountsCompletions(Completes):
    def __init__(self, name, clock):
        super().__init__(name, clock)
        self.counts = {}

    def completed(self, found, index, payload, failed):
        count = self.counts[id(found)] = self.counts.get(id(found), 0) + 1
        return evolve(found.complete(index, payload, failed=failed), done=min(count, found.group.size))


@broken("R18", "lets the last completion of a member stand")
class LastCompletionStands(Completes):
    def completed(self, found, index, payload, failed):
        found.members[index] = payload
        return found.complete(index, payload, failed=failed)


@broken("R18", "fails a group by a member that was complete already")
class FailsLate(Completes):
    def completed(self, found, index, payload, failed):
        found.failed = found.failed or (failed and not found.group.collect)
        return found.complete(index, payload, failed=failed)


@broken("R18", "counts members that give the same once")
class CountsPayloads(Completes):
    def completed(self, found, index, payload, failed):
        told = found.complete(index, payload, failed=failed)
        return evolve(told, done=len(set(found.members.values())))


@broken("R19", "tells how the group stood before, so that nobody hears of its end")
class TellsBefore(Completes):
    def completed(self, found, index, payload, failed):
        told = GroupProgress(size=found.group.size, done=len(found.members), failed=found.failed)
        found.complete(index, payload, failed=failed)
        return told


@broken("R19", "completes, and counts in a second step")
class CountsLater(MemoryBackend):
    def record(self, transitions):
        outcomes = super().record(transitions)
        pause()
        groups = [transition.member and self.read_groups([transition.member.group_id])[0] for transition in transitions]
        return [
            outcome if found is None or outcome.group is None else evolve(outcome, group=_progress(found))
            for outcome, found in zip(outcomes, groups, strict=True)
        ]


def _progress(found):
    return GroupProgress(size=found.size, done=found.done, failed=found.failed)


@broken("R19", "tells of the end one member too early")
class TellsTooEarly(Completes):
    def completed(self, found, index, payload, failed):
        told = found.complete(index, payload, failed=failed)
        return evolve(told, done=told.size) if told.done == told.size - 1 else told


@broken("R19", "reads the members, adds one and writes them back")
class LosesMembers(MemoryBackend):
    def complete(self, completions):
        return [self._add(each) for each in completions]

    def _add(self, each):
        found = self._store.groups.get(each.member.group_id)
        if found is None:
            return None
        members = {each.member.index: each.payload} | found.members
        pause(0.001)
        found.members = members
        return GroupProgress(size=found.group.size, done=len(members))


@broken("R19", "answers a whole batch with how things stand at its end")
class AnswersAtTheEnd(MemoryBackend):
    def complete(self, completions):
        super().complete(completions)
        return super().complete(completions)


@broken("R20", "never completes a group of one")
class NoGroupOfOne(Completes):
    def completed(self, found, index, payload, failed):
        told = found.complete(index, payload, failed=failed)
        return evolve(told, done=0) if told.size == 1 else told


@broken("R20", "counts the members of one page")
class CountsAPage(Completes):
    def completed(self, found, index, payload, failed):
        told = found.complete(index, payload, failed=failed)
        return evolve(told, done=min(told.done, 100))


@broken("R20", "keeps no group without members")
class NoEmptyGroup(MemoryBackend):
    def open_groups(self, groups):
        super().open_groups([group for group in groups if group.size])


@broken("R21", "takes a failed member for any other")
class FailsNoGroup(Completes):
    def completed(self, found, index, payload, failed):
        return found.complete(index, payload, failed=False)


@broken("R21", "fails groups that collect failures")
class FailsEveryGroup(Completes):
    def completed(self, found, index, payload, failed):
        found.failed = found.failed or failed
        return found.complete(index, payload, failed=failed)


@broken("R21", "takes a cancelled member for a success")
class CancelledIsFine(MemoryBackend):
    def _complete_of(self, transition, now):
        if transition.state is State.CANCELLED:
            transition = evolve(transition, state=State.SUCCESS)
        return super()._complete_of(transition, now)


@broken("R21", "waits for failed members for ever")
class DoesNotCountFailed(Completes):
    def completed(self, found, index, payload, failed):
        if failed:
            return GroupProgress(size=found.group.size, done=len(found.members), failed=found.failed)
        return found.complete(index, payload, failed=failed)


@broken("R22", "gives members in the order in which they ended")
class OrderOfCompletion(MemoryBackend):
    def read_members(self, group_id):
        found = self._store.groups.get(group_id)
        payloads = list(found.members.values()) if found else []
        return payloads + [None] * (found.group.size - len(payloads) if found else 0)


@broken("R22", "puts the tenth member before the second")
class OrderOfText(MemoryBackend):
    def read_members(self, group_id):
        payloads = super().read_members(group_id)
        return [payloads[index] for index in sorted(range(len(payloads)), key=str)]


@broken("R22", "leaves out members that are not complete")
class LeavesOutMembers(MemoryBackend):
    def read_members(self, group_id):
        return [payload for payload in super().read_members(group_id) if payload is not None]


@broken("R23", "opens a group anew")
class OpensAnew(MemoryBackend):
    def open_groups(self, groups):
        with self._store.condition:
            self._store.groups.update({group.group_id: _OpenGroup(group) for group in groups})


@broken("R23", "stores the continuation of whoever opened last")
class LastContinuation(MemoryBackend):
    def open_groups(self, groups):
        super().open_groups(groups)
        for group in groups:
            found = self._store.groups[group.group_id]
            found.group = evolve(found.group, continuation=group.continuation)


@broken("R24", "completes the member of a transition that it refuses")
class CompletesRefused(MemoryBackend):
    def _record(self, transition, now):
        outcome = super()._record(transition, now)
        return outcome if outcome.applied else evolve(outcome, group=self._complete_of(transition, now))


@broken("R24", "completes a member by its first retry")
class CompletesAtRetry(MemoryBackend):
    def _complete_of(self, transition, now):
        if transition.state is State.RETRY:
            transition = evolve(transition, state=State.FAILURE)
        return super()._complete_of(transition, now)


@broken("R24", "completes no member whose record is not kept")
class NeedsTheRecord(MemoryBackend):
    def _complete_of(self, transition, now):
        return None if transition.retention == 0 else super()._complete_of(transition, now)


@broken("R24", "completes members and tells nobody")
class TellsNobody(MemoryBackend):
    def _record(self, transition, now):
        return evolve(super()._record(transition, now), group=None)


@broken("R25", "makes a group of what it does not know")
class MakesGroups(MemoryBackend):
    def complete(self, completions):
        for each in completions:
            found = _OpenGroup(_group_of(each.member))
            self._store.groups.setdefault(each.member.group_id, found)
        return super().complete(completions)


def _group_of(member):
    from drivetrain.contract import Group

    return Group(group_id=member.group_id, size=member.index + 1)


@broken("R25", "refuses a batch for a group that it does not know")
class RefusesUnknown(MemoryBackend):
    def _complete(self, member, payload, failed, now):
        told = super()._complete(member, payload, failed, now)
        if told is None:
            raise ServiceRefused("no such group")
        return told


@broken("R25", "grants no end to a member of a group that it does not know")
class NeedsTheGroup(Ruled):
    def rule(self, before, transition, now):
        known = transition.member is None or transition.member.group_id in self._store.groups
        return apply(before, transition, now) if known else None


# R26 to R28: retention


class Keeps(MemoryBackend):
    def retention(self, seconds):
        return seconds

    def _record(self, transition, now):
        asked = transition.retention
        return super()._record(
            transition if asked is None else evolve(transition, retention=self.retention(asked)), now
        )


@broken("R26", "reads zero as for ever")
class ZeroIsForEver(Keeps):
    def retention(self, seconds):
        return seconds or None


@broken("R26", "rounds less than a second to for ever")
class LessThanASecondIsForEver(Keeps):
    def retention(self, seconds):
        return (int(seconds) or None) if seconds else 0


@broken("R26", "rounds down to whole seconds")
class RoundsDown(Keeps):
    def retention(self, seconds):
        return math.floor(seconds)


@broken("R26", "rounds up to whole seconds, and does not declare it")
class RoundsUp(Keeps):
    def retention(self, seconds):
        return math.ceil(seconds)


@broken("R26", "reads more than thirty days as a date")
class ReadsADate(Keeps):
    def retention(self, seconds):
        return seconds if seconds <= 30 * 86_400 else max(0.0, seconds - self._clock.now())


@broken("R26", "counts milliseconds in 32 bits")
class Overflows(Keeps):
    def retention(self, seconds):
        return max(0.0, (int(seconds * 1000) + 2**31) % 2**32 - 2**31) / 1000


@broken("R26", "keeps nothing for ever")
class KeepsAYear(Ruled):
    def rule(self, before, transition, now):
        if transition.state.terminal and transition.retention is None:
            transition = evolve(transition, retention=365 * 86_400.0)
        return apply(before, transition, now)


@broken("R26", "shows what has expired until it is swept")
class ShowsTheExpired(MemoryBackend):
    def read(self, task_ids):
        with self._store.condition:
            return [self._store.tasks.get(task_id) for task_id in task_ids]


@broken("R26", "counts retention from the time that the transition names")
class CountsFromTheWish(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        ends = after is not None and after.expires_at is not None
        return evolve(after, expires_at=transition.at + transition.retention) if ends else after


class Timers(MemoryBackend):
    """Drops things when a time is over that counts from when they were made."""

    def drop_later(self, drop, seconds):
        timer = threading.Timer(seconds, drop)
        timer.daemon = True
        timer.start()


@broken("R27", "lets groups live for a time that begins when they are opened")
class GroupsWithAnEnd(Timers):
    def open_groups(self, groups):
        super().open_groups(groups)
        for group in groups:
            self.drop_later(lambda group_id=group.group_id: self._store.groups.pop(group_id, None), 0.3)


@broken("R27", "lets a group live as long as the record of its first member")
class GroupsWithAMembersEnd(Timers):
    def _complete_of(self, transition, now):
        told = super()._complete_of(transition, now)
        if told is not None and transition.retention is not None:
            self.drop_later(lambda: self._store.groups.pop(transition.member.group_id, None), transition.retention)
        return told


@broken("R27", "expires tasks that are not terminal")
class ExpiresAll(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        return after and evolve(after, expires_at=None if transition.retention is None else now + transition.retention)


@broken("R27", "sweeps tasks that have run for more than a day")
class SweepsTheOld(Ruled):
    def sweep(self):
        now = self._clock.now()
        old = [each for each in self._store.tasks.values() if not each.state.terminal]
        for found in old:
            if (found.leased_until or now) < now - 86_400:
                self._store.drop(found.task_id)
        return super().sweep()


@broken("R27", "remembers the end of a record that was forgotten")
class RemembersTheEnd(Timers):
    def _record(self, transition, now):
        if transition.state.terminal and transition.retention is not None:
            self.drop_later(lambda: self._store.drop(transition.task_id), transition.retention)
        return super()._record(transition, now)


class Settles(MemoryBackend):
    def settled(self, record, expires_at, now):
        """The record afterwards."""

    def _shorten(self, task_id, now, expires_at):
        record = self._store.find(task_id, now)
        if record is not None:
            self._store.put(self.settled(record, expires_at, now))


@broken("R28", "puts the end off when it settles")
class PutsOff(Settles):
    def settled(self, record, expires_at, now):
        return evolve(record, expires_at=expires_at) if record.state.terminal else record


@broken("R28", "settles what has not ended")
class SettlesTheUnfinished(Settles):
    def settled(self, record, expires_at, now):
        return evolve(record, expires_at=min(expires_at, record.expires_at or expires_at))


@broken("R28", "settles nothing at zero")
class ZeroIsNothing(Settles):
    def settled(self, record, expires_at, now):
        ends = record.state.terminal and expires_at > now
        return evolve(record, expires_at=min(expires_at, record.expires_at or expires_at)) if ends else record


@broken("R28", "does not settle what is kept for ever")
class ForEverIsForEver(Settles):
    def settled(self, record, expires_at, now):
        return record if record.expires_at is None else evolve(record, expires_at=min(expires_at, record.expires_at))


# R29 to R32: forgetting and counting


@broken("R29", "keeps the group of what it forgets")
class KeepsTheGroup(MemoryBackend):
    def forget(self, task_ids):
        groups = dict(self._store.groups)
        super().forget(task_ids)
        self._store.groups.update(groups)


@broken("R29", "forgets only what has ended")
class ForgetsTheEnded(MemoryBackend):
    def forget(self, task_ids):
        running = self._store.unfinished
        super().forget([task_id for task_id in task_ids if task_id not in running])


@broken("R29", "forgets whatever begins like it")
class ForgetsByPrefix(MemoryBackend):
    def forget(self, task_ids):
        prefixes = tuple(task_ids)
        known = [*self._store.tasks, *self._store.groups]
        super().forget([name for name in known if name.startswith(prefixes)])


@broken("R29", "gives the members of a forgotten group to the next of its name")
class MembersComeBack(MemoryBackend):
    def __init__(self, name, clock):
        super().__init__(name, clock)
        self.left = {}

    def forget(self, task_ids):
        self.left.update({name: self._store.groups[name].members for name in task_ids if name in self._store.groups})
        super().forget(task_ids)

    def open_groups(self, groups):
        super().open_groups(groups)
        for group in groups:
            self._store.groups[group.group_id].members.update(self.left.pop(group.group_id, {}))


@broken("R30", "keeps a group when its record is settled")
class KeepsTheSettledGroup(MemoryBackend):
    def _shorten(self, task_id, now, expires_at):
        groups = dict(self._store.groups)
        super()._shorten(task_id, now, expires_at)
        self._store.find(task_id, now)
        self._store.groups.update(groups)


@broken("R30", "shows a group until its record is swept")
class ShowsTheGroup(MemoryBackend):
    def read_groups(self, group_ids):
        with self._store.condition:
            found = [self._store.groups.get(group_id) for group_id in group_ids]
            return [None if group is None else group.record() for group in found]


@broken("R30", "drops a group with its first member's record")
class DropsWithAMember(MemoryBackend):
    def forget(self, task_ids):
        super().forget(task_ids)
        if task_ids:
            self._store.groups.clear()


@broken("R31", "lets bodies end like results")
class BodiesEnd(MemoryBackend):
    def sweep(self):
        self._store.bodies.clear()
        return super().sweep()


@broken("R31", "drops the body of the same name with a task")
class DropsBodies(MemoryBackend):
    def forget(self, task_ids):
        super().forget(task_ids)
        self.drop_bodies(task_ids)


@broken("R31", "keeps bodies as text")
class BodiesAreText(MemoryBackend):
    def store_bodies(self, bodies):
        super().store_bodies({key: body.decode("utf-8", "replace").encode() for key, body in bodies.items()})


@broken("R31", "does not know an empty body")
class NoEmptyBody(MemoryBackend):
    def load_bodies(self, keys):
        return [body or None for body in super().load_bodies(keys)]


@broken("R32", "sweeps what has ended, whatever its retention")
class SweepsTheEnded(MemoryBackend):
    def sweep(self):
        for found in list(self._store.tasks.values()):
            if found.state.terminal:
                self._store.drop(found.task_id)
        return super().sweep()


@broken("R32", "sweeps nothing, and counts what has expired")
class SweepsNothing(MemoryBackend):
    def sweep(self):
        return 0

    def counts(self):
        return {**super().counts(), "tasks": self._seen()}

    def _seen(self):
        self.most = max(getattr(self, "most", 0), len(self._store.tasks))
        return self.most

    def record(self, transitions):
        outcomes = super().record(transitions)
        self._seen()
        return outcomes


@broken("R32", "sweeps values that have not ended")
class SweepsValues(MemoryBackend):
    def sweep(self):
        for key in list(self._store.values._values):
            self._store.values._remove(key)
        return super().sweep()


@broken("R32", "counts no values")
class CountsNoValues(MemoryBackend):
    def counts(self):
        return {**super().counts(), "values": 0}


@broken("R32", "counts the places of members for members")
class CountsPlaces(MemoryBackend):
    def counts(self):
        return {**super().counts(), "members": sum(found.group.size for found in self._store.groups.values())}


MUTANTS = mutants_of(globals())
