"""Broken brokers and backends under real workers."""

from __future__ import annotations

import threading
from collections.abc import Callable

from drivetrain.contract import (
    BackendCapabilities,
    Durability,
    GroupProgress,
    Outcome,
    QueueSection,
    State,
    TaskReach,
    evolve,
)
from drivetrain.drivers.memory import MemoryBackend, MemoryBroker
from drivetrain_contract_tests import Pair, Service
from drivetrain_contract_tests.workflows.faults import Faults, Proxy
from mutants.mutant import Mutant
from mutants.workflow_base import contract_of, name_of, pair

__all__ = ["MUTANTS"]


# Brokers


class LosesTheLast(MemoryBroker):
    def publish(self, messages):
        super().publish(messages[:-1] if len(messages) > 2 else messages)


class LosesAHeader(MemoryBroker):
    header = ""

    def publish(self, messages):
        super().publish([self.changed(message) for message in messages])

    def changed(self, message):
        headers = {name: text for name, text in message.headers.items() if name != self.header}
        return evolve(message, headers=headers)


class LosesExpiry(LosesAHeader):
    header = "drivetrain-expires"


class LosesEta(LosesAHeader):
    header = "drivetrain-eta"

    def changed(self, message):
        return evolve(super().changed(message), eta=None)


class LosesEtaBeyondItsLongest(LosesAHeader):
    header = "drivetrain-eta"


class Truncates(MemoryBroker):
    """Keeps as much of a body as there is room for."""

    def publish(self, messages):
        super().publish([evolve(message, body=message.body[:512]) for message in messages])


class AcknowledgesAtReceipt(MemoryBroker):
    def receive(self, queues, **options):
        received = super().receive(queues, **options)
        super().acknowledge(received)
        return received


class HandsOutOnce(MemoryBroker):
    """What comes back to it when a hold ends is dropped."""

    def receive(self, queues, **options):
        received = super().receive(queues, **options)
        again = [one for one in received if one.redelivered]
        super().acknowledge(again)
        return [one for one in received if not one.redelivered]


class LosesWhatIsReleased(MemoryBroker):
    def release(self, deliveries, *, delay_seconds=0.0):
        super().acknowledge(deliveries)


class ReleasesNothing(MemoryBroker):
    def release(self, deliveries, *, delay_seconds=0.0):
        pass


class AcknowledgesTheNext(MemoryBroker):
    """Counts acknowledgements; one that is repeated is taken for another one."""

    def acknowledge(self, deliveries):
        known = [one for one in deliveries if any(super(AcknowledgesTheNext, self).extend([one], hold_seconds=30))]
        super().acknowledge(known)
        if not known and deliveries:
            super().acknowledge(super().receive(["default"], limit=1, wait_seconds=0, hold_seconds=30))


class DropsDeadLetters(MemoryBroker):
    def dead_letter(self, letters):
        super().acknowledge([delivery for delivery, _ in letters])


class DropsReasons(MemoryBroker):
    def dead_letter(self, letters):
        super().dead_letter([(delivery, "") for delivery, _ in letters])


# Backends


class Changed(MemoryBackend):
    """Writes what the rule of the contract refuses."""

    def record(self, transitions):
        with self._store.condition:
            return [self.one(wish) for wish in transitions]

    def one(self, wish):
        before = self._store.find(wish.task_id, self._clock.now())
        if before is not None and self.overrules(before, wish):
            self._store.put(evolve(before, state=State.PENDING, leased_until=None, run=None, expires_at=None))
        (outcome,) = super().record([wish])
        return evolve(outcome, before=before)

    def overrules(self, before, wish):
        raise NotImplementedError


class StartsWhatHasEnded(Changed):
    def overrules(self, before, wish):
        return before.state.terminal and wish.state is State.STARTED


class SucceedsWhatIsCancelled(Changed):
    def overrules(self, before, wish):
        return before.state is State.CANCELLED and wish.state is State.SUCCESS


class StartsWhatIsCancelled(Changed):
    def overrules(self, before, wish):
        return before.state is State.CANCELLED and wish.state is State.STARTED


class TrustsFormerRuns(MemoryBackend):
    """Takes the word of any run, also of one that another has taken over from."""

    def record(self, transitions):
        return super().record([self.forged(wish) for wish in transitions])

    def forged(self, wish):
        (record,) = self.read([wish.task_id])
        return wish if record is None or not wish.state.terminal else evolve(wish, run=record.run)


class StartsWhileOthersRun(Changed):
    def overrules(self, before, wish):
        return before.state is State.STARTED and wish.state is State.STARTED and before.run != wish.run


class RefusesRetries(MemoryBackend):
    def record(self, transitions):
        return [self.one(wish) for wish in transitions]

    def one(self, wish):
        if wish.state is State.STARTED and wish.attempt > 0:
            return Outcome(applied=False, before=self.read([wish.task_id])[0])
        return super().record([wish])[0]


class TellsAfterwards(MemoryBackend):
    """Completes a member in one step and counts in another; meanwhile others complete theirs."""

    def record(self, transitions):
        outcomes = super().record(transitions)
        for outcome in outcomes:
            if outcome.group is not None and outcome.group.done == outcome.group.size - 1:
                self.await_the_last(transitions)
        return [self.counted(*each) for each in zip(transitions, outcomes, strict=True)]

    def await_the_last(self, transitions):
        groups = [self._store.groups[wish.member.group_id] for wish in transitions if wish.member is not None]
        with self._store.condition:
            self._store.condition.wait_for(lambda: all(len(one.members) == one.group.size for one in groups), 0.5)

    def counted(self, wish, outcome):
        if outcome.group is None:
            return outcome
        (group,) = self.read_groups([wish.member.group_id])
        return outcome if group is None else evolve(outcome, group=evolve(outcome.group, done=group.done))


class TellsNobody(MemoryBackend):
    """One short: the completer of the last member gets a count without it."""

    def record(self, transitions):
        return [
            one if one.group is None else evolve(one, group=evolve(one.group, done=one.group.done - 1))
            for one in super().record(transitions)
        ]


class OutOfOrder(MemoryBackend):
    def read_members(self, group_id):
        with self._store.condition:
            found = self._store.groups.get(group_id)
            return [] if found is None else list(found.members.values())


class FirstForAll(MemoryBackend):
    def read_members(self, group_id):
        members = super().read_members(group_id)
        return [members[0]] * len(members) if members else members


class NeverTells(MemoryBackend):
    """Waiting callers get no notification."""

    def wait(self, task_ids, *, timeout_seconds):
        threading.Event().wait(min(timeout_seconds, 1.0))
        return {}


class MissesTheEnd(MemoryBackend):
    """Forgets failures that nobody ran into: what waits for a task stays pending."""

    def record(self, transitions):
        return [
            Outcome(applied=False, before=None)
            if wish.run is None and wish.state in {State.FAILURE, State.EXPIRED, State.CANCELLED}
            else super(MissesTheEnd, self).record([wish])[0]
            for wish in transitions
        ]


class CountsOnWithoutWhatItDropped(MemoryBackend):
    """A cache that counts the members of a group that it has dropped from there on."""

    capabilities = evolve(MemoryBackend.capabilities, durability=Durability.CACHE, notifies=False)

    def complete(self, completions):
        told = super().complete(completions)
        return [self.told(*each) for each in zip(completions, told, strict=True)]

    def record(self, transitions):
        outcomes = super().record(transitions)
        return [
            one if wish.member is None or not one.applied else evolve(one, group=self.told(wish, one.group))
            for wish, one in zip(transitions, outcomes, strict=True)
        ]

    def told(self, ended, progress):
        return progress or GroupProgress(size=ended.member.index + 2, done=1)


class KeepsForEver(MemoryBackend):
    """A retention of zero is read as none."""

    def record(self, transitions):
        return super().record([evolve(wish, retention=wish.retention or None) for wish in transitions])

    def shorten_retention(self, task_ids, *, retention_seconds):
        if retention_seconds:
            super().shorten_retention(task_ids, retention_seconds=retention_seconds)


class ForgetsGroupsOfMembers(MemoryBackend):
    """The data of a group goes with the record of its first member that goes."""

    def record(self, transitions):
        outcomes = super().record(transitions)
        for wish in transitions:
            if wish.member is not None and wish.retention == 0:
                self.forget([wish.member.group_id])
        return outcomes


class KeepsOneBody(MemoryBackend):
    def store_bodies(self, bodies):
        with self._store.condition:
            self._store.bodies.clear()
        super().store_bodies(bodies)


class CutsBodies(MemoryBackend):
    def store_bodies(self, bodies):
        super().store_bodies({key: body[:4096] for key, body in bodies.items()})


class KeepsBodies(MemoryBackend):
    def drop_bodies(self, keys):
        pass


class DropsBodiesAtOnce(MemoryBackend):
    """A body is gone once its message has been published."""

    def store_bodies(self, bodies):
        super().store_bodies(bodies)
        self.drop_bodies(list(bodies))


class Null(MemoryBackend):
    """Keeps nothing, and does not say so."""

    capabilities = BackendCapabilities(durability=Durability.NONE, shared=False)

    def record(self, transitions):
        return [Outcome(applied=True, before=None) for _ in transitions]


class CollectsNothing(MemoryBackend):
    def open_groups(self, groups):
        super().open_groups([evolve(group, collect=False) for group in groups])


# A service that can be stopped


def restartable(lose: Callable[[list[MemoryBroker], list[MemoryBackend]], None]):
    """A pair that can be stopped and started; ``lose`` is what happens meanwhile."""
    switch, brokers, backends = Faults(), [], []

    def make_broker(url, context):
        brokers.append(MemoryBroker(name_of(url), context.clock))
        return Proxy(brokers[-1], switch, durability=Durability.PROCESS)

    def make_backend(url, context):
        backends.append(MemoryBackend(name_of(url), context.clock))
        return Proxy(backends[-1], switch, durability=Durability.PROCESS)

    def start():
        lose(brokers, backends)
        switch.away.clear()

    return Pair(
        Service(broker_maker=make_broker, stop=switch.away.set, start=start), Service(backend_maker=make_backend)
    )


def lose_delayed(brokers, _backends):
    brokers[-1].purge("default", QueueSection.DELAYED)


def lose_ready(brokers, _backends):
    brokers[-1].purge("default", QueueSection.READY)


def lose_records(_brokers, backends):
    backends[-1].forget(
        [record.task_id for record in backends[-1].list_tasks(TaskReach.UNFINISHED.states, limit=1000).records]
    )


MUTANTS = [
    Mutant(name=name, clause=clause, contract=contract_of(clause), service=service)
    for clause, name, service in (
        ("W1", "gives the first member's result for all", lambda: pair(backend=FirstForAll)),
        ("W1", "forgets that a group collects failures", lambda: pair(backend=CollectsNothing)),
        ("W2", "loses the last message of a batch", lambda: pair(LosesTheLast)),
        ("W3", "tells every late finisher that the group is complete", lambda: pair(backend=TellsAfterwards)),
        ("W3", "gives results in the order of completion", lambda: pair(backend=OutOfOrder)),
        ("W3", "reports completion to nobody", lambda: pair(backend=TellsNobody)),
        ("W4", "never tells who waits", lambda: pair(backend=NeverTells)),
        ("W4", "drops the end of what was not run", lambda: pair(backend=MissesTheEnd)),
        ("W4", "counts on without what it has dropped", lambda: pair(backend=CountsOnWithoutWhatItDropped)),
        ("W5", "refuses a second attempt", lambda: pair(backend=RefusesRetries)),
        ("W5", "forgets when a retry is due", lambda: pair(LosesEta)),
        ("W6", "forgets when a message is due", lambda: pair(LosesEta)),
        ("W6", "forgets the rest of a delay beyond its longest", lambda: pair(LosesEtaBeyondItsLongest)),
        ("W7", "forgets when a message expires", lambda: pair(LosesExpiry)),
        ("W8", "lets a late success overwrite a cancellation", lambda: pair(backend=SucceedsWhatIsCancelled)),
        ("W8", "starts what is cancelled", lambda: pair(backend=StartsWhatIsCancelled)),
        ("W9", "truncates bodies", lambda: pair(Truncates)),
        ("W10", "acknowledges at receipt", lambda: pair(AcknowledgesAtReceipt)),
        ("W10", "starts what has ended", lambda: pair(backend=StartsWhatHasEnded)),
        ("W11", "delivers a message once only", lambda: pair(HandsOutOnce)),
        ("W11", "takes a repeated acknowledgement for another", lambda: pair(AcknowledgesTheNext)),
        ("W12", "overwrites a terminal state by a late start", lambda: pair(backend=StartsWhatHasEnded)),
        ("W12", "starts what another worker runs", lambda: pair(backend=StartsWhileOthersRun)),
        ("W13", "takes the word of a run that was replaced", lambda: pair(backend=TrustsFormerRuns)),
        ("W14", "drops dead letters", lambda: pair(DropsDeadLetters)),
        ("W14", "drops the reasons of dead letters", lambda: pair(DropsReasons)),
        ("W15", "reads a retention of zero as none", lambda: pair(backend=KeepsForEver)),
        ("W15", "forgets a group with its first member", lambda: pair(backend=ForgetsGroupsOfMembers)),
        ("W16", "keeps one body only", lambda: pair(backend=KeepsOneBody)),
        ("W16", "cuts large bodies", lambda: pair(backend=CutsBodies)),
        ("W16", "never drops bodies", lambda: pair(backend=KeepsBodies)),
        ("W16", "drops bodies at once", lambda: pair(backend=DropsBodiesAtOnce)),
        ("W17", "keeps nothing and does not say so", lambda: pair(backend=Null)),
        ("W18", "loses delayed messages at a restart", lambda: restartable(lose_delayed)),
        ("W18", "loses waiting messages at a restart", lambda: restartable(lose_ready)),
        ("W18", "loses unfinished records at a restart", lambda: restartable(lose_records)),
        ("W19", "loses what is released", lambda: pair(LosesWhatIsReleased)),
        ("W19", "lets holds end by themselves in place of a release", lambda: pair(ReleasesNothing)),
    )
]
