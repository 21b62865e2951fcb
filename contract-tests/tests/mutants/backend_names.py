"""Backends that take one name for another's (R10, R18, R31, R35, L6), and keep what was first (R9 to R31)."""

from __future__ import annotations

import unicodedata

from drivetrain.contract import apply, evolve
from drivetrain.drivers.memory.backend import MemoryBackend
from mutants.backend_base import Ruled, broken, mutants_of


def composed(name):
    return unicodedata.normalize("NFC", name)


def number(name):
    """What a column of numbers makes of a text."""
    try:
        return repr(float(name))
    except ValueError:
        return name


class NamesTasks(MemoryBackend):
    def same(self, name):
        """What a name is kept under."""

    def record(self, transitions):
        return super().record([evolve(transition, task_id=self.same(transition.task_id)) for transition in transitions])

    def read(self, task_ids):
        found = super().read([self.same(task_id) for task_id in task_ids])
        return [each and evolve(each, task_id=name) for name, each in zip(task_ids, found, strict=True)]


@broken("R10", "takes ids for the same that look the same")
class ComposesIds(NamesTasks):
    same = staticmethod(composed)


@broken("R10", "takes ids for the same but for blanks at their end")
class StripsIds(NamesTasks):
    def same(self, name):
        return name.rstrip(" ")


@broken("R10", "takes ids for the same but for blanks at their beginning")
class StripsIdsInFront(NamesTasks):
    def same(self, name):
        return name.lstrip()


@broken("R10", "takes ids for the same that are one number")
class NumbersIds(NamesTasks):
    same = staticmethod(number)


@broken("R10", "takes ids for the same but for case")
class FoldsIds(NamesTasks):
    def same(self, name):
        return name.casefold()


@broken("R10", "takes ids for the same that are compatible characters")
class CompatibleIds(NamesTasks):
    def same(self, name):
        return unicodedata.normalize("NFKC", name)


@broken("R10", "drops what it does not see of an id")
class DropsInvisible(NamesTasks):
    def same(self, name):
        return "".join(char for char in name if unicodedata.category(char) != "Cf")


@broken("R10", "ends an id at its first NUL")
class EndsAtNul(NamesTasks):
    def same(self, name):
        return name.partition("\0")[0]


class NamesGroups(MemoryBackend):
    def same(self, name):
        """What a name is kept under."""

    def open_groups(self, groups):
        super().open_groups([evolve(group, group_id=self.same(group.group_id)) for group in groups])

    def _complete(self, member, payload, failed, now):
        return super()._complete(evolve(member, group_id=self.same(member.group_id)), payload, failed, now)

    def read_groups(self, group_ids):
        found = super().read_groups([self.same(name) for name in group_ids])
        return [each and evolve(each, group_id=name) for name, each in zip(group_ids, found, strict=True)]

    def read_members(self, group_id):
        return super().read_members(self.same(group_id))


@broken("R18", "takes groups for the same that look the same")
class ComposesGroups(NamesGroups):
    same = staticmethod(composed)


@broken("R18", "takes groups for the same but for blanks at their end")
class StripsGroups(NamesGroups):
    def same(self, name):
        return name.rstrip()


@broken("R18", "takes groups for the same that are one number")
class NumbersGroups(NamesGroups):
    same = staticmethod(number)


class NamesBodies(MemoryBackend):
    def same(self, name):
        """What a key is kept under."""

    def store_bodies(self, bodies):
        super().store_bodies({self.same(key): body for key, body in bodies.items()})

    def load_bodies(self, keys):
        return super().load_bodies([self.same(key) for key in keys])

    def drop_bodies(self, keys):
        super().drop_bodies([self.same(key) for key in keys])


@broken("R31", "takes keys of bodies for the same that look the same")
class ComposesKeys(NamesBodies):
    same = staticmethod(composed)


@broken("R31", "cuts the keys of bodies at 255 characters")
class CutsKeys(NamesBodies):
    def same(self, name):
        return name[:255]


@broken("R31", "takes keys of bodies for the same but for case")
class FoldsKeys(NamesBodies):
    def same(self, name):
        return name.lower()


@broken("R31", "takes keys of bodies for the same but for blanks at their end")
class StripsKeys(NamesBodies):
    def same(self, name):
        return name.rstrip()


@broken("R29", "forgets what a name with wild cards matches")
class ForgetsByPattern(MemoryBackend):
    def forget(self, task_ids):
        from fnmatch import fnmatchcase

        for pattern in task_ids:
            super().forget([name for name in [*self._store.tasks, *self._store.groups] if fnmatchcase(name, pattern)])


# The second time


@broken("R31", "keeps the body that was stored first under a key")
class KeepsTheFirstBody(MemoryBackend):
    def store_bodies(self, bodies):
        super().store_bodies({key: body for key, body in bodies.items() if self.load_bodies([key]) == [None]})


@broken("R31", "gives the body of before when one is stored again after it was dropped")
class RemembersDroppedBodies(MemoryBackend):
    def store_bodies(self, bodies):
        first = self.__dict__.setdefault("first", {})
        super().store_bodies({key: first.setdefault(key, body) for key, body in bodies.items()})


@broken("R9", "keeps the name of a task that was told first")
class KeepsTheFirstName(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        return evolve(after, task=before.task or after.task) if after and before else after


@broken("R9", "keeps what waits for a task as it was told first")
class KeepsTheFirstDownstream(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        if not after or not before or before.downstream is None:
            return after
        return evolve(after, downstream=before.downstream)


@broken("R9", "clears a payload that a later transition makes empty")
class ClearsToNone(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        if after and before and transition.payload == b"" and before.payload:
            return evolve(after, payload=before.payload)
        return after


@broken("R22", "reads a member again when its group was read before")
class CachesMembers(MemoryBackend):
    def read_members(self, group_id):
        cache = self.__dict__.setdefault("members", {})
        found = super().read_members(group_id)
        return cache.setdefault(group_id, found) if found else found


@broken("R30", "keeps a group when its record is gone and another is written in its place")
class KeepsTheGroupOfWhatIsOver(Ruled):
    """Looks at the time of a record, and drops it when it is swept or written over."""

    def _record(self, transition, now):
        found = self._store.tasks.get(transition.task_id)
        over = found is not None and found.expires_at is not None and found.expires_at <= now
        group = self._store.groups.get(transition.task_id) if over else None
        outcome = super()._record(transition, now)
        if group is not None:
            self._store.groups[transition.task_id] = group
        return outcome


@broken("R30", "keeps a group when it is opened again after its record was over")
class KeepsTheGroupThatIsOpenedAgain(MemoryBackend):
    def open_groups(self, groups):
        now = self._clock.now()
        with self._store.condition:
            before = {group.group_id: self._store.groups.get(group.group_id) for group in groups}
            super().open_groups(groups)
            self._store.groups.update({name: found for name, found in before.items() if found is not None})
        self._store.drop_expired(now, None)


MUTANTS = mutants_of(globals())
