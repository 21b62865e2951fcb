"""Clause W18: the service is stopped and started under running workers."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from drivetrain import chain
from drivetrain.contract import Durability
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared
from drivetrain_contract_tests.workflows.app_harness import AppHarness, call
from drivetrain_contract_tests.workflows.base import WorkflowBase
from drivetrain_contract_tests.workflows.state_machine import STORIES, story_of

__all__ = ["RestartChecks"]

_SURVIVE = {Durability.PROCESS, Durability.POWER}


class RestartChecks(WorkflowBase):
    """Workers and waiting callers go on by themselves."""

    @holds("W18", restarts=True)
    def test_a_restart_loses_nothing(self) -> None:
        """Tasks that wait, that are delayed and that run when the service goes away all end, and their workflows."""
        self._need_durability()
        with self.harness(lease_seconds=self.short_lease_seconds) as harness, ThreadPoolExecutor(8) as callers:
            app = harness.app(concurrency=1)
            running = app.send(chain(call("wait", label="running"), call("act", label="next")))
            harness.worker(app)
            assert harness.gates["running 0"].reached.wait(self.patience_seconds), "the task has not begun"
            stories = [story_of(harness, workflow) for workflow in STORIES.values()]
            handles = [running, app.send(call("act", label="delayed", delay=1.0))]
            handles += [app.send(story.workflow) for story in stories]
            outcomes = [callers.submit(harness.outcome, handle) for handle in handles]
            with self._stopped():
                harness.gates.open_all()
            wanted = [["delayed"], *(story.result for story in stories)]
            assert [one.result(2 * self.patience_seconds) for one in outcomes[1:]] == wanted
            self._check_running(harness, outcomes[0].result(2 * self.patience_seconds))

    def _check_running(self, harness: AppHarness, outcome: object) -> None:
        # Its lease may have ended while the service was away; then it has run again, once.
        assert outcome in (["next", "run 0"], ["next", "run 1"])
        assert len(harness.run_log.of("next")) == 1

    def _need_durability(self) -> None:
        declared = self.broker_declares().durability, self.backend_declares().durability
        if not set(declared) <= _SURVIVE:
            raise NotDeclared("not declared: a durability that survives a restart, of both")

    @contextmanager
    def _stopped(self) -> Iterator[None]:
        self.pair.stop()
        try:
            yield
        finally:
            self.pair.start()
