"""Rescue: finds tasks whose message is gone, and ends them as lost.

A task continues when its message is delivered. If the message is gone (an operator deleted a queue, a disk was restored
from a backup), callers would wait for it without end. A rescue finds overdue tasks and searches the queues for their
messages several times. The pause between two searches is longer than any consumer holds a message before it starts. A
task whose message is missing in all searches is ended. If the result is uncertain, the rescue only reports why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from attrs import evolve, frozen

from drivetrain.contract import (
    BrokerCapabilities,
    Failure,
    GroupProgress,
    Hold,
    Member,
    Outcome,
    Plain,
    SerializationError,
    ServiceError,
    State,
    Transition,
)
from drivetrain.worker.downstream import downstream
from drivetrain.worker.effects import EffectRunner
from drivetrain.worker.events import event_of
from drivetrain.worker.logs import get_logger
from drivetrain.worker.message_search import Finding, MessageSearch
from drivetrain.worker.overdue import Overdue, overdue_among, overdue_tasks, state_version
from drivetrain.worker.publisher import Publisher
from drivetrain.worker.retrying import GaveUp, Retrier
from drivetrain.worker.run import log_extra
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.advance import Complete, Failed, advance
from drivetrain.workflow.frames import Call, Invocation, Join

__all__ = ["SEARCHES", "Found", "MissedMessages", "Rescue", "SearchResult", "certainty_seconds"]

logger = get_logger("drivetrain.rescue")

#: A message is gone when this number of searches in a row has missed it.
SEARCHES = 5
#: The pause between two searches, in leases: a message in flight in one search is no longer in flight in the next.
_LEASES_APART = 1.25
#: The longest delay with which workers offer a message that they cannot run to other workers, in seconds.
_LONGEST_OFFER_SECONDS = 10.0
#: The largest number of tasks that one search reports, of those with a missing message, and of uncertain ones.
_MOST_MISSING, _MOST_UNCLEAR = 50_000, 1_000
_MAY_BE_IN_FLIGHT = "its message is in no queue, but a consumer may hold it"


def certainty_seconds(
    broker: BrokerCapabilities, *, lease_seconds: float, version_mismatch_seconds: float
) -> float | None:
    """How long searches must miss a message before it is certainly gone; None: that is never certain. Pure.

    Args:
        broker: the capabilities of the broker.
        lease_seconds: how long workers hold messages, in seconds.
        version_mismatch_seconds: how long a message that a worker cannot run is offered to others, in seconds.
    """
    needed = [(SEARCHES - 1) * _LEASES_APART * lease_seconds]
    if broker.hold is Hold.CONNECTION:
        if broker.longest_hold_seconds is None:
            return None  # a consumer that hangs may hold a message without limit, and no search would see it
        needed.append(2 * broker.longest_hold_seconds)  # held by one consumer, released, and held by the next one
    if not broker.peeks:
        needed.append(2 * version_mismatch_seconds)  # delayed several times in that time, and not visible
    return max(needed)


@frozen(kw_only=True)
class Found:
    """An overdue task, and the result of searching its message. Immutable."""

    overdue: Overdue
    finding: Finding
    #: Why the rescue does not end it; empty: it does.
    reason: str = ""
    #: What was done: ``ended``, ``resumed`` (a group); empty: nothing.
    done: str = ""


@frozen(kw_only=True)
class SearchResult:
    """The result of one search. It leaves out tasks whose message is in a queue: they are only slow. Immutable."""

    #: Tasks whose message is certainly gone.
    lost: Sequence[Found] = ()
    #: Tasks whose message was missed, and may be in flight.
    missing: Sequence[Found] = ()
    #: Tasks whose message may be in a queue.
    unclear: Sequence[Found] = ()
    #: The number of missing and uncertain tasks that are left out, since there are too many.
    more: int = 0
    #: Why nothing was searched; empty: the search was done.
    backlog: str = ""


@frozen
class _Missed:
    version: tuple[object, ...]
    #: When it was missed first, by the monotonic clock.
    since: float
    searches: int


class MissedMessages:
    """Counts how often and how long messages were missed by consecutive searches. Does no I/O."""

    def __init__(self, seconds: float) -> None:
        """Make it.

        Args:
            seconds: how long a message must be missed until it is certainly gone, in seconds.
        """
        self._seconds = seconds
        self._missed: Mapping[str, _Missed] = {}

    def update(self, missing: Iterable[Overdue], now: float) -> Sequence[Overdue]:
        """Add the result of a search; the tasks whose message is certainly gone.

        Args:
            missing: the tasks whose message this search missed. All others are forgotten.
            now: the time of the monotonic clock, in seconds.
        """
        missing = list(missing)
        self._missed = {one.record.task_id: self._again(one, now) for one in missing}
        return [one for one in missing if self._certain(self._missed[one.record.task_id], now)]

    def _again(self, one: Overdue, now: float) -> _Missed:
        before = self._missed.get(one.record.task_id)
        if before is None or before.version != one.version:
            return _Missed(one.version, now, 1)
        return evolve(before, searches=before.searches + 1)

    def _certain(self, missed: _Missed, now: float) -> bool:
        return missed.searches >= SEARCHES and now - missed.since >= self._seconds


class Rescue:
    """Finds tasks whose message is gone, and ends them. Several may work at once; each is used by one thread."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        worker: str,
        lease_seconds: float,
        missed_messages: MissedMessages,
        retrier: Retrier,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Make it.

        Args:
            runtime: whose drivers.
            worker: the worker name that is recorded with the tasks that it ends.
            lease_seconds: how long workers cannot start a task that it is ending, in seconds.
            missed_messages: the results of earlier searches.
            retrier: retries while a service is unavailable.
            stopped: whether to end no more tasks.
        """
        self._runtime = runtime
        self._worker = worker
        self._lease_seconds = lease_seconds
        self._missed_messages = missed_messages
        self._retrier = retrier
        self._stopped = stopped
        self._effect_runner = EffectRunner(runtime, Publisher(runtime, retrier, worker=True), retrier, worker=worker)

    def search(self, overdue_seconds: float) -> SearchResult:
        """Search the messages of overdue tasks, once. Changes nothing.

        Args:
            overdue_seconds: how long tasks must be due, in seconds.

        Raises:
            ServiceError: a service did not answer; this search does not count.
        """
        clock = self._runtime.clock
        now = clock.now()
        messages = MessageSearch(self._runtime.broker, now=now, longest_pause_seconds=self._longest_pause())
        if backlog := messages.backlog():
            self._missed_messages.update((), clock.monotonic())
            return SearchResult(backlog=backlog)
        missing, unclear, more = list[Found](), list[Found](), 0
        for found in (self._find_message(messages, one) for one in overdue_tasks(self._runtime, now - overdue_seconds)):
            if found.finding is Finding.MISSING and len(missing) < _MOST_MISSING:
                missing.append(found)
            elif found.finding is Finding.UNCLEAR and len(unclear) < _MOST_UNCLEAR:
                unclear.append(found)
            elif found.finding is not Finding.FOUND:
                more += 1
        certain = self._missed_messages.update((one.overdue for one in missing), clock.monotonic())
        lost = {one.record.task_id for one in certain}
        return SearchResult(
            lost=[one for one in missing if one.overdue.record.task_id in lost],
            missing=[
                evolve(one, reason=_MAY_BE_IN_FLIGHT) for one in missing if one.overdue.record.task_id not in lost
            ],
            unclear=unclear,
            more=more,
        )

    def find(self, task_ids: Sequence[str]) -> Sequence[Found]:
        """Search the messages of those of these tasks that are unfinished and due.

        Raises:
            ServiceError: a service did not answer.
        """
        now = self._runtime.clock.now()
        records = self._retrier.call("read", lambda: self._runtime.backend.read(task_ids))
        unfinished = [record for record in records if record is not None and not record.state.terminal]
        messages = MessageSearch(self._runtime.broker, now=now, longest_pause_seconds=self._longest_pause())
        return [self._find_message(messages, one) for one in overdue_among(self._runtime, unfinished, now)]

    def end(self, found: Sequence[Found]) -> Sequence[Found]:
        """End tasks and all tasks that depend on them; continue groups whose members have ended. What was done.

        Tasks whose message was found, and tasks that have continued since, are not changed.
        """
        return [self._end(one) for one in found if not self._stopped()]

    def _longest_pause(self) -> float:
        return 2 * max(self._lease_seconds, _LONGEST_OFFER_SECONDS)

    def _find_message(self, messages: MessageSearch, one: Overdue) -> Found:
        if one.message_id is None:
            return Found(overdue=one, finding=Finding.MISSING)
        finding, reason = messages.find(one.message_id, one.queue)
        return Found(overdue=one, finding=finding, reason=reason)

    def _end(self, found: Found) -> Found:
        record = found.overdue.record
        if found.finding is Finding.FOUND:
            return evolve(found, reason="its message is in a queue")
        try:
            done = self._resume(found.overdue) if found.overdue.group is not None else self._end_as_lost(found)
        except GaveUp:
            raise
        except (ServiceError, SerializationError) as error:
            logger.exception("task %s is overdue and cannot be ended", record.task_id, extra=_extra(found.overdue))
            return evolve(found, reason=f"it cannot be ended: {error}")
        return evolve(found, reason="" if done else "it has continued meanwhile", done=done)

    # Groups

    def _resume(self, one: Overdue) -> str:
        """Continue a group as the worker of its last member should have done. Harmless if that worker is only slow."""
        group = one.group
        if group is None:
            raise AssertionError(f"{one.record.task_id} is not a group")
        member = Member(group.group_id, 0)
        progress = GroupProgress(size=group.size, done=group.done, failed=group.failed)
        failure = self._failure(one, "a member failed, and its worker stopped before it continued the group")
        complete = Complete(Join(member.group_id, member.index), None, self._encoded(failure), State.FAILURE)
        logger.warning("group %s is complete but did not continue; continuing it", group.group_id, extra=_extra(one))
        self._effect_runner.perform([complete], {member: progress})
        return "resumed"

    # Tasks

    def _end_as_lost(self, found: Found) -> str:
        """End a task as a worker ends a run: record a start, perform what follows, record the end.

        The start is granted only if no worker runs the task. A worker that receives its message after all has to wait.
        The end is recorded last, so that after a crash the next rescue ends the task.
        """
        one, record = found.overdue, found.overdue.record
        run, attempt = f"rescue.{uuid4().hex}", record.attempt + (record.state is State.RETRY)
        invocation = self._invocation(one, attempt)
        outcome = self._record(one, run, attempt, State.STARTED, lease=self._lease_seconds)
        before = outcome.before
        if not outcome.applied or before is None:
            return ""
        # The same run: the first answer was lost, and the start was requested again.
        if before.run != run and state_version(before) != state_version(record):
            self._record(one, run, attempt, State.RECEIVED)  # release it: it has started since, so it is not lost
            return ""
        failure = self._failure(one, _text(found))
        plain = self._encoded(failure)
        self._effect_runner.perform(advance(invocation.frames, Failed(plain, invocation.call)))
        payload = self._runtime.payloads.dump(plain)
        self._record(one, run, attempt, State.FAILURE, payload=payload, retention=self._runtime.kept_seconds(None))
        logger.warning("task %s is lost: %s", record.task_id, failure.message, extra=log_extra(invocation))
        self._notify(invocation, failure)
        return "ended"

    def _record(self, one: Overdue, run: str, attempt: int, state: State, **fields: Any) -> Outcome:
        now = self._runtime.clock.now()
        transition = Transition(
            task_id=one.record.task_id, state=state, attempt=attempt, at=now, worker=self._worker, run=run, **fields
        )
        (outcome,) = self._retrier.call("record", lambda: self._runtime.backend.record([transition]))
        return outcome

    def _invocation(self, one: Overdue, attempt: int) -> Invocation:
        """The invocation of its message, as far as it is recorded: arguments and headers are not."""
        runtime, record = self._runtime, one.record
        read = runtime.backend.read
        (frames,) = downstream([record], runtime.payloads, lambda ids: self._retrier.call("read", lambda: read(ids)))
        callbacks = one.unfinished.callbacks()
        call = Call(id=record.task_id, task=record.task, queue=one.queue, on_error=callbacks)
        return Invocation(call=call, frames=frames, attempt=attempt)

    def _failure(self, one: Overdue, text: str) -> Failure:
        record = one.record
        return Failure(
            type="drivetrain.ResultLost",
            message=text,
            task=record.task,
            task_id=record.task_id,
            attempt=record.attempt + (record.state is State.RETRY),
        )

    def _encoded(self, failure: Failure) -> Plain:
        return self._runtime.registry.codec.encode(failure)

    def _notify(self, invocation: Invocation, failure: Failure) -> None:
        if self._runtime.observers.watches("task_failed"):
            event = event_of(invocation, self._worker)
            self._runtime.observers.notify("task_failed", event=event, failure=failure)


def _text(found: Found) -> str:
    one = found.overdue
    if found.finding is Finding.UNCLEAR:
        return "an operator has ended it as lost"
    if one.message_id is None:
        return "the backend no longer has the group"
    since = datetime.fromtimestamp(one.since, UTC).isoformat(timespec="seconds")
    whose = "its message" if one.message_id == one.record.task_id else f"the message of task {one.message_id} before it"
    return f"{whose} is gone: it was due at {since}, and is in no queue of the broker"


def _extra(one: Overdue) -> dict[str, str]:
    return {"task_id": one.record.task_id, "task": one.record.task}
