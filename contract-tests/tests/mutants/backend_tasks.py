"""Backends that break R1 to R17: what becomes of tasks, and who waits for them."""

from __future__ import annotations

import json
import math
import threading

from drivetrain.contract import (
    Outcome,
    Renewal,
    State,
    StateChange,
    TooLarge,
    apply,
    check_value_sizes,
    evolve,
)
from drivetrain.drivers.memory.backend import MemoryBackend
from mutants.backend_base import Ruled, broken, mutants_of


def pause(seconds=0.002):
    """Let another thread come between two steps."""
    threading.Event().wait(seconds)


# R1 to R8: what is granted


@broken("R1", "expires a task that is running")
class ExpiresRunning(Ruled):
    def rule(self, before, transition, now):
        if before is not None and transition.state is State.EXPIRED and not before.state.terminal:
            before = evolve(before, leased_until=None)
        return apply(before, transition, now)


@broken("R1", "records nothing of tasks that it has not seen being sent")
class KnowsOnlyTheSent(Ruled):
    def rule(self, before, transition, now):
        return None if before is None and transition.state is not State.PENDING else apply(before, transition, now)


@broken("R1", "forgets what waits for a task when its end does not tell it")
class ForgetsDownstream(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        return after and evolve(after, downstream=transition.downstream)


@broken("R2", "lets a late start overwrite a result")
class StartsAgain(Ruled):
    def rule(self, before, transition, now):
        over = before is not None and before.state.terminal and transition.state is State.STARTED
        return apply(None if over else before, transition, now)


@broken("R2", "lets the last end win")
class LastEndWins(Ruled):
    def rule(self, before, transition, now):
        over = before is not None and before.state.terminal and transition.state.terminal
        return apply(None if over else before, transition, now)


@broken("R2", "lets another attempt follow a failure")
class FailureIsNotFinal(Ruled):
    def rule(self, before, transition, now):
        if before is not None and before.state is State.FAILURE and transition.attempt > before.attempt:
            before = evolve(before, state=State.RETRY)
        return apply(before, transition, now)


@broken("R3", "lets an older attempt start")
class OlderAttempt(Ruled):
    def rule(self, before, transition, now):
        if before is None or transition.attempt >= before.attempt or transition.state is not State.STARTED:
            return apply(before, transition, now)
        after = apply(before, evolve(transition, attempt=before.attempt + 1), now)
        return after and evolve(after, attempt=transition.attempt)


@broken("R3", "keeps the attempt of whoever spoke last")
class AttemptGoesDown(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        return after and evolve(after, attempt=transition.attempt)


@broken("R4", "grants every start")
class GrantsEveryStart(Ruled):
    def rule(self, before, transition, now):
        if before is not None and transition.state is State.STARTED:
            before = evolve(before, leased_until=None)
        return apply(before, transition, now)


@broken("R4", "never ends a lease")
class LeaseWithoutEnd(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        return after and (after if after.leased_until is None else evolve(after, leased_until=now + 1e9))


@broken("R4", "counts leases in whole seconds")
class LeaseInSeconds(Ruled):
    def rule(self, before, transition, now):
        return apply(before, evolve(transition, lease=transition.lease and math.floor(transition.lease)), now)


@broken("R5", "does not look whose result it records")
class NotFenced(Ruled):
    def rule(self, before, transition, now):
        if before is not None and before.run and transition.run and transition.state is not State.STARTED:
            transition = evolve(transition, run=before.run)
        return apply(before, transition, now)


@broken("R5", "fences a run by time alone")
class FencedByTime(Ruled):
    def rule(self, before, transition, now):
        late = before is not None and before.leased_until is not None and before.leased_until <= now
        return None if late and transition.state is State.SUCCESS else apply(before, transition, now)


@broken("R6", "tells the record as it is afterwards")
class TellsAfter(MemoryBackend):
    def _record(self, transition, now):
        outcome = super()._record(transition, now)
        return evolve(outcome, before=self._store.find(transition.task_id, now)) if outcome.applied else outcome


@broken("R6", "answers a batch in the order of its ids")
class AnswersById(MemoryBackend):
    def record(self, transitions):
        return super().record(sorted(transitions, key=lambda transition: transition.task_id))


@broken("R6", "looks at all records of a batch before it changes any")
class LooksFirst(Ruled):
    def record(self, transitions):
        self.seen = {
            transition.task_id: found for transition in transitions for found in self.read([transition.task_id])
        }
        return super().record(transitions)

    def _record(self, transition, now):
        after = apply(self.seen[transition.task_id], transition, now)
        if after is not None:
            self._store.put(after)
        return Outcome(applied=after is not None, before=self.seen[transition.task_id])


@broken("R7", "counts a start that is asked for again as a crash")
class CountsRepetition(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        return after and (
            evolve(after, starts=after.starts + 1) if transition.state is State.STARTED and before else after
        )


@broken("R7", "keeps a record longer each time that its end is told")
class KeepsLongerEachTime(Ruled):
    def rule(self, before, transition, now):
        if before is not None and before.state is transition.state and before.expires_at is not None:
            return evolve(before, expires_at=before.expires_at + transition.retention)
        return apply(before, transition, now)


@broken("R8", "reads and writes in two steps")
class TwoSteps(MemoryBackend):
    def record(self, transitions):
        before = [super(TwoSteps, self).read([transition.task_id])[0] for transition in transitions]
        after = [
            apply(found, transition, self._clock.now()) for found, transition in zip(before, transitions, strict=True)
        ]
        pause()
        with self._store.condition:
            for record in filter(None, after):
                self._store.put(record)
        return [Outcome(applied=new is not None, before=old) for old, new in zip(before, after, strict=True)]


@broken("R8", "says yes to everybody, as a conditional update does whose count of matches is not read")
class SaysYes(MemoryBackend):
    def _record(self, transition, now):
        return evolve(super()._record(transition, now), applied=True)


# R9, R10: what is read


class Changes(MemoryBackend):
    def kept(self, payload):
        return payload

    def _record(self, transition, now):
        return super()._record(
            evolve(transition, payload=None if transition.payload is None else self.kept(transition.payload)), now
        )


@broken("R9", "rewrites what looks like JSON")
class RewritesJson(Changes):
    def kept(self, payload):
        try:
            return json.dumps(json.loads(payload), separators=(",", ":")).encode()
        except ValueError:
            return payload


@broken("R9", "reads bytes as text")
class ReadsText(Changes):
    def kept(self, payload):
        return payload.decode("utf-8", "replace").encode()


@broken("R9", "takes an empty payload for none")
class EmptyIsNone(Changes):
    def kept(self, payload):
        return payload or None


@broken("R9", "cuts payloads at 64 KiB")
class CutsPayloads(Changes):
    def kept(self, payload):
        return payload[: 2**16]


@broken("R9", "ends payloads at the first NUL")
class EndsAtNul(Changes):
    def kept(self, payload):
        return payload.split(b"\0")[0]


@broken("R9", "strips blanks")
class StripsBlanks(Changes):
    def kept(self, payload):
        return payload.strip(b" \r\n")


@broken("R9", "gives views of a buffer of its own")
class GivesViews(MemoryBackend):
    def read(self, task_ids):
        found = super().read(task_ids)
        return [each and evolve(each, payload=each.payload and memoryview(each.payload)) for each in found]


class Origins(Ruled):
    """Children change the names of a record after a transition: queue, workflow and parent."""

    def names(self, before, transition, after):
        raise NotImplementedError

    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        return after and evolve(after, **self.names(before, transition, after))


@broken("R9", "forgets the queue when a task starts")
class ForgetsTheQueue(Origins):
    def names(self, before, transition, after):
        return {"queue": ""} if transition.state is State.STARTED else {}


@broken("R9", "lets an empty parent replace the one before")
class ReplacesByEmpty(Origins):
    def names(self, before, transition, after):
        return {"parent": transition.parent}


@broken("R9", "takes the workflow from the first record only")
class KeepsTheFirstWorkflow(Origins):
    def names(self, before, transition, after):
        return {"workflow": before.workflow} if before is not None else {}


@broken("R9", "loses the names of a task when it is tried again")
class LosesNamesAtRetry(Origins):
    def names(self, before, transition, after):
        return {"workflow": "", "parent": ""} if after.attempt else {}


@broken("R9", "replaces queue, workflow and parent together")
class ReplacesTogether(Origins):
    def names(self, before, transition, after):
        names = {name: getattr(transition, name) for name in ("queue", "workflow", "parent")}
        return names if any(names.values()) else {}


@broken("R10", "joins queue, workflow and parent by a NUL")
class JoinsByNul(Origins):
    def names(self, before, transition, after):
        parts = f"{after.queue}\0{after.workflow}\0{after.parent}".split("\0")
        return dict(zip(("queue", "workflow", "parent"), parts, strict=False))


@broken("R10", "has room for 255 characters of a queue")
class CutsQueues(Origins):
    def names(self, before, transition, after):
        return {"queue": after.queue[:255]}


class Limited(MemoryBackend):
    capabilities = evolve(MemoryBackend.capabilities, largest_value_bytes=100_000)
    limit = 100_000

    def refuse(self, transition):
        raise TooLarge("a payload", len(transition.payload), self.limit)

    def _record(self, transition, now):
        if len(transition.payload or b"") > self.limit:
            self.refuse(transition)
        if len(transition.downstream or b"") > self.limit:
            raise TooLarge("what waits for a task", len(transition.downstream), self.limit)
        return super()._record(transition, now)

    def open_groups(self, groups):
        for group in groups:
            if len(group.continuation) > self.limit:
                raise TooLarge("a continuation", len(group.continuation), self.limit)
        super().open_groups(groups)

    def _complete(self, member, payload, failed, now):
        if len(payload) > self.limit:
            raise TooLarge("a payload", len(payload), self.limit)
        return super()._complete(member, payload, failed, now)

    def store_bodies(self, bodies):
        for body in bodies.values():
            if len(body) > self.limit:
                raise TooLarge("a body", len(body), self.limit)
        super().store_bodies(bodies)

    def write_values(self, writes):
        check_value_sizes(writes, self.limit)
        return super().write_values(writes)


@broken("R9", "drops what was there when it refuses a larger value")
class DropsOnRefusal(Limited):
    def refuse(self, transition):
        self._store.drop(transition.task_id)
        super().refuse(transition)


@broken("R9", "refuses large payloads, and carries what waits for a task at any size")
class CarriesDownstream(Limited):
    def _record(self, transition, now):
        if len(transition.payload or b"") > self.limit:
            self.refuse(transition)
        return MemoryBackend._record(self, transition, now)


@broken("R9", "refuses large payloads, and carries continuations of any size")
class CarriesContinuations(Limited):
    def open_groups(self, groups):
        MemoryBackend.open_groups(self, groups)


@broken("R9", "refuses a value of exactly the largest size")
class RefusesTheLargest(Limited):
    limit = 99_999


@broken("R9", "carries what it says it does not")
class RefusesNothing(Limited):
    limit = 10**9


@broken("R9", "ends a task whose result it refuses")
class RecordsHalf(Limited):
    def refuse(self, transition):
        MemoryBackend._record(self, evolve(transition, payload=None), self._clock.now())
        super().refuse(transition)


@broken("R10", "answers in the order of its own index")
class ReadsById(MemoryBackend):
    def read(self, task_ids):
        return super().read(sorted(task_ids))


@broken("R10", "leaves out what it does not know")
class ReadsTheKnown(MemoryBackend):
    def read(self, task_ids):
        return [found for found in super().read(task_ids) if found]


@broken("R10", "answers once to what is asked twice")
class ReadsOnce(MemoryBackend):
    def read(self, task_ids):
        return super().read(list(dict.fromkeys(task_ids)))


@broken("R10", "reads a hundred records, and no more")
class ReadsAPage(MemoryBackend):
    def read(self, task_ids):
        return [*super().read(task_ids[:100]), *[None] * len(task_ids[100:])]


@broken("R10", "takes ids for the same whose first 250 signs are")
class CutsIds(Ruled):
    def read(self, task_ids):
        return super().read([task_id[:250] for task_id in task_ids])

    def _record(self, transition, now):
        return super()._record(evolve(transition, task_id=transition.task_id[:250]), now)


# R11 to R14: what a record tells


@broken("R11", "keeps the last entry of all")
class LastEntryOnly(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        return after and evolve(after, history={transition.state: StateChange(transition.at, transition.worker)})


@broken("R11", "forgets when a task was first sent")
class SentAnew(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        return after and evolve(
            after, history={**after.history, transition.state: StateChange(transition.at, transition.worker)}
        )


@broken("R11", "keeps times in whole seconds")
class WholeSeconds(Ruled):
    def rule(self, before, transition, now):
        return apply(before, evolve(transition, at=float(round(transition.at))), now)


@broken("R11", "keeps the first entry of each state")
class FirstEntry(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        return after and evolve(after, history={**after.history, **(before.history if before else {})})


@broken("R11", "keeps the start of a run that was given back")
class KeepsTheStart(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        kept = {State.STARTED: before.history[State.STARTED]} if before and State.STARTED in before.history else {}
        return after and evolve(after, history={**kept, **after.history})


@broken("R11", "forgets who has given a task back")
class ForgetsTheRelease(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        if after is None or transition.state is not State.RECEIVED:
            return after
        return evolve(
            after, history={key: change for key, change in after.history.items() if key is not State.RECEIVED}
        )


@broken("R11", "forgets the start of a task when it ends")
class ForgetsTheStart(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        if after is None or transition.state.terminal is False:
            return after
        return evolve(after, history={key: change for key, change in after.history.items() if key is not State.STARTED})


class Renews(MemoryBackend):
    def renewed(self, record, lease, now):
        """The record after a renewal, and whether it is held."""

    def _renew(self, lease, now):
        record = self._store.find(lease.task_id, now)
        if record is None:
            return Renewal(held=False, state=None)
        after, held = self.renewed(record, lease, now)
        self._store.put(after)
        return Renewal(held=held, state=record.state)


@broken("R12", "renews for whoever asks")
class RenewsForAll(Renews):
    def renewed(self, record, lease, now):
        held = record.state is State.STARTED
        return (evolve(record, leased_until=now + lease.seconds), True) if held else (record, False)


@broken("R12", "adds a renewal to what is left")
class RenewsFromTheEnd(Renews):
    def renewed(self, record, lease, now):
        held = record.state is State.STARTED and record.run == lease.run
        return evolve(record, leased_until=record.leased_until + lease.seconds) if held else record, held


@broken("R12", "says that it has renewed, and has not")
class RenewsNothing(Renews):
    def renewed(self, record, lease, now):
        return record, record.state is State.STARTED and record.run == lease.run


@broken("R12", "says to a run that was cancelled that it goes on")
class HidesCancellation(Renews):
    def renewed(self, record, lease, now):
        held = record.run == lease.run
        return evolve(record, leased_until=now + lease.seconds) if held else record, held


@broken("R13", "counts the starts of all attempts")
class CountsAllAttempts(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        new = before is not None and after is not None and after.attempt > before.attempt
        return evolve(after, starts=before.starts + 1) if new else after


@broken("R13", "counts starts that were given back")
class CountsGivenBack(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        return evolve(after, starts=before.starts) if after and before and transition.state is State.RECEIVED else after


@broken("R13", "does not count")
class DoesNotCount(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        return after and evolve(after, starts=min(after.starts, 1))


@broken("R13", "counts a start that its run records again")
class CountsTheSameRun(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        same = before is not None and before.state is State.STARTED and before.run == transition.run
        return (
            evolve(after, starts=before.starts + 1) if after and same and transition.state is State.STARTED else after
        )


def again(before, transition):
    """Whether a run records its start again."""
    started = before is not None and before.state is State.STARTED and transition.state is State.STARTED
    return started and before.run == transition.run and before.attempt == transition.attempt


@broken("R13", "changes nothing when a run records its start again")
class KeepsTheFirstStart(Ruled):
    def rule(self, before, transition, now):
        return before if again(before, transition) else apply(before, transition, now)


@broken("R13", "keeps the payload of the first time when a run records its start again")
class KeepsTheFirstPayload(Ruled):
    def rule(self, before, transition, now):
        return apply(before, evolve(transition, payload=None) if again(before, transition) else transition, now)


@broken("R13", "keeps the lease of the first time when a run records its start again")
class KeepsTheFirstLease(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        return evolve(after, leased_until=before.leased_until) if after and again(before, transition) else after


@broken("R13", "never shortens a lease when a run records its start again")
class NeverShortensALease(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        if not after or not again(before, transition) or None in (before.leased_until, after.leased_until):
            return after
        return evolve(after, leased_until=max(before.leased_until, after.leased_until))


@broken("R13", "counts no more starts than were recorded since one was given back")
class CountsFromWhatWasGivenBack(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        return evolve(after, starts=0) if after is not None and transition.state is State.RECEIVED else after


@broken("R13", "counts one start less when a task is tried again")
class CountsFromZero(Ruled):
    def rule(self, before, transition, now):
        after = apply(before, transition, now)
        new = before is not None and after is not None and after.attempt > before.attempt
        return evolve(after, starts=after.starts - 1) if new and after.starts else after


# R15 to R17: waiting


@broken("R15", "looks only when the time is out")
class WakesNobody(MemoryBackend):
    def wait(self, task_ids, *, timeout_seconds):
        if not self._ended(task_ids):
            pause(timeout_seconds)
        return self._ended(task_ids)


@broken("R15", "wakes one of those who wait")
class WakesOne(MemoryBackend):
    def record(self, transitions):
        with self._store.condition:
            now = self._clock.now()
            outcomes = [self._record(transition, now) for transition in transitions]
            self._store.condition.notify(1)
            return outcomes


@broken("R15", "wakes nobody when a task is forgotten")
class ForgetsInSilence(MemoryBackend):
    def forget(self, task_ids):
        with self._store.condition:
            for task_id in task_ids:
                self._store.drop(task_id)


@broken("R15", "tells the record of before the end")
class TellsTheRecordOfBefore(MemoryBackend):
    def wait(self, task_ids, *, timeout_seconds):
        before = dict(zip(task_ids, self.read(task_ids), strict=True))
        return {task_id: before[task_id] for task_id in super().wait(task_ids, timeout_seconds=timeout_seconds)}


@broken("R16", "listens, and does not look")
class DoesNotLook(MemoryBackend):
    def wait(self, task_ids, *, timeout_seconds):
        with self._store.condition:
            if timeout_seconds:
                self._store.condition.wait(timeout_seconds)
            return self._ended(task_ids)


@broken("R16", "looks first and listens afterwards")
class LooksThenListens(MemoryBackend):
    def wait(self, task_ids, *, timeout_seconds):
        if ended := self._ended(task_ids):
            return ended
        pause(0.02)
        with self._store.condition:
            self._store.condition.wait(timeout_seconds)
            return self._ended(task_ids)


@broken("R17", "is woken by every end")
class WokenByAll(MemoryBackend):
    def wait(self, task_ids, *, timeout_seconds):
        with self._store.condition:
            if not self._ended(task_ids):
                self._store.condition.wait(timeout_seconds)
            return self._ended(task_ids)


@broken("R17", "takes another's end for that of the task")
class TellsAllThatWasAsked(MemoryBackend):
    def wait(self, task_ids, *, timeout_seconds):
        with self._store.condition:
            if self._ended(task_ids):
                return self._ended(task_ids)
            woken = self._store.condition.wait(timeout_seconds)
            return dict.fromkeys(task_ids) if woken else {}


@broken("R17", "does not wait")
class DoesNotWait(MemoryBackend):
    def wait(self, task_ids, *, timeout_seconds):
        return self._ended(task_ids)


MUTANTS = mutants_of(globals())
