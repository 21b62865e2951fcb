"""Clauses W5 to W7: retries, ETAs and expiry."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

import pytest

from drivetrain import TaskExpired, chain
from drivetrain.contract import State, Transition
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.workflows.app_harness import AppHarness, call
from drivetrain_contract_tests.workflows.base import WorkflowBase
from drivetrain_contract_tests.workflows.run_log import until

__all__ = ["TimingChecks"]

#: Long enough that coming early is seen, on a coarse clock too.
_DELAY_SECONDS = 0.4
#: How often it is tried to see what a busy machine may hide.
_TRIES = 5
#: What the machine's clock may go back by between two looks, by its own adjustment.
_CLOCK_SECONDS = 0.005


class TimingChecks(WorkflowBase):
    """What is to happen not before some time, or not after it."""

    @holds("W5")
    def test_a_retry_is_the_next_attempt_after_its_delay(self) -> None:
        """Attempts count from 0; one that succeeds in the end gives its value, one that does not its failure."""
        with self.harness() as harness:
            app = harness.working(retry_seconds=_DELAY_SECONDS)
            handles = [app.send(call(task, label=task)) for task in ("flaky", "hopeless")]
            assert [harness.outcome(handle) for handle in handles] == [["flaky"], "failed"]
            harness.quiet()
            for task, attempts in (("flaky", 2), ("hopeless", 3)):
                runs = harness.run_log.of(task)
                assert [run.attempt for run in runs] == list(range(attempts)), f"attempts of {task}: {runs}"
                pauses = [after.at - before.at for before, after in pairwise(runs)]
                assert min(pauses) >= _DELAY_SECONDS - _CLOCK_SECONDS, f"retried after {pauses} seconds"

    @holds("W6")
    def test_a_task_does_not_run_before_its_eta(self) -> None:
        """Nor what follows it with a delay of its own; a task without any does not wait for it."""
        with self.harness() as harness:
            app = harness.working()
            sent = time.time()
            late = app.send(
                chain(call("act", label="late", delay=_DELAY_SECONDS), call("act", label="later", delay=_DELAY_SECONDS))
            )
            assert harness.outcome(app.send(call("act", label="now"))) == ["now"]
            assert harness.outcome(late) == ["later", ["late"]]
            at = {run.label: run.at for run in harness.run_log.runs}
            assert at["late"] - sent >= _DELAY_SECONDS - _CLOCK_SECONDS, "a task ran before its time"
            assert at["later"] - at["late"] >= _DELAY_SECONDS - _CLOCK_SECONDS, "a follower ran before its time"

    @holds("W6")
    def test_a_delay_beyond_the_longest_of_the_broker_is_kept(self) -> None:
        """The message hops, as often as it takes: here each hop is a quarter of the delay, or what is declared."""
        # On a machine that is so busy that the first hop is late, the task may be due by then, and needs no other.
        assert any(self._hops() for _ in range(_TRIES)), "the message has not hopped"

    def _hops(self) -> bool:
        longest = min(self.broker_declares().longest_delay_seconds or _DELAY_SECONDS, _DELAY_SECONDS / 2)
        with self.harness() as harness:
            app = harness.working(broker={"longest_delay_seconds": longest})
            sent, delay = time.time(), 4 * longest
            assert harness.outcome(app.send(call("act", label="late", delay=delay))) == ["late"]
            (run,) = harness.run_log.runs
            assert run.at - sent >= delay - _CLOCK_SECONDS, "a task whose message hops ran before its time"
            return len(harness.run_log.messages) > 1

    @holds("W7")
    def test_an_expired_task_does_not_run_and_is_said_to_have_expired(self) -> None:
        """Nor does what waits for it; one whose time is not over runs."""
        with self.harness() as harness:
            app = harness.app()
            late = app.send(chain(call("act", label="late", expires=0.05), call("act", label="next")))
            early = app.send(call("act", label="early", expires=3600.0))
            over = time.time() + 0.1
            until(lambda: time.time() > over, "its time is over", self.patience_seconds)
            harness.worker(app)
            assert harness.outcome(early) == ["early"]
            with pytest.raises(TaskExpired):
                late.get(timeout=self.patience_seconds)
            harness.quiet()
            assert harness.run_log.ran() == {"early": 1}, "an expired task ran, or one in time did not"
            states = {one.state for one in harness.records(late) if one is not None}
            assert states == {State.EXPIRED}

    @holds("W7", "W10")
    def test_a_task_that_was_started_in_time_expires_no_more(self) -> None:
        """Its worker has died, and its time is over when the message comes again: it runs.

        Whether it died in the task, or right after it had recorded that the task is to be tried again.
        """
        for states in ((State.STARTED,), (State.STARTED, State.RETRY)):
            with self.harness() as harness:
                self._check_begins_late(harness, states)

    def _check_begins_late(self, harness: AppHarness, states: Sequence[State]) -> None:
        app = harness.app()
        handle = app.send(call("act", label="begun", expires=_DELAY_SECONDS))
        begun = time.time()
        for state in states:
            dead = Transition(task_id=handle.id, state=state, at=begun, run="of the dead", lease=0.0)
            assert app.runtime.backend.record([dead])[0].applied, "a task that was sent cannot be started"
        until(lambda: time.time() > begun + _DELAY_SECONDS, "its time is over", self.patience_seconds)
        harness.worker(app)
        assert harness.outcome(handle) == ["begun"]
        harness.quiet()
        assert harness.run_log.ran() == {"begun": 1}

    @holds("W7")
    def test_a_task_that_waits_in_its_worker_expires(self) -> None:
        """It is recorded as started, and its time is over before its worker has room for it."""
        # On a machine that is very busy it may expire before it is recorded as started.
        assert any(self._expires_in_its_worker() for _ in range(_TRIES)), "the task was never started in time"

    def _expires_in_its_worker(self) -> bool:
        with self.harness() as harness:
            app = harness.app(concurrency=1)
            running = app.send(call("wait", label="running"))
            late = app.send(call("act", label="late", expires=_DELAY_SECONDS))
            over = time.time() + _DELAY_SECONDS
            harness.hoarder(app)
            assert harness.gates["running 0"].reached.wait(self.patience_seconds), "the task has not begun"
            until(lambda: harness.started(late) or time.time() > over, "it waits in its worker", self.patience_seconds)
            waited = harness.started(late)
            until(lambda: time.time() > over + _CLOCK_SECONDS, "its time is over", self.patience_seconds)
            harness.gates["running 0"].opened.set()
            assert harness.outcome(running) == "run 0"
            with pytest.raises(TaskExpired):
                late.get(timeout=self.patience_seconds)
            harness.quiet()
            assert harness.run_log.ran() == {"running": 1}, "a task began when its time was over"
            return waited
