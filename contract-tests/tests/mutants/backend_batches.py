"""Backends that do only a part of a large batch, or cut what is large (R1 to R32)."""

from __future__ import annotations

from drivetrain.contract import GroupProgress, Outcome, Renewal, ServiceRefused, TaskPage, apply, evolve
from drivetrain.drivers.memory.backend import MemoryBackend
from mutants.backend_base import Ruled, broken, mutants_of


def at_most(clause, what, limit, method, answer=None):
    """A backend whose method looks at the first ``limit`` entries only, and answers ``answer`` for the rest."""

    def limited(self, batch, **how):
        batch = list(batch)
        told = getattr(MemoryBackend, method)(self, batch[:limit], **how)
        return None if told is None else [*told, *(answer(entry) for entry in batch[limit:])]

    kind = type(f"AtMost{limit}Of{method}", (MemoryBackend,), {method: limited})
    return broken(clause, f"{what} the first {limit} only")(kind)


def _granted(_):
    return Outcome(applied=True, before=None)


_LIMITED = [
    at_most("R1", "records", 900, "record", _granted),
    at_most("R1", "records", 1_000, "record", _granted),
    at_most("R1", "records", 4_096, "record", _granted),
    at_most("R10", "reads", 1_000, "read", lambda _: None),
    at_most("R10", "reads", 16_000, "read", lambda _: None),
    at_most("R12", "renews", 100, "renew", lambda _: Renewal(held=True, state=None)),
    at_most("R12", "renews", 1_000, "renew", lambda _: Renewal(held=False, state=None)),
    at_most("R20", "completes", 900, "complete", lambda _: None),
    at_most("R20", "completes", 4_096, "complete", lambda _: None),
    at_most("R23", "opens", 100, "open_groups"),
    at_most("R23", "opens", 1_000, "open_groups"),
    at_most("R25", "reads of groups", 1_000, "read_groups", lambda _: None),
    at_most("R28", "shortens the retention of", 1, "shorten_retention"),
    at_most("R28", "shortens the retention of", 1_000, "shorten_retention"),
    at_most("R29", "forgets", 1_000, "forget"),
    at_most("R31", "loads of bodies", 1_000, "load_bodies", lambda _: None),
    at_most("R31", "drops of bodies", 1_000, "drop_bodies"),
]


@broken("R31", "stores the first 1000 of many bodies only")
class StoresAThousand(MemoryBackend):
    def store_bodies(self, bodies):
        super().store_bodies(dict(list(bodies.items())[:1_000]))


class WaitsForSome(MemoryBackend):
    first = 64

    def wait(self, task_ids, *, timeout_seconds):
        return super().wait(list(task_ids)[: self.first], timeout_seconds=timeout_seconds)


@broken("R15", "waits for the first 64 tasks only")
class WaitsFor64(WaitsForSome):
    pass


@broken("R15", "waits for the first 1000 tasks only")
class WaitsForAThousand(WaitsForSome):
    first = 1_000


@broken("R16", "looks at the first 1000 tasks before it waits for them all")
class LooksAtAThousand(MemoryBackend):
    def _ended(self, task_ids):
        return super()._ended(list(task_ids)[:1_000])


@broken("R15", "tells the end of one task at a time")
class TellsOne(MemoryBackend):
    def _ended(self, task_ids):
        return dict(list(super()._ended(task_ids).items())[:1])


@broken("R10", "refuses to read more than 1000 records at once")
class RefusesALargeRead(MemoryBackend):
    def read(self, task_ids):
        if len(task_ids) > 1_000:
            raise ServiceRefused("too many SQL variables")
        return super().read(task_ids)


@broken("R12", "renews the first that is held of a batch only")
class RenewsTheFirstHeld(MemoryBackend):
    def renew(self, leases):
        found = False
        for lease in leases:
            told = super().renew([lease])[0] if not found else Renewal(held=False, state=None)
            found = found or told.held
            yield told


@broken("R24", "tells the first member of a batch only how its group stands")
class TellsTheFirstMember(MemoryBackend):
    def record(self, transitions):
        seen = set()
        outcomes = []
        for transition, outcome in zip(transitions, super().record(transitions), strict=True):
            group_id = transition.member and transition.member.group_id
            outcomes.append(evolve(outcome, group=None) if group_id in seen else outcome)
            seen.add(group_id)
        return outcomes


@broken("R24", "completes one member of each group in a batch")
class CompletesOneOfABatch(MemoryBackend):
    def record(self, transitions):
        seen = set()
        batch = []
        for transition in transitions:
            group_id = transition.member and transition.member.group_id
            batch.append(evolve(transition, member=None) if group_id in seen else transition)
            seen.add(group_id)
        return super().record(batch)


@broken("R32", "counts to a thousand")
class CountsToAThousand(MemoryBackend):
    def counts(self):
        return {kind: min(number, 1_000) for kind, number in super().counts().items()}


@broken("R32", "sweeps the first hundred again and again")
class SweepsAHundred(MemoryBackend):
    swept = 0

    def sweep(self):
        with self._store.condition:
            dropped = self._store.drop_expired(self._clock.now(), max(0, 100 - self.swept))
        self.swept += dropped
        return dropped

    def counts(self):
        expired = super().read(list(self._store.tasks))
        return {**super().counts(), "tasks": len(expired)}


# Large values and long names


class Cuts(MemoryBackend):
    limit = 65_535

    def cut(self, value):
        return value if value is None else value[: self.limit]


@broken("R9", "cuts payloads at a mebibyte")
class CutsPayloads(Cuts):
    limit = 2**20

    def _record(self, transition, now):
        return super()._record(evolve(transition, payload=self.cut(transition.payload)), now)


@broken("R9", "cuts what waits for a task at 65535 bytes")
class CutsDownstream(Cuts):
    def _record(self, transition, now):
        return super()._record(evolve(transition, downstream=self.cut(transition.downstream)), now)


@broken("R9", "cuts what waits for a task at a mebibyte")
class CutsDownstreamLater(CutsDownstream):
    limit = 2**20


@broken("R9", "cuts continuations at 65535 bytes")
class CutsContinuations(Cuts):
    def open_groups(self, groups):
        super().open_groups([evolve(group, continuation=self.cut(group.continuation)) for group in groups])


@broken("R9", "cuts continuations at a mebibyte")
class CutsContinuationsLater(CutsContinuations):
    limit = 2**20


@broken("R9", "cuts the payloads of members at a mebibyte")
class CutsMembers(Cuts):
    limit = 2**20

    def _complete(self, member, payload, failed, now):
        return super()._complete(member, self.cut(payload), failed, now)


@broken("R31", "cuts bodies at a mebibyte")
class CutsBodies(Cuts):
    limit = 2**20

    def store_bodies(self, bodies):
        super().store_bodies({key: self.cut(body) for key, body in bodies.items()})


@broken("R10", "cuts ids at 255 characters")
class CutsIds(Ruled):
    def _record(self, transition, now):
        return super()._record(evolve(transition, task_id=transition.task_id[:255]), now)

    def read(self, task_ids):
        return super().read([task_id[:255] for task_id in task_ids])


@broken("R10", "cuts the names of runs, tasks and workers at 255 characters")
class CutsNames(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        return after and evolve(after, task=after.task[:255])


@broken("R13", "counts no more than ten starts")
class CountsToTen(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        return after and evolve(after, starts=min(after.starts, 10))


@broken("R13", "counts starts in eight bits")
class CountsInEightBits(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        return after and evolve(after, starts=after.starts % 128)


@broken("R3", "counts attempts in fifteen bits")
class AttemptsInFifteenBits(Ruled):
    def rule(self, before, transition, now):
        return apply(before, evolve(transition, attempt=transition.attempt % 2**15), now)


@broken("R3", "counts attempts in eight bits")
class AttemptsInEightBits(Ruled):
    def rule(self, before, transition, now):
        return apply(before, evolve(transition, attempt=transition.attempt % 2**8), now)


# Large groups


class SmallGroups(MemoryBackend):
    largest = 1_024

    def _complete(self, member, payload, failed, now):
        if member.index >= self.largest:
            found = self._store.find_group(member.group_id, now)
            return found and GroupProgress(size=found.group.size, done=len(found.members), failed=found.failed)
        return super()._complete(member, payload, failed, now)


@broken("R20", "keeps 1024 members of a group")
class Keeps1024(SmallGroups):
    pass


@broken("R20", "keeps 4096 members of a group")
class Keeps4096(SmallGroups):
    largest = 4_096


@broken("R22", "reads the first 1000 members of a group")
class ReadsAThousandMembers(MemoryBackend):
    def read_members(self, group_id):
        members = super().read_members(group_id)
        return [*members[:1_000], *[None] * len(members[1_000:])]


@broken("R22", "reads 4096 members of a group and no more")
class Reads4096Members(MemoryBackend):
    def read_members(self, group_id):
        return super().read_members(group_id)[:4_096]


@broken("R20", "takes the size of a group for sixteen bits")
class SizesInSixteenBits(MemoryBackend):
    def read_groups(self, group_ids):
        return [found and evolve(found, size=found.size % 2**16) for found in super().read_groups(group_ids)]


@broken("R40", "lists the first 1000 unfinished tasks")
class ListsAThousand(MemoryBackend):
    shown = 0

    def list_tasks(self, states, *, limit, cursor=None):
        page = super().list_tasks(states, limit=limit, cursor=cursor)
        self.shown = len(page.records) + (self.shown if cursor else 0)
        return page if self.shown <= 1_000 else TaskPage()


MUTANTS = (*(kind.mutant for kind in _LIMITED), *mutants_of(globals()))
