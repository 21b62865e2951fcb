"""Doing what `drivetrain.workflow.advance` says, in batches. Doing it twice is doing it once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from drivetrain.contract import Completion, Failure, Group, GroupProgress, GroupRecord, Member, Plain, State, Transition
from drivetrain.worker.patience import Patience
from drivetrain.worker.publisher import Publisher
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.advance import Complete, Effect, End, Failed, Open, Publish, Resumed, advance
from drivetrain.workflow.frames import Invocation
from drivetrain.workflow.wire import dump_frames, load_frames, skeleton

__all__ = ["GROUP_TASK", "FollowUp"]

logger = logging.getLogger("drivetrain.worker")

#: The name of the task in the record of a group, which stands for the group as a whole.
GROUP_TASK = "drivetrain.group"


@frozen
class _Decided:
    """A group that has ended, and what that leads to. Recorded last, so that a crash before is made good."""

    end: End
    effects: tuple[Effect, ...]


class FollowUp:
    """Performs effects with the drivers of an app, for senders and workers alike. Thread-safe."""

    def __init__(self, runtime: Runtime, publisher: Publisher, patience: Patience, *, worker: str = "") -> None:
        self._runtime = runtime
        self._publisher = publisher
        self._patience = patience
        self._worker = worker

    def perform(self, effects: Iterable[Effect], known: Mapping[Member, GroupProgress] | None = None) -> None:
        """Do ``effects``, and what they lead to.

        Args:
            effects: what to do.
            known: how groups stand whose members are complete already.
        """
        effects = list(effects)
        if not effects:
            return
        self._open([effect for effect in effects if isinstance(effect, Open)])
        self._publish([effect.invocation for effect in effects if isinstance(effect, Publish)])
        self._end([effect for effect in effects if isinstance(effect, End)])
        decided = self._complete([effect for effect in effects if isinstance(effect, Complete)], known or {})
        if decided:
            self.perform(effect for one in decided for effect in one.effects)
            self._end([one.end for one in decided])

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
                downstream=dump(skeleton(one.continuation)) if one.continuation else None,
            )
            for one in opens
        ]
        self._patience.call("open groups", lambda: self._runtime.backend.open_groups(groups))
        self._patience.call("record", lambda: self._runtime.backend.record(records))

    def _publish(self, invocations: Sequence[Invocation]) -> None:
        if not invocations:
            return
        pending = [self.pending(invocation) for invocation in invocations]
        self._publisher.record_and_publish(invocations, pending)

    def pending(self, invocation: Invocation) -> Transition:
        """What is recorded of an invocation before it is published."""
        frames = invocation.frames
        # What was announced with its workflow says in what it waits; once it is published, it waits for nothing.
        tells = frames or self._worker
        return Transition(
            task_id=invocation.call.id,
            state=State.PENDING,
            at=self._runtime.clock.now(),
            worker=self._worker,
            task=invocation.call.task,
            downstream=self._runtime.payloads.dump(skeleton(frames)) if tells else None,
        )

    def _end(self, ends: Sequence[End]) -> None:
        if not ends:
            return
        now, kept = self._runtime.clock.now(), self._runtime.kept_seconds(None)
        records = [
            Transition(
                task_id=one.task_id,
                state=one.state,
                at=now,
                worker=self._worker,
                task=GROUP_TASK if one.state is State.SUCCESS else "",  # only groups end well without being run
                payload=None if one.failure is None else self._runtime.payloads.dump(one.failure),
                retention=kept,
            )
            for one in ends
        ]
        self._patience.call("record", lambda: self._runtime.backend.record(records))

    def _complete(self, completes: Sequence[Complete], known: Mapping[Member, GroupProgress]) -> list[_Decided]:
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
            progress = self._patience.call("complete", lambda: self._runtime.backend.complete(completions))
            answers.update(zip((one.member for one in missing), progress, strict=True))
        ready = {one.member.group_id: one for one in completes if self._decides(one, answers[one.member])}
        return self._decide(ready) if ready else []

    def _decides(self, one: Complete, progress: GroupProgress | None) -> bool:
        if progress is None:
            # Expired after it had ended, or lost by a backend that forgets: said, never waited for.
            logger.warning("group %s is not known to the backend; its member %d ends here", *_place(one.member))
            return False
        return progress.complete or (progress.failed and one.failure is not None)

    def _decide(self, ready: Mapping[str, Complete]) -> list[_Decided]:
        group_ids = list(ready)
        backend = self._runtime.backend
        states = {
            record.task_id: record.state
            for record in self._patience.call("read", lambda: backend.read(group_ids))
            if record is not None
        }
        groups = self._patience.call("read groups", lambda: backend.read_groups(group_ids))
        decided = [
            self._decided(group, ready[group.group_id], states.get(group.group_id))
            for group in groups
            if group is not None
        ]
        return [one for one in decided if one is not None]

    def _decided(self, group: GroupRecord, last: Complete, state: State | None) -> _Decided | None:
        if state is not None and state.terminal and state is not State.SUCCESS:
            return None
        continuation = load_frames(self._runtime.payloads.load(group.continuation))
        if group.failed:
            event = Failed(last.failure, None, last.state)
            return _Decided(End(group.group_id, last.state, last.failure), advance(continuation, event))
        if not continuation:
            return _Decided(End(group.group_id, State.SUCCESS), ())
        payloads = self._patience.call("read members", lambda: self._runtime.backend.read_members(group.group_id))
        results = [self._runtime.payloads.load(payload) for payload in payloads if payload is not None]
        if len(results) < group.size:
            if state is State.SUCCESS:
                return None  # all that follows was done before that was recorded; a cache has dropped members since
            failure = self._lost(group.group_id, group.size - len(results))
            return _Decided(End(group.group_id, State.FAILURE, failure), advance(continuation, Failed(failure)))
        return _Decided(End(group.group_id, State.SUCCESS), advance(continuation, Resumed(results)))

    def _lost(self, group_id: str, number: int) -> Plain:
        text = f"the backend has lost the results of {number} members of the group"
        logger.error("group %s: %s", group_id, text, extra={"task_id": group_id, "task": GROUP_TASK})
        failure = Failure(type="drivetrain.ResultLost", message=text, task=GROUP_TASK, task_id=group_id)
        return self._runtime.registry.codec.encode(failure)


def _place(member: Member) -> tuple[str, int]:
    return member.group_id, member.index
