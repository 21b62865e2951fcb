"""Clauses W5 to W7: retries, ETAs and expiry."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

import pytest

from drivetrain import TaskExpired, chain
from drivetrain.contract import State, Transition
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.workflows.app_harness import Stage, call
from drivetrain_contract_tests.workflows.base import Bench
from drivetrain_contract_tests.workflows.run_log import until

__all__ = ["Timing"]

#: Long enough that coming early is seen, on a coarse clock too.
_DELAY_SECONDS = 0.4
#: How often it is tried to see what a busy machine may hide.
_TRIES = 5
#: What the machine's clock may go back by between two looks, by its own adjustment.
_CLOCK_SECONDS = 0.005


class Timing(Bench):
    """What is to happen not before some time, or not after it."""

    @holds("W5")
    def test_a_retry_is_the_next_attempt_after_its_delay(self) -> None:
        """Attempts count from 0; one that succeeds in the end gives its value, one that does not its failure."""
        with self.stage() as stage:
            app = stage.working(retry_seconds=_DELAY_SECONDS)
            handles = [app.send(call(task, label=task)) for task in ("flaky", "hopeless")]
            assert [stage.outcome(handle) for handle in handles] == [["flaky"], "failed"]
            stage.quiet()
            for task, attempts in (("flaky", 2), ("hopeless", 3)):
                runs = stage.ledger.of(task)
                assert [run.attempt for run in runs] == list(range(attempts)), f"attempts of {task}: {runs}"
                pauses = [after.at - before.at for before, after in pairwise(runs)]
                assert min(pauses) >= _DELAY_SECONDS - _CLOCK_SECONDS, f"retried after {pauses} seconds"

    @holds("W6")
    def test_a_task_does_not_run_before_its_eta(self) -> None:
        """Nor what follows it with a delay of its own; a task without any does not wait for it."""
        with self.stage() as stage:
            app = stage.working()
            sent = time.time()
            late = app.send(
                chain(call("act", label="late", delay=_DELAY_SECONDS), call("act", label="later", delay=_DELAY_SECONDS))
            )
            assert stage.outcome(app.send(call("act", label="now"))) == ["now"]
            assert stage.outcome(late) == ["later", ["late"]]
            at = {run.label: run.at for run in stage.ledger.runs}
            assert at["late"] - sent >= _DELAY_SECONDS - _CLOCK_SECONDS, "a task ran before its time"
            assert at["later"] - at["late"] >= _DELAY_SECONDS - _CLOCK_SECONDS, "a follower ran before its time"

    @holds("W6")
    def test_a_delay_beyond_the_longest_of_the_broker_is_kept(self) -> None:
        """The message hops, as often as it takes: here each hop is a quarter of the delay, or what is declared."""
        # On a machine that is so busy that the first hop is late, the task may be due by then, and needs no other.
        assert any(self._hops() for _ in range(_TRIES)), "the message has not hopped"

    def _hops(self) -> bool:
        longest = min(self.broker_declares().longest_delay_seconds or _DELAY_SECONDS, _DELAY_SECONDS / 2)
        with self.stage() as stage:
            app = stage.working(broker={"longest_delay_seconds": longest})
            sent, delay = time.time(), 4 * longest
            assert stage.outcome(app.send(call("act", label="late", delay=delay))) == ["late"]
            (run,) = stage.ledger.runs
            assert run.at - sent >= delay - _CLOCK_SECONDS, "a task whose message hops ran before its time"
            return len(stage.ledger.messages) > 1

    @holds("W7")
    def test_an_expired_task_does_not_run_and_is_said_to_have_expired(self) -> None:
        """Nor does what waits for it; one whose time is not over runs."""
        with self.stage() as stage:
            app = stage.app()
            late = app.send(chain(call("act", label="late", expires=0.05), call("act", label="next")))
            early = app.send(call("act", label="early", expires=3600.0))
            over = time.time() + 0.1
            until(lambda: time.time() > over, "its time is over", self.patience_seconds)
            stage.worker(app)
            assert stage.outcome(early) == ["early"]
            with pytest.raises(TaskExpired):
                late.get(timeout=self.patience_seconds)
            stage.quiet()
            assert stage.ledger.ran() == {"early": 1}, "an expired task ran, or one in time did not"
            states = {one.state for one in stage.records(late) if one is not None}
            assert states == {State.EXPIRED}

    @holds("W7")
    def test_a_task_that_was_started_in_time_expires_no_more(self) -> None:
        """Its worker has died, and its time is over when the message comes again: it runs.

        Whether it died in the task, or right after it had recorded that the task is to be tried again.
        """
        for states in ((State.STARTED,), (State.STARTED, State.RETRY)):
            with self.stage() as stage:
                self._check_begins_late(stage, states)

    def _check_begins_late(self, stage: Stage, states: Sequence[State]) -> None:
        app = stage.app()
        handle = app.send(call("act", label="begun", expires=_DELAY_SECONDS))
        begun = time.time()
        for state in states:
            dead = Transition(task_id=handle.id, state=state, at=begun, run="of the dead", lease=0.0)
            assert app.runtime.backend.record([dead])[0].applied, "a task that was sent cannot be started"
        until(lambda: time.time() > begun + _DELAY_SECONDS, "its time is over", self.patience_seconds)
        stage.worker(app)
        assert stage.outcome(handle) == ["begun"]
        stage.quiet()
        assert stage.ledger.ran() == {"begun": 1}

    @holds("W7")
    def test_a_task_that_waits_in_its_worker_expires(self) -> None:
        """It is recorded as started, and its time is over before its worker has room for it."""
        # On a machine that is very busy it may expire before it is recorded as started.
        assert any(self._expires_in_its_worker() for _ in range(_TRIES)), "the task was never started in time"

    def _expires_in_its_worker(self) -> bool:
        with self.stage() as stage:
            app = stage.app(concurrency=1)
            running = app.send(call("wait", label="running"))
            late = app.send(call("act", label="late", expires=_DELAY_SECONDS))
            over = time.time() + _DELAY_SECONDS
            stage.hoarder(app)
            assert stage.gates["running 0"].reached.wait(self.patience_seconds), "the task has not begun"
            until(lambda: stage.started(late) or time.time() > over, "it waits in its worker", self.patience_seconds)
            waited = stage.started(late)
            until(lambda: time.time() > over + _CLOCK_SECONDS, "its time is over", self.patience_seconds)
            stage.gates["running 0"].opened.set()
            assert stage.outcome(running) == "run 0"
            with pytest.raises(TaskExpired):
                late.get(timeout=self.patience_seconds)
            stage.quiet()
            assert stage.ledger.ran() == {"running": 1}, "a task began when its time was over"
            return waited
