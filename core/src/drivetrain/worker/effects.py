"""Effects: performs the effects of `drivetrain.workflow.advance` in batches. Repeating an effect changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from drivetrain.contract import (
    Completion,
    Durability,
    Failure,
    Group,
    GroupProgress,
    GroupRecord,
    Member,
    Plain,
    PublishFailed,
    RunLease,
    State,
    TaskRecord,
    TooLarge,
    Transition,
    evolve,
    exception_name,
)
from drivetrain.worker.downstream import dump_downstream, waits_for
from drivetrain.worker.logs import get_logger
from drivetrain.worker.long_chains import LongChains
from drivetrain.worker.publisher import Publisher, first_due
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.unfinished import Unfinished, error_callbacks
from drivetrain.workflow.advance import (
    Complete,
    Effect,
    End,
    Failed,
    Open,
    Publish,
    Resumed,
    Return,
    Succeeded,
    advance,
)
from drivetrain.workflow.frames import Frames, Invocation
from drivetrain.workflow.wire import dump_frames, load_frames

__all__ = ["GROUP_TASK", "EffectRunner"]

logger = get_logger("drivetrain.worker")

#: The name of the task in the record of a group, which stands for the group as a whole.
GROUP_TASK = "drivetrain.group"

#: How long a failed member that follows up its group keeps the other failed members from doing the same, in seconds.
_CLAIM_SECONDS = 30.0


@frozen
class _Decided:
    """A group that has ended, and its effects. The end is recorded last, so that a crash repeats the effects."""

    end: End
    effects: tuple[Effect, ...]
    #: The failed member that has claimed the group; None: nothing was claimed.
    claim: RunLease | None = None


class EffectRunner:
    """Performs effects with the drivers of an app, for senders and workers alike. Thread-safe."""

    def __init__(self, runtime: Runtime, publisher: Publisher, retrier: Retrier, *, worker: str = "") -> None:
        self._runtime = runtime
        self._publisher = publisher
        self._retrier = retrier
        self._worker = worker
        #: Cuts and loads long chains.
        self.long_chains = LongChains(runtime, retrier)
        #: Whether a rescue can list tasks.
        self._rescuable = runtime.backend.capabilities.lists_tasks
        self._largest_value = runtime.backend.capabilities.largest_value_bytes

    def perform(self, effects: Iterable[Effect], known: Mapping[Member, GroupProgress] | None = None) -> None:
        """Perform effects, and the effects that follow from them.

        Args:
            effects: the effects.
            known: the progress of groups whose members are recorded as complete already.
        """
        effects = list(effects)
        if not effects:
            return
        self._open([effect for effect in effects if isinstance(effect, Open)])
        self._publish([effect for effect in effects if isinstance(effect, Publish)])
        self._end([effect for effect in effects if isinstance(effect, End)])
        if returns := [effect for effect in effects if isinstance(effect, Return)]:
            self._end_replaced(returns)
        if completes := [effect for effect in effects if isinstance(effect, Complete)]:
            self._complete_members(completes, known or {})

    def _open(self, opens: Sequence[Open]) -> None:
        if not opens:
            return
        now, dump = self._runtime.clock.now(), self._runtime.payloads.dump
        groups = [
            Group(
                group_id=one.group_id,
                size=one.size,
                collect=one.collect,
                continuation=dump(dump_frames(one.continuation)),
            )
            for one in opens
        ]
        records = [
            Transition(
                task_id=one.group_id,
                state=State.PENDING,
                at=now,
                task=GROUP_TASK,
                workflow=one.workflow,
                parent=one.parent,
                downstream=dump(
                    dump_downstream(one.continuation, branches=one.branches, largest_bytes=self._largest_value)
                ),
            )
            for one in opens
        ]
        self._retrier.call("open groups", lambda: self._runtime.backend.open_groups(groups))
        self._retrier.call("record", lambda: self._runtime.backend.record(records))

    def _publish(self, effects: Sequence[Publish]) -> None:
        if effects:
            pending = [self.pending(effect) for effect in effects]
            invocations = self.long_chains.cut([effect.invocation for effect in effects])
            try:
                self._publisher.record_and_publish(invocations, pending)
            except PublishFailed as error:
                refused = [one for one in invocations if one.call.id in error.failures]
                self.long_chains.drop(self.long_chains.keys_of(refused))
                raise

    def pending(self, effect: Publish) -> Transition:
        """The transition to PENDING that is recorded before an invocation is published."""
        invocation, now = effect.invocation, self._runtime.clock.now()
        call, frames = invocation.call, invocation.frames
        follows = dump_downstream(frames, rest=invocation.rest, call=call)
        # The record of an announced task names what it waits for. When it is published, it waits for nothing.
        if follows is None and self._worker:
            follows = []
        return Transition(
            task_id=call.id,
            state=State.PENDING,
            at=now,
            worker=self._worker,
            task=call.task,
            queue=call.queue,
            workflow=effect.workflow,
            parent=effect.parent,
            payload=self._pending_payload(invocation, now) if self._rescuable or _is_delayed(invocation) else None,
            downstream=None if follows is None else self._runtime.payloads.dump(follows),
        )

    def _pending_payload(self, invocation: Invocation, now: float) -> bytes | None:
        call = invocation.call
        if call.eta is None and call.delay is None and error_callbacks(invocation) is None:
            return None  # as for most tasks
        return self.unfinished(invocation, due=first_due(call, now)).dump(self._runtime.payloads)

    def unfinished(self, invocation: Invocation, *, due: float | None, failure: Plain = None) -> Unfinished:
        """The payload of an unfinished task, for a rescue and for the next start.

        Args:
            invocation: the invocation of the task.
            due: when its next attempt is due; Unix seconds. None: at once.
            failure: the failure of the previous attempt, plain; None: there is none.
        """
        return Unfinished(
            due=due,
            failure=failure,
            on_error=error_callbacks(invocation) if self._rescuable else None,
        )

    def _end(self, ends: Sequence[End]) -> None:
        if not ends:
            return
        records = [self.ended(one) for one in ends]
        self._retrier.call("record", lambda: self._runtime.backend.record(records))

    def ended(self, end: End) -> Transition:
        """The transition that ends a task or group which did not run."""
        return Transition(
            task_id=end.task_id,
            state=end.state,
            at=self._runtime.clock.now(),
            worker=self._worker,
            task=GROUP_TASK if end.state is State.SUCCESS else "",  # only groups succeed without running
            payload=None if end.failure is None else self._runtime.payloads.dump(end.failure),
            retention=self._runtime.record_retention_seconds(None),
        )

    def _end_replaced(self, returns: Sequence[Return]) -> None:
        """End tasks with the values of their replacements, then perform what follows them."""
        transitions = [self._returned(one) for one in returns]
        outcomes = self._retrier.call("record", lambda: self._runtime.backend.record(transitions))
        follow: list[Effect] = []
        for one, transition, outcome in zip(returns, transitions, outcomes, strict=True):
            state, payload = transition.state, transition.payload
            if not outcome.applied and outcome.before is not None:  # it has ended before
                state, payload = outcome.before.state, outcome.before.payload
            if state is State.SUCCESS:
                follow += advance(one.frames, Succeeded(one.call, one.value), workflow=one.workflow)
            elif state is State.FAILURE:
                failure = None if payload is None else self._runtime.payloads.load(payload)
                follow += advance(one.frames, Failed(failure, one.call), workflow=one.workflow)
        self.perform(follow)

    def _returned(self, one: Return) -> Transition:
        """The transition that ends a replaced task."""
        call, limit = one.call, self._largest_value
        state, payload = State.SUCCESS, self._runtime.payloads.dump(one.value)
        if limit is not None and len(payload) > limit:
            error = TooLarge(f"the result of task {call.id}", len(payload), limit)
            failure = Failure(type=exception_name(TooLarge), message=str(error), task=call.task, task_id=call.id)
            state, payload = State.FAILURE, self._runtime.payloads.dump(self._runtime.registry.codec.encode(failure))
        return Transition(
            task_id=call.id,
            state=state,
            at=self._runtime.clock.now(),
            worker=self._worker,
            task=call.task,
            payload=payload,
            retention=self._runtime.record_retention_seconds(call.retention),
        )

    def _complete_members(self, completes: Sequence[Complete], known: Mapping[Member, GroupProgress]) -> None:
        answers = self._complete(completes, known)
        deciding = [one for one in completes if _decides(one, answers[one.member])]
        # Failures last, so that a failure counts even where a cache has wrong counts of the others.
        ready = {one.member.group_id: one for one in sorted(deciding, key=lambda one: one.failure is not None)}
        decided, gone = self._decide(ready) if ready else ([], [])
        if decided := self._claim(decided):
            self.perform(effect for one in decided for effect in one.effects)
            self._end_claims(decided)
            self._end([one.end for one in decided])
        if unknown := [*(one for one in completes if answers[one.member] is None), *gone]:
            self.perform(self._outward(unknown))

    def _claim(self, decided: Sequence[_Decided]) -> list[_Decided]:
        """The groups that no other failed member has claimed.

        Each failed member finds its group failed, and only one of them sends what follows. It claims the group as a run
        claims a task. If its worker dies, its message is delivered again, and the same member claims the group again.
        """
        claims = [one.claim for one in decided if one.claim is not None]
        if not claims:
            return list(decided)
        now = self._runtime.clock.now()
        transitions = [
            Transition(
                task_id=one.task_id, state=State.STARTED, at=now, worker=self._worker, run=one.run, lease=one.seconds
            )
            for one in claims
        ]
        outcomes = self._retrier.call("claim groups", lambda: self._runtime.backend.record(transitions))
        refused = {one.task_id for one, outcome in zip(claims, outcomes, strict=True) if not outcome.applied}
        return [one for one in decided if one.end.task_id not in refused]

    def _end_claims(self, decided: Sequence[_Decided]) -> None:
        """End the claims of groups that expire: a backend refuses that while a lease lasts."""
        claims = [one.claim for one in decided if one.claim is not None and one.end.state is State.EXPIRED]
        if claims:
            ended = [RunLease(task_id=one.task_id, run=one.run, seconds=0) for one in claims]
            self._retrier.call("end claims", lambda: self._runtime.backend.renew(ended))

    def _complete(
        self, completes: Sequence[Complete], known: Mapping[Member, GroupProgress]
    ) -> Mapping[Member, GroupProgress | None]:
        missing = [one for one in completes if one.member not in known]
        completions = [
            Completion(
                member=one.member,
                payload=self._runtime.payloads.dump(one.value if one.failure is None else one.failure),
                failed=one.failure is not None,
            )
            for one in missing
        ]
        answers: dict[Member, GroupProgress | None] = dict(known)
        if completions:
            progress = self._retrier.call("complete", lambda: self._runtime.backend.complete(completions))
            answers.update(zip((one.member for one in missing), progress, strict=True))
        return answers

    def _outward(self, unknown: Sequence[Complete]) -> list[Effect]:
        """The effects of members whose group has no record: if the group is lost, its outer group fails."""
        forgets = self._runtime.backend.capabilities.durability is Durability.CACHE
        # Other backends keep unfinished groups, so a group without a record has ended.
        lost = {one.member.group_id: one for one in unknown if forgets and one.join.outer is not None}
        for group_id in self._continued(list(lost.values())):
            del lost[group_id]
        for one in unknown:
            if one.member.group_id not in lost:
                logger.warning(
                    "the backend has no record of group %s; ignoring the end of its member %d",
                    *_group_and_index(one.member),
                )
        what = "the group and its continuation"
        return [effect for group_id, one in lost.items() for effect in one.outward(self._lost(group_id, what))]

    def _continued(self, unknown: Sequence[Complete]) -> set[str]:
        """The ids of those groups that have succeeded and expired: their continuation was published."""
        followed = {one.join.then: one.member.group_id for one in unknown if one.join.then}
        if not followed:
            return set()
        records = self._retrier.call("read", lambda: self._runtime.backend.read(list(followed)))
        payloads = self._runtime.payloads
        return {
            followed[record.task_id] for record in records if record is not None and waits_for(record, payloads) is None
        }

    def _decide(self, ready: Mapping[str, Complete]) -> tuple[list[_Decided], list[Complete]]:
        """The ends of these groups with their effects; and the members whose group has no record any more."""
        group_ids, backend = list(ready), self._runtime.backend
        records = self._retrier.call("read", lambda: backend.read(group_ids))
        recorded = {record.task_id: record for record in records if record is not None}
        groups = self._retrier.call("read groups", lambda: backend.read_groups(group_ids))
        decided = [
            self._decided(group, ready[group.group_id], recorded.get(group.group_id))
            for group in groups
            if group is not None
        ]
        gone = [one for one, group in zip(ready.values(), groups, strict=True) if group is None]
        return [one for one in decided if one is not None], gone

    def _decided(self, group: GroupRecord, last: Complete, record: TaskRecord | None) -> _Decided | None:
        state = None if record is None else record.state
        workflow = last.workflow or ("" if record is None else record.workflow)
        if state is not None and state.terminal and state is not State.SUCCESS:
            return None
        continuation = load_frames(self._runtime.payloads.load(group.continuation))
        if group.failed:
            # Later members do not see that the group has failed, except on a cache that has lost its counts.
            return None if last.failure is None else _failed_by(last, continuation, workflow)
        if not continuation:
            return _Decided(End(group.group_id, State.SUCCESS), ())
        payloads = self._retrier.call("read members", lambda: self._runtime.backend.read_members(group.group_id))
        results = [self._runtime.payloads.load(payload) for payload in payloads if payload is not None]
        if len(results) == group.size:
            event = Resumed(results, after=group.group_id)
            return _Decided(End(group.group_id, State.SUCCESS), advance(continuation, event, workflow=workflow))
        if state is State.SUCCESS:
            return None  # its effects were performed before; a cache has dropped members since then
        what = f"the results of {group.size - len(results)} members of the group"
        failed = Failed(self._lost(group.group_id, what))
        return _failed(group.group_id, continuation, failed, workflow)

    def _lost(self, group_id: str, what: str) -> Plain:
        text = f"the backend has lost {what}"
        logger.error("group %s: %s", group_id, text, extra={"task_id": group_id, "task": GROUP_TASK})
        failure = Failure(type="drivetrain.ResultLost", message=text, task=GROUP_TASK, task_id=group_id)
        return self._runtime.registry.codec.encode(failure)


def _is_delayed(invocation: Invocation) -> bool:
    """Whether it is due later: a cancellation must know when, since its record is kept until then."""
    return invocation.call.eta is not None or invocation.call.delay is not None


def _decides(one: Complete, progress: GroupProgress | None) -> bool:
    if progress is None:
        return False  # the group has expired after its end, or a cache has lost it; the caller reports it
    return progress.complete or (progress.failed and one.failure is not None)


def _failed_by(last: Complete, continuation: Frames, workflow: str) -> _Decided:
    """The end of the group that this member fails. What follows from it must be claimed."""
    group_id, index = last.member.group_id, last.member.index
    decided = _failed(group_id, continuation, Failed(last.failure, None, last.state), workflow)
    claim = RunLease(task_id=group_id, run=f"member {index}", seconds=_CLAIM_SECONDS)
    return evolve(decided, claim=claim) if decided.effects else decided


def _failed(group_id: str, continuation: Frames, event: Failed, workflow: str) -> _Decided:
    end = End(group_id, event.state, event.failure)
    return _Decided(end, advance(continuation, event, workflow=workflow))


def _group_and_index(member: Member) -> tuple[str, int]:
    return member.group_id, member.index
