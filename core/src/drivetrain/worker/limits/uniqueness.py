"""Unique tasks in a worker: rescheduled ones get their latest arguments, and ended ones give up their keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen
from msgspec.structs import replace

from drivetrain.contract import Message, ValueWrite, VersionedValue, evolve
from drivetrain.worker.finishing.acknowledging import Acknowledger
from drivetrain.worker.limits.claims import Claim, decode_claim, encode_claim
from drivetrain.worker.limits.due_times import DueTimes
from drivetrain.worker.publisher import EXPIRES_HEADER, SETTLED_HEADER, Publisher, workflow_of
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.run import Run, RunResult
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.frames import UNIQUE_HEADER

__all__ = ["ClaimReleaser", "Rescheduler"]


class ClaimReleaser:
    """Removes the claims of tasks that have ended. Thread-safe.

    A claim ends with the record of its task by itself. This makes room in the backend.
    """

    def __init__(self, runtime: Runtime, retrier: Retrier) -> None:
        self._runtime = runtime
        self._retrier = retrier

    def release(self, results: Sequence[RunResult]) -> None:
        """Remove the claims of results that are terminal and recorded; each only if its own task holds it.

        Raises:
            GaveUp: the worker stops while the backend is unavailable.
        """
        ended = {
            key: result.task_id
            for result in results
            if result.state.terminal and (key := result.invocation.call.headers.get(UNIQUE_HEADER)) is not None
        }
        if not ended:
            return
        stored = self._retrier.call("read claims", lambda: self._runtime.backend.read_values(list(ended)))
        writes = []
        for (key, task_id), one in zip(ended.items(), stored, strict=True):
            claim = None if one is None else decode_claim(one.value, self._runtime.payloads)
            if one is not None and claim is not None and claim.task_id == task_id and claim.until != "time":
                writes.append(ValueWrite(key=key, value=None, if_version=one.version))
        if writes:
            self._retrier.call("release claims", lambda: self._runtime.backend.write_values(writes))


@frozen
class _Decision:
    """What becomes of a run whose task may have been rescheduled; exactly one is set, or none: it is dropped."""

    #: It starts, after this write has taken effect; None: nothing needs to be written.
    close: ValueWrite | None = None
    starts: bool = False
    #: It waits until then; Unix seconds.
    due: float | None = None
    #: It is published again, with the arguments of this claim.
    settle: tuple[Claim, int] | None = None


class Rescheduler:
    """Lets tasks that can be rescheduled start with their latest arguments, when these are due.

    Sending such a task again changes its claim, and not its message: no broker can find a message by its id. So the
    message is published once more with the arguments of the claim, and then the claim is closed. A sender that finds a
    closed claim waits until the task has started, and then sends another one. Used by one thread.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        publisher: Publisher,
        acknowledger: Acknowledger,
        due_times: DueTimes,
        retrier: Retrier,
    ) -> None:
        self._runtime = runtime
        self._due_times = due_times
        self._publisher = publisher
        self._acknowledger = acknowledger
        self._retrier = retrier

    def startable(self, runs: Sequence[Run], now: float) -> list[Run]:
        """The runs that may start now, in order; the deliveries of the other ones are settled.

        Raises:
            GaveUp: the worker stops while a service is unavailable.
        """
        pending = {run.id: (run, run.invocation.call.headers[UNIQUE_HEADER]) for run in runs if _reschedules(run)}
        if not pending:
            return list(runs)
        keys = [key for _, key in pending.values()]
        stored = self._retrier.call("read claims", lambda: self._runtime.backend.read_values(keys))
        left_out = set[str]()
        current = dict(zip(pending, stored, strict=True))
        while pending:
            decisions = {run_id: self._decide(run, key, current[run_id], now) for run_id, (run, key) in pending.items()}
            refused = self._close(decisions, current)
            pending_runs = {run_id: run for run_id, (run, _) in pending.items()}
            left_out |= self._settle(pending_runs, decisions, now)
            pending = {run_id: entry for run_id, entry in pending.items() if run_id in refused}
        return [run for run in runs if run.id not in left_out]

    def _decide(self, run: Run, key: str, stored: VersionedValue | None, now: float) -> _Decision:
        claim = None if stored is None else decode_claim(stored.value, self._runtime.payloads)
        if stored is None or claim is None or claim.task_id != run.task_id:
            return _Decision(starts=True)
        settled = int(run.delivery.message.headers.get(SETTLED_HEADER, "0"))
        if claim.closed:
            return _Decision(starts=claim.settled in (0, settled))
        if claim.due is not None and claim.due > now:
            return _Decision(due=claim.due)
        if claim.args is not None and settled != stored.version:
            return _Decision(settle=(claim, stored.version))
        closed = replace(claim, closed=True, settled=settled)
        value = encode_claim(closed, self._runtime.payloads)
        return _Decision(starts=True, close=ValueWrite(key=key, value=value, if_version=stored.version))

    def _close(self, decisions: Mapping[str, _Decision], current: dict[str, VersionedValue | None]) -> set[str]:
        """Close claims; the ids of the runs whose claim has changed meanwhile, with the present one in ``current``."""
        closing = {run_id: one.close for run_id, one in decisions.items() if one.close is not None}
        if not closing:
            return set()
        writes = list(closing.values())
        outcomes = self._retrier.call("close claims", lambda: self._runtime.backend.write_values(writes))
        refused = set[str]()
        for (run_id, write), outcome in zip(closing.items(), outcomes, strict=True):
            same = outcome.current is not None and outcome.current.value == write.value  # a reply was lost
            if not outcome.written and not same:
                refused.add(run_id)
                current[run_id] = outcome.current
        return refused

    def _settle(self, runs: Mapping[str, Run], decisions: Mapping[str, _Decision], now: float) -> set[str]:
        """Settle the deliveries of runs that do not start; their ids."""
        out = {run_id: runs[run_id] for run_id, one in decisions.items() if not one.starts}
        later = [(runs[run_id], one.due) for run_id, one in decisions.items() if one.due is not None]
        if later:
            self._due_times.record([(run, due, None) for run, due in later])
            self._publisher.publish_later([(run.delivery, due, _NO_HEADERS) for run, due in later])
            self._acknowledger.acknowledge_copied([run.delivery for run, _ in later])
        settling = [(runs[run_id], *one.settle) for run_id, one in decisions.items() if one.settle is not None]
        self._publisher.publish_messages([self._settled(run, claim, version, now) for run, claim, version in settling])
        gone = out.keys() - {run.id for run, _ in later}
        if gone:
            self._acknowledger.acknowledge([out[run_id].delivery for run_id in gone])
        return set(out)

    def _settled(self, run: Run, claim: Claim, version: int, now: float) -> Message:
        call = replace(
            run.invocation.call,
            args=tuple(claim.args or ()),
            kwargs=claim.kwargs or {},
            eta=None,
            delay=None,
            expires_after=None,
            expires_at=None,
        )
        message = self._publisher.message(
            replace(run.invocation, call=call), now, workflow=workflow_of(run.delivery.message)
        )
        headers = {**message.headers, SETTLED_HEADER: str(version)}
        if (expires := run.delivery.message.headers.get(EXPIRES_HEADER)) is not None:
            headers[EXPIRES_HEADER] = expires
        return evolve(message, headers=headers)


_NO_HEADERS: Mapping[str, str] = {}


def _reschedules(run: Run) -> bool:
    unique, invocation = run.definition.unique, run.invocation
    reschedules = unique is not None and unique.spec.on_conflict == "reschedule"
    return reschedules and invocation.attempt == 0 and UNIQUE_HEADER in invocation.call.headers
