"""Clauses W22 and W23: tasks whose message is gone are ended, and tasks that are only slow are not."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from drivetrain import App, Result, chain, chord, group
from drivetrain.contract import Hold, QueueSection, State, TaskFailed, Transition
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared
from drivetrain_contract_tests.workflows.app_harness import QUEUE, AppHarness, call
from drivetrain_contract_tests.workflows.base import WorkflowBase
from drivetrain_contract_tests.workflows.interpreter import FAILED
from drivetrain_contract_tests.workflows.run_log import until

__all__ = ["RescueChecks"]

#: Queues that no worker serves, and that one serves which has nothing to do but to rescue.
_LOST, _IDLE = "lost", "idle"
_LOST_TYPE = "drivetrain.ResultLost"
#: How many messages wait in a backlog.
_BACKLOG = 6


class RescueChecks(WorkflowBase):
    """Messages vanish behind core's back, as when somebody deletes a queue."""

    @holds("W22")
    def test_every_handle_ends_when_the_messages_are_gone(self) -> None:
        """Tasks, chains, chords and groups fail with ResultLost; error callbacks run once, and nothing else runs.

        Also when the worker that looked for them has stopped, and another one is left.
        """
        with self._stage() as harness:
            app, other = self._app(harness), self._app(harness)
            act = [call("act", label=f"gone {number}") for number in range(3)]
            guarded = chain(*act).set(on_error=[call("caught", label="caught", queue="caught")])
            shapes = (act[0], guarded, chord(act[:2], act[2]), group(group(*act), act[0]))
            handles: list[Result[Any]] = [app.send(shape) for shape in shapes]
            harness.broker.purge(QUEUE, QueueSection.READY)
            rescuing = [harness.worker(each, queues=_IDLE) for each in (app, other)]
            self._check_lost(harness, handles)
            for worker in rescuing:
                worker.stop()
            handles = [app.send(act[0])]
            harness.broker.purge(QUEUE, QueueSection.READY)
            harness.worker(other, queues=_IDLE)
            self._check_lost(harness, handles)
            harness.worker(app, queues=(QUEUE, "caught"))
            harness.wait_ran("caught")
            harness.quiet()
            assert harness.run_log.ran() == {"caught": 1}, "a lost task ran, or its callback otherwise than once"

    @holds("W22")
    def test_what_was_lost_in_the_middle_of_a_workflow_ends_it(self) -> None:
        """A delayed member of a group, a retry, and a task after one that has succeeded."""
        with self._stage() as harness:
            if not self.broker_declares().peeks:
                raise NotDeclared("not declared: peeks, without which what is delayed cannot always be purged")
            app = self._app(harness, retry_seconds=2.0)
            late, last = call("act", label="late", delay=2.0), call("act", label="last")
            handles: list[Result[Any]] = [
                app.send(chain(call("act", label="first"), late, last)),
                app.send(chord([call("act", label="member"), late], last)),
                app.send(chain(call("flaky", label="tried"), last)),
            ]
            working = harness.worker(app)
            for label in ("first", "member", "tried"):
                harness.wait_ran(label)
            until(
                lambda: harness.broker.sizes([QUEUE])[QUEUE].delayed == len(handles), "they wait", self.patience_seconds
            )
            harness.broker.purge(QUEUE, QueueSection.DELAYED)
            working.stop()
            harness.worker(app, queues=_IDLE)
            self._check_lost(harness, handles)
            assert harness.run_log.ran() == {"first": 1, "member": 1, "tried": 1}

    @holds("W22")
    def test_what_a_dead_worker_had_begun_ends_when_its_message_is_gone(self) -> None:
        """It died in a task, or right after it had recorded the end of a task, before it published the next one."""
        with self._stage() as harness:
            app = self._app(harness)
            handles: list[Result[Any]] = []
            for states in ((State.STARTED,), (State.STARTED, State.SUCCESS)):
                first = call("act", label="first").set(task_id=f"{harness.namespace}.{states[-1]}")
                handles.append(app.send(chain(first, call("act", label="next"))))
                for state in states:
                    dead = Transition(
                        task_id=f"{harness.namespace}.{states[-1]}", state=state, at=time.time(), run="dead", lease=0.0
                    )
                    assert harness.backend.record([dead])[0].applied
            harness.broker.purge(QUEUE, QueueSection.READY)
            harness.worker(app, queues=_IDLE)
            for handle in handles:
                assert self._failure(harness, handle) == _LOST_TYPE
            assert not harness.run_log.runs

    @holds("W22", "W23")
    def test_an_empty_queue_is_the_evidence_where_nothing_shows_messages(self) -> None:
        """Of a broker that does not declare `peeks`; what is only delayed, or between two attempts, is not ended."""
        with self._stage() as harness:
            if harness.broker.sizes([QUEUE])[QUEUE].ready is None:
                raise NotDeclared("this broker does not tell how many messages are ready")
            app = self._app(harness, broker={"peeks": False}, retry_seconds=3600.0)
            slow = [
                app.send(chain(call("flaky", label="retried"), call("act", label="next"))),
                app.send(chain(call("act", label="delayed", delay=3600.0), call("act", label="next"))),
            ]
            working = harness.worker(app)
            until(lambda: self._state(harness, slow[0]) is State.RETRY, "it waits for its retry", self.patience_seconds)
            working.stop()
            lost = app.send(call("act", label="lost"))
            harness.broker.purge(QUEUE, QueueSection.READY)
            harness.worker(app, queues=_IDLE)
            self._check_lost(harness, [lost])
            for handle in slow:
                assert all(self._open(harness, handle)), f"what was only slow was ended: {harness.records(handle)}"

    @holds("W23")
    def test_what_is_only_slow_is_not_ended(self) -> None:
        """A backlog, a delay, a retry that waits, a task that runs, and all that waits for them; beside a lost task.

        And a message that a consumer has received and not begun, as any worker may that is slow.
        """
        with self._stage() as harness:
            app = self._app(harness, retry_seconds=3600.0)
            waiting = call("act", label="next")
            running = app.send(chain(call("wait", label="runs"), waiting))
            retried = app.send(chain(call("flaky", label="retried"), waiting))
            working = harness.worker(app)
            assert harness.gates["runs 0"].reached.wait(self.patience_seconds), "the task has not begun"
            until(lambda: self._state(harness, retried) is State.RETRY, "it waits for its retry", self.patience_seconds)
            backlog = app.send_many(
                [chain(call("act", label="slow", queue="backlog"), waiting) for _ in range(_BACKLOG)]
            )
            delayed = app.send(chain(call("act", label="delayed", delay=3600.0), waiting))
            lost = app.send(call("act", label="lost", queue=_LOST))
            harness.broker.purge(_LOST, QueueSection.READY)
            received = app.send(chain(call("act", label="slow", queue="received"), waiting))
            hold_seconds = 3 * self.short_lease_seconds
            held = harness.broker.receive(
                ["received"], limit=1, wait_seconds=self.patience_seconds, hold_seconds=hold_seconds
            )
            harness.worker(app, queues=_IDLE)
            threading.Event().wait(hold_seconds)  # so a look, or two, miss the message
            harness.broker.release(held)
            assert self._failure(harness, lost) == _LOST_TYPE  # so the rescue has had all the time that it takes
            for handle in (running, retried, delayed, received, *backlog):
                assert all(self._open(harness, handle)), f"what was only slow was ended: {harness.records(handle)}"
            harness.gates["runs 0"].opened.set()
            harness.worker(app, queues=("backlog", "received"))
            for handle in (running, received, *backlog):
                assert harness.outcome(handle) != FAILED
            working.stop()
            assert harness.run_log.ran()["slow"] == len([received, *backlog])

    def _check_lost(self, harness: AppHarness, handles: Sequence[Result[Any]]) -> None:
        for handle in handles:
            assert self._failure(harness, handle) == _LOST_TYPE
            assert not harness.unfinished(handle), f"not all of it has ended: {harness.records(handle)}"

    def _stage(self) -> AppHarness:
        if not self.backend_declares().lists_tasks:
            raise NotDeclared("not declared: lists_tasks")
        return self.harness(lease_seconds=self.short_lease_seconds)

    def _app(self, harness: AppHarness, *, broker: Mapping[str, Any] | None = None, **options: Any) -> App:
        """An app whose workers rescue as soon as leases of this harness let them."""
        # Nobody here holds a message without saying so, so what a broker lets consumers hold need not be waited for.
        held = self.broker_declares().hold is Hold.CONNECTION
        declared: dict[str, Any] = {"longest_hold_seconds": self.short_lease_seconds} if held else {}
        return harness.app(
            broker={**declared, **(broker or {})}, version_mismatch_seconds=0.0, rescue_after_seconds=0.1, **options
        )

    def _failure(self, harness: AppHarness, handle: Result[Any]) -> str:
        try:
            handle.get(timeout=harness.patience_seconds)
        except TaskFailed as error:
            return error.failure.type
        raise AssertionError(f"{handle} has succeeded, though its messages are gone")

    def _state(self, harness: AppHarness, handle: Result[Any]) -> State | None:
        first = harness.records(handle)[0]
        return None if first is None else first.state

    def _open(self, harness: AppHarness, handle: Result[Any]) -> list[bool]:
        return [record is not None and not record.state.terminal for record in harness.records(handle)]
