"""Records the starts of runs, and settles deliveries whose start is refused."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TypeAlias

from msgspec.structs import replace

from drivetrain.contract import Outcome, SerializationError, State, TaskRecord, Transition
from drivetrain.worker.finishing.acknowledging import Acknowledger
from drivetrain.worker.finishing.finisher import Finisher
from drivetrain.worker.in_flight import InFlight
from drivetrain.worker.logs import get_logger
from drivetrain.worker.lone_starts import LoneStart, lone_start
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.readiness import ready_since
from drivetrain.worker.receiving.rejecting import Rejecter
from drivetrain.worker.results import ResultFactory
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.run import Run, RunResult, log_extra
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.settlements import Settlements
from drivetrain.worker.start_decision import StartDecision, decide_start, max_shared_starts
from drivetrain.worker.unfinished import Unfinished

__all__ = ["Starter"]

logger = get_logger("drivetrain.worker")

#: A run, what became of its start, and what is done with it.
_Decided: TypeAlias = tuple[Run, Outcome, StartDecision]

#: The shortest delay of a message whose task another worker runs, in seconds.
_SHORTEST_BUSY_SECONDS = 0.05


class Starter:
    """Records starts, and puts the started runs in flight. Used by one thread."""

    def __init__(
        self,
        runtime: Runtime,
        options: WorkerOptions,
        *,
        finisher: Finisher,
        rejecter: Rejecter,
        acknowledger: Acknowledger,
        retrier: Retrier,
        settlements: Settlements,
        in_flight: InFlight,
    ) -> None:
        self._runtime = runtime
        self._options = options
        self._stores = runtime.backend.capabilities.stores
        self._shared_starts = max_shared_starts(options.max_starts)
        self._finisher = finisher
        self._rejecter = rejecter
        self._acknowledger = acknowledger
        self._retrier = retrier
        self._settlements = settlements
        self._in_flight = in_flight
        self._results = ResultFactory(runtime)

    def start(self, runs: Sequence[Run], now: float) -> list[Run]:
        """Record starts; the runs that have started. The deliveries of the other ones are settled.

        Args:
            runs: the requested runs.
            now: when they start, in Unix seconds.
        """
        if not runs:
            return []
        transitions = [self._transition(run, now) for run in runs]
        outcomes = self._retrier.call("start", lambda: self._runtime.backend.record(transitions))
        decisions = [
            (run, outcome, self._decide(run, outcome, transition))
            for run, outcome, transition in zip(runs, outcomes, transitions, strict=True)
        ]
        taken_over = _taken_over_runs(decisions)
        self._log_starts(decisions, taken_over)
        self._record_take_overs(taken_over, now)
        started = []
        for run, outcome, decision in decisions:
            run.ready_at = ready_since(run.delivery.message.headers, run.ready_at, outcome.before)
            if decision is StartDecision.RUN:
                started.append(run)
        self._in_flight.add(started)
        others = [entry for entry in decisions if entry[2] is not StartDecision.RUN]
        try:
            started += self._settle_refused(others, now)
        except BaseException:  # raised again: the started runs will not run, so their leases must expire
            self._in_flight.remove(started)
            raise
        return started

    def _decide(self, run: Run, outcome: Outcome, transition: Transition) -> StartDecision:
        if not self._stores and _earlier_deliveries(run) >= self._shared_starts:
            return StartDecision.SUSPECT
        return decide_start(outcome, transition, shared_starts=self._shared_starts)

    def _transition(self, run: Run, now: float) -> Transition:
        return Transition(
            task_id=run.task_id,
            state=State.STARTED,
            attempt=run.invocation.attempt,
            at=now,
            worker=self._options.name,
            task=run.invocation.call.task,
            run=run.id,
            lease=self._options.lease_seconds,
            received_at=run.received_at,
        )

    def _log_starts(self, decisions: Sequence[_Decided], taken_over: Sequence[_Decided]) -> None:
        """Log which runs were taken over from another worker; at the level DEBUG, every other start too."""
        for run, outcome, _ in taken_over:
            if outcome.before is not None:
                _log_take_over(run, outcome.before)
        if logger.isEnabledFor(logging.DEBUG):
            logged = {id(run) for run, _, _ in taken_over}
            for run, outcome, _ in decisions:
                if outcome.applied and id(run) not in logged:
                    attempt, queue = run.invocation.attempt, run.delivery.message.queue
                    logger.debug("starting attempt %d from queue %s", attempt, queue, extra=log_extra(run.invocation))

    def _record_take_overs(self, taken_over: Sequence[_Decided], now: float) -> None:
        """Record from which workers runs were taken over: their starts again, with a payload. Suspects do it later."""
        transitions = []
        for run, outcome, decision in taken_over:
            if decision is StartDecision.RUN and (before := outcome.before) is not None:
                try:
                    known = _taken_over(Unfinished.load(self._runtime.payloads, before), before)
                except SerializationError:
                    continue  # a newer version has written it; the payload is for operators here
                payload = known.dump(self._runtime.payloads)
                transitions.append(replace(self._transition(run, now), payload=payload))
        if transitions:
            self._retrier.call("start", lambda: self._runtime.backend.record(transitions))

    def _settle_refused(self, decisions: Sequence[tuple[Run, Outcome, StartDecision]], now: float) -> list[Run]:
        """Settle deliveries that must not run as usual; the suspects among them, which are in flight from now on."""
        results, suspects = [], []
        for run, outcome, decision in decisions:
            before, result = outcome.before, None
            if decision is StartDecision.SUSPECT:
                result = self._start_suspect(run, before)
                if run.lone is not None:
                    suspects.append(run)
            elif decision is StartDecision.BUSY and before is not None:
                self._release_busy(run, before, now)
            elif decision is StartDecision.STALE or before is None:
                self._acknowledger.acknowledge([run.delivery])
            else:
                result = self._recorded_result(run, before)
            if result is not None:
                results.append(result)
        self._finisher.settle(results)
        self._in_flight.add(suspects)
        return suspects

    def _recorded_result(self, run: Run, before: TaskRecord) -> RunResult | None:
        try:
            return self._results.recorded(run.delivery, run.invocation, before)
        except SerializationError as error:
            self._dead_letter_unreadable(run, error)
            return None

    def _release_busy(self, run: Run, before: TaskRecord, now: float) -> None:
        remaining = self._options.lease_seconds if before.leased_until is None else before.leased_until - now
        delay = min(max(remaining, _SHORTEST_BUSY_SECONDS), self._options.lease_seconds)
        longest = self._runtime.broker.capabilities.longest_delay_seconds
        if longest is not None:
            delay = min(delay, longest)
        self._settlements.release([run.delivery], delay_seconds=delay)

    # Suspects

    def _start_suspect(self, run: Run, before: TaskRecord | None) -> RunResult | None:
        """Give a suspect its lone start; its result, if it has no starts left."""
        try:
            run.lone = self._lone_start(run, before)
        except SerializationError as error:
            self._dead_letter_unreadable(run, error)
            return None
        return None if run.lone is not None else self._results.crashed(run, self._crash(run, before))

    def _dead_letter_unreadable(self, run: Run, error: SerializationError) -> None:
        self._rejecter.dead_letter(run.delivery, run.invocation, f"its record cannot be read: {error}", error)

    def _lone_start(self, run: Run, before: TaskRecord | None) -> LoneStart | None:
        limit = self._options.max_starts
        if before is not None:
            known = _taken_over(Unfinished.load(self._runtime.payloads, before), before)
            return lone_start(known, max_starts=limit, tally=f"started {before.starts + 1} times")
        # Nothing is stored, and earlier deliveries may have been released. So only a lone start decides.
        earlier = _earlier_deliveries(run)
        lone = min(earlier - self._shared_starts, limit - self._shared_starts - 1)
        tally = f"delivered {earlier + 1} times"
        return lone_start(Unfinished(lone_starts=max(0, lone)), max_starts=limit, tally=tally)

    def _crash(self, run: Run, before: TaskRecord | None) -> str:
        """How a suspect without starts left has killed its workers, in words."""
        if before is None:
            return f"delivered {_earlier_deliveries(run)} times before and never finished"
        lone = Unfinished.load(self._runtime.payloads, before).lone_starts
        if lone == 0:
            return "started once and never finished; with max_starts = 1 it is not started again"
        tally = f"started {before.starts} times and never finished, {lone} of them alone"
        return f"{tally}; the last time its worker ran nothing else and disappeared"


def _taken_over_runs(decisions: Sequence[_Decided]) -> list[_Decided]:
    """The runs whose task another run had started, in this attempt."""
    return [
        one
        for one in decisions
        # The state first, since few records have it and each start is compared.
        if one[1].before is not None
        and one[1].before.state is State.STARTED
        and one[1].applied
        and _is_taken_over(one[0], one[1].before)
    ]


def _is_taken_over(run: Run, before: TaskRecord) -> bool:
    """Whether the record is of another run of the same attempt, which has started and not ended."""
    same_attempt = before.attempt == run.invocation.attempt
    return before.state is State.STARTED and before.run != run.id and same_attempt


def _taken_over(known: Unfinished, before: TaskRecord) -> Unfinished:
    """The payload of a run that follows on one that has not ended."""
    return replace(known, taken_over_from=_worker_of(before)) if before.state is State.STARTED else known


def _worker_of(before: TaskRecord) -> str:
    """The worker of the last start; empty: unknown."""
    start = before.history.get(State.STARTED)
    return "" if start is None else start.worker


def _log_take_over(run: Run, before: TaskRecord) -> None:
    worker = f"worker {_worker_of(before)}" if _worker_of(before) else "an unknown worker"
    text = "task %s: taken over from %s, whose lease had ended; it starts again (start %d of attempt %d)"
    details = (run.task_id, worker, before.starts + 1, run.invocation.attempt)
    logger.warning(text, *details, extra=log_extra(run.invocation))


def _earlier_deliveries(run: Run) -> int:
    """How often the message of a run was delivered before; 0 where the broker does not count."""
    return (run.delivery.delivery_count or 1) - 1
