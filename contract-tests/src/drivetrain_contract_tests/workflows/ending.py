"""Clauses W4, W8, W9 and W14: every way in which a task can end, and what follows from it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import pytest
from attrs import define, field, frozen

from drivetrain import App, Result, TaskCancelled, TaskExpired, TaskFailed, chain, chord, group
from drivetrain.contract import DEAD_REASON_HEADER, Message, State, Transition, evolve, hookimpl
from drivetrain.workflow.signature import Signature
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.workflows.app_harness import QUEUE, AppHarness, call
from drivetrain_contract_tests.workflows.base import WorkflowBase
from drivetrain_contract_tests.workflows.faults import DiesBefore, Faults
from drivetrain_contract_tests.workflows.interpreter import FAILED
from drivetrain_contract_tests.workflows.run_log import until
from drivetrain_contract_tests.workflows.tasks import Gate

__all__ = ["EndingChecks"]

#: What becomes of a group when a member fails.
_ON_MEMBER_FAILURE: tuple[Literal["collect", "fail"], ...] = ("collect", "fail")


@frozen
class BadEnd:
    """A way in which a task can end without success."""

    make: Callable[[str], Signature[Any]]
    error: type[TaskFailed] = TaskFailed
    #: What is done to it once it was sent: ``cancel``, or ``kill`` a worker that has started it.
    prepare: str = ""
    #: What is in the reason of its dead letter; None: there is none.
    dead: str | None = None


_WAYS = {
    "fails": BadEnd(lambda label: call("fail", label=label)),
    "exhausts its retries": BadEnd(lambda label: call("hopeless", label=label)),
    "expires": BadEnd(lambda label: call("act", label=label, expires=0.001), TaskExpired),
    "is cancelled": BadEnd(lambda label: call("act", label=label), TaskCancelled, prepare="cancel"),
    "is not known": BadEnd(lambda label: call("nobody_knows_it", label=label), dead="unknown task"),
    "kills its worker": BadEnd(lambda label: call("act", label=label), prepare="kill", dead="crashed"),
    "has wrong arguments": BadEnd(lambda _: Signature(task="act", kwargs={"wrong": 1}), dead="wrong arguments"),
}


@define(eq=False)
class _Acknowledged:
    """An observer of a worker that has acknowledged a message."""

    acknowledged: threading.Event = field(factory=threading.Event)

    @hookimpl
    def worker_step(self, step: str) -> None:
        """See `drivetrain.contract.hookspecs.ObserverHooks`."""
        if step == "acknowledged":
            self.acknowledged.set()


@define(eq=False)
class _BeforePublish:
    """An observer that does something once, right before a task is published."""

    task_id: str
    happens: Callable[[], None] | None

    @hookimpl
    def before_publish(self, messages: Sequence[Message]) -> None:
        """See `drivetrain.contract.hookspecs.ObserverHooks`."""
        if any(message.id == self.task_id for message in messages) and self.happens is not None:
            happens, self.happens = self.happens, None
            happens()


@define(eq=False)
class _Renewals(Faults):
    """Nothing fails; the renewals of leases are counted."""

    _changed: threading.Condition = field(factory=threading.Condition)
    _renewals: int = 0

    def call(self, method: str, function: Callable[[], Any]) -> Any:
        """Do the call."""
        if method == "renew":
            with self._changed:
                self._renewals += 1
                self._changed.notify_all()
        return super().call(method, function)

    def wait_for_more(self, number: int, seconds: float) -> None:
        """Wait until ``number`` more renewals have begun."""
        with self._changed:
            enough = self._renewals + number
            begun = self._changed.wait_for(lambda: self._renewals >= enough, seconds)
        assert begun, f"the worker has not renewed its leases {number} times within {seconds} s"


class EndingChecks(WorkflowBase):
    """How tasks end, and what waits for them."""

    @holds("W4")
    def test_every_bad_end_ends_all_that_waits_for_it(self) -> None:
        """A chain and a chord around a task that ends badly: each handle ends, with the cause, and nothing goes on."""
        with self.harness() as harness:
            app, stranger = harness.app(version_mismatch_seconds=0, max_starts=1), harness.app(with_tasks=False)
            handles = [
                (name, handle)
                for name, bad in _WAYS.items()
                for handle in self._around(harness, stranger if bad.dead else app, name)
            ]
            harness.worker(app)
            for name, handle in handles:
                with pytest.raises(_WAYS[name].error):
                    handle.get(timeout=self.patience_seconds)
                assert not harness.unfinished(handle), f"not all that waits ends when a task {name}"
            harness.quiet()
            ran = harness.run_log.ran()
            assert not [label for label in ran if label.endswith("next")], f"something went on after a failure: {ran}"

    def _around(self, harness: AppHarness, app: App, name: str) -> list[Result[Any]]:
        found = []
        for shape in ("chain", "chord"):
            label = f"{name} {shape}"
            task_id = f"{harness.namespace}.{label}"
            bad = _WAYS[name].make(label).set(task_id=task_id)
            following = call("act", label=f"{label} next")
            header = group(call("act", label=f"{label} good"), bad)
            # Twice what follows: the end travels beyond what comes next.
            workflow = chain(bad, following, following) if shape == "chain" else chord(header, following) | following
            found.append(app.send(workflow))
            _prepare(harness, app, name, task_id)
        return found

    @holds("W4")
    def test_a_caller_that_waits_already_is_woken_at_once(self) -> None:
        """A caller that waits before anything has run returns soon after the end is recorded."""
        with self.harness() as harness:
            handle, gate = self._send_waiting(harness)
            assert not handle.wait(0.1), "a task that runs is said to have ended"
            gate.opened.set()
            assert handle.get(timeout=self.patience_seconds) == ["next", "run 0"]
            assert handle.wait(0), "a task that has ended is said to go on"

    def _send_waiting(self, harness: AppHarness) -> tuple[Result[Any], Gate]:
        """A chain whose first task runs, and waits at its gate."""
        handle = harness.working().send(chain(call("wait", label="w"), call("act", label="next")))
        gate = harness.gates["w 0"]
        assert gate.reached.wait(self.patience_seconds), "the task has not begun"
        return handle, gate

    @holds("W8")
    def test_what_is_cancelled_before_it_starts_does_not_run(self) -> None:
        """Neither it nor what waits for it."""
        with self.harness() as harness:
            app = harness.app()
            handle = app.send(chain(call("act", label="first"), call("act", label="second")))
            assert handle.cancel()
            harness.worker(app)
            with pytest.raises(TaskCancelled):
                handle.get(timeout=self.patience_seconds)
            harness.quiet()
            assert not harness.run_log.runs, f"cancelled tasks ran: {harness.run_log.runs}"

    @holds("W8")
    def test_the_result_of_a_cancelled_run_counts_no_more(self) -> None:
        """A task that is cancelled while it runs stays cancelled when it returns, and nothing follows it."""
        with self.harness() as harness:
            handle, gate = self._send_waiting(harness)
            assert handle.cancel()
            gate.opened.set()
            harness.quiet()
            with pytest.raises(TaskCancelled):
                handle.get(timeout=self.patience_seconds)
            assert harness.run_log.ran() == {"w": 1}, "something followed a cancelled run"
            states = [one and one.state for one in harness.records(handle)]
            assert states == [State.CANCELLED] * 2, f"states after a cancellation: {states}"

    @holds("W8")
    def test_what_is_cancelled_while_it_waits_in_its_worker_does_not_run(self) -> None:
        """It is recorded as started, and its worker learns when it renews the lease that it is not to begin."""
        with self.harness(lease_seconds=self.short_lease_seconds) as harness:
            renewals = _Renewals()
            app = harness.app(concurrency=1, faults=renewals)
            running, waiting = [app.send(call("wait", label=label)) for label in ("running", "waiting")]
            harness.hoarder(app)
            assert harness.gates["running 0"].reached.wait(self.patience_seconds), "the task has not begun"
            until(lambda: harness.started(waiting), "the other one waits in the worker", self.patience_seconds)
            assert waiting.cancel()
            # The answer to the first one is known when the second one begins.
            renewals.wait_for_more(2, self.patience_seconds)
            harness.gates["running 0"].opened.set()
            assert harness.outcome(running) == "run 0"
            harness.quiet()
            assert harness.run_log.ran() == {"running": 1}, "a task began that its worker knew to be cancelled"

    @holds("W9")
    def test_callbacks_of_a_task_run_once(self) -> None:
        """Those of success with the value, or those of failure with the failure; never both."""
        with self.harness() as harness:
            app = harness.working()
            for label, task in (("good", "act"), ("bad", "fail")):
                then, caught = call("act", label=f"{label} then"), call("caught", label=f"{label} caught")
                harness.outcome(app.send(evolve(call(task, 7, label=label), on_success=(then,), on_error=(caught,))))
            self._check_called(harness, {"good then": (["good", 7],), "bad caught": (FAILED,)})
            assert not harness.run_log.of("good caught") + harness.run_log.of("bad then"), (
                "a callback of the other end ran"
            )

    @holds("W9")
    def test_error_callbacks_of_a_chain_and_a_group_run_once(self) -> None:
        """With the failure of whichever task has failed in it."""
        with self.harness() as harness:
            app = harness.working()
            failing = chain(call("act", label="a"), call("fail", label="b"), call("act", label="c"))
            grouped = group(call("fail", label="m"), call("act", label="n"))
            handles = [
                app.send(failing.set(on_error=[call("caught", label="of chain")])),
                app.send(grouped.set(on_error=[call("caught", label="of group")])),
            ]
            assert [harness.outcome(handle) for handle in handles] == [FAILED, FAILED]
            self._check_called(harness, {"of chain": (FAILED,), "of group": (FAILED,)})

    @holds("W9")
    def test_error_callbacks_of_a_group_run_once_for_each_member_that_fails(self) -> None:
        """Each with the failure of its member, whether the group collects failures or fails."""
        with self.harness() as harness:
            app = harness.working()
            for how in _ON_MEMBER_FAILURE:
                members = group(call("fail", label=f"{how} {n}") for n in range(3)).set(on_member_failure=how)
                harness.outcome(app.send(members.set(on_error=[call("caught", label=how)])))
                until(partial(self._called, harness, how, 3), "each failure is reported", self.patience_seconds)
            harness.quiet()
            called = {how: len(harness.run_log.of(how)) for how in _ON_MEMBER_FAILURE}
            assert called == dict.fromkeys(_ON_MEMBER_FAILURE, 3), f"three members failed; callbacks ran: {called}"

    @holds("W9")
    def test_error_callbacks_of_a_task_that_never_ran_run_once(self) -> None:
        """A chord's callback whose header failed ends as FAILURE, and says so to its own error callbacks."""
        with self.harness() as harness:
            app = harness.working()
            body = evolve(call("act", label="body"), on_error=(call("caught", label="of body"),))
            header = group(call("fail", label="one"), call("act", label="two"), call("fail", label="three"))
            assert harness.outcome(app.send(chain(header, body, call("act", label="last")))) == FAILED
            self._check_called(harness, {"of body": (FAILED,)})
            assert not harness.run_log.of("body"), "a chord's callback ran though its header had failed"

    @holds("W9")
    def test_of_members_that_fail_together_one_sends_what_follows(self) -> None:
        """The second one fails when the first one is about to send the error callback of what waits for both."""
        with self.harness() as harness:
            second = _Acknowledged()

            def fail_the_second() -> None:
                harness.working(concurrency=1, plugins=(second,))
                second.acknowledged.wait(self.patience_seconds)

            body = evolve(call("act", label="body"), on_error=(call("caught", label="of body").set(task_id="caught"),))
            header = group(call("fail", label=label) for label in ("one", "other"))
            first = _BeforePublish("caught", fail_the_second)
            app = harness.working(concurrency=1, prefetch_limit=1, plugins=(first,))
            assert harness.outcome(app.send(chain(header, body))) == FAILED
            self._check_called(harness, {"of body": (FAILED,)})
            assert second.acknowledged.is_set(), "the second member has not ended while the first one was about to send"
            sends = harness.run_log.sends()["caught"]
            assert sends == 1, f"the error callback was published {sends} times"

    @holds("W9")
    def test_error_callbacks_of_a_task_that_has_expired_run_once(self) -> None:
        """And those of what waits for it, which ends in the same way."""
        with self.harness() as harness:
            late, following = (
                evolve(call("act", label=label), on_error=(call("caught", label=f"of {label}"),))
                for label in ("late", "following")
            )
            handle = harness.app().send(chain(late.set(expires=0.001), following))
            over = time.time() + 0.01
            until(lambda: time.time() > over, "its time is over", self.patience_seconds)
            harness.working()
            assert harness.outcome(handle) == FAILED
            self._check_called(harness, {"of late": (FAILED,), "of following": (FAILED,)})

    @holds("W9")
    def test_cancelling_runs_no_error_callbacks(self) -> None:
        """Neither those of what is cancelled, nor those of what waits for it or is around it."""
        with self.harness() as harness:
            app = harness.app()
            parts = [
                evolve(call("act", label=label), on_error=(call("caught", label=f"of {label}"),))
                for label in ("first", "second")
            ]
            around = [call("caught", label="of all")]
            handles: list[Result[Any]] = [
                app.send(chain(*parts).set(on_error=around)),
                app.send(chord(group(*parts).set(on_error=around), parts[0])),
            ]
            assert [handle.cancel() for handle in handles] == [True, True]
            harness.worker(app)
            assert [harness.outcome(handle) for handle in handles] == [FAILED, FAILED]
            harness.quiet()
            assert not harness.run_log.runs, f"ran after a cancellation: {harness.run_log.ran()}"

    def _called(self, harness: AppHarness, label: str, times: int) -> bool:
        return len(harness.run_log.of(label)) >= times

    def _check_called(self, harness: AppHarness, called: dict[str, tuple[Any, ...]]) -> None:
        for label in called:
            harness.wait_ran(label)
        harness.quiet()
        ran = {label: [run.args for run in harness.run_log.of(label)] for label in called}
        assert ran == {label: [args] for label, args in called.items()}, "callbacks ran otherwise than once each"

    @holds("W14")
    def test_what_cannot_be_run_goes_to_the_dead_letters(self) -> None:
        """With its reason, and what is behind it runs all the same."""
        wanted = {name: str(bad.dead) for name, bad in _WAYS.items() if bad.dead}
        with self.harness() as harness:
            app, stranger = (
                harness.app(version_mismatch_seconds=0, max_starts=1, concurrency=1),
                harness.app(with_tasks=False),
            )
            for name in wanted:
                _ = stranger.send(_WAYS[name].make(name).set(task_id=name))
                _prepare(harness, stranger, name, name)
            for name, body in {"empty": b"", "noise": b"\x00\xff{"}.items():
                harness.broker.publish([Message(id=name, queue=QUEUE, body=body)])
                wanted[name] = "unreadable"
            handle = app.send(call("act", label="good"))
            harness.worker(app)
            assert harness.outcome(handle) == ["good"]
            harness.quiet()
            until(lambda: len(harness.dead()) >= len(wanted), "all of them are dead letters", self.patience_seconds)
            reasons = {name: headers.get(DEAD_REASON_HEADER, "") for name, headers in harness.dead().items()}
            assert set(reasons) == set(wanted), f"dead letters: {reasons}"
            assert all(wanted[name] in reason for name, reason in reasons.items()), f"reasons: {reasons}"

    @holds("W14")
    def test_dead_letters_of_one_batch_have_their_own_reasons(self) -> None:
        """Tasks that fail together, and are settled in one batch."""
        with self.harness() as harness:
            app = harness.app()
            labels = ["one", "other", "third"]
            app.send_many([call("fail", label=label).set(task_id=label, dead_letter=True) for label in labels])
            worker = app.worker(concurrency=len(labels))

            def dead() -> bool:
                worker.drain()
                return len(harness.dead()) >= len(labels)

            until(dead, "all of them are dead letters", self.patience_seconds)
            reasons = {name: headers[DEAD_REASON_HEADER] for name, headers in harness.dead().items()}
            assert set(reasons) == set(labels), f"dead letters: {reasons}"
            assert all(name in reason for name, reason in reasons.items()), f"reasons: {reasons}"

    @holds("W14", "W4")
    def test_what_waits_for_a_message_that_cannot_be_read_ends(self) -> None:
        """The first message of a chain arrives with another body; both tasks end, and the callback does not run."""
        with self.harness() as harness:
            handle = harness.app().send(chain(call("act", label="first"), call("act", label="next")))
            (delivery,) = harness.broker.receive([QUEUE], limit=1, wait_seconds=self.patience_seconds, hold_seconds=60)
            harness.broker.acknowledge([delivery])
            harness.broker.publish([evolve(delivery.message, body=b"\x00\xff{")])
            harness.working()
            with pytest.raises(TaskFailed, match="SerializationError"):
                handle.get(timeout=self.patience_seconds)
            assert not harness.unfinished(handle), "not all that waits for an unreadable message has ended"

    @holds("W10", "W14")
    def test_a_worker_that_dies_before_it_moves_a_message_to_the_dead_letters_loses_none(self) -> None:
        """The task has ended, and its message is delivered again: it still goes there, with the same reason."""
        wanted = {name: str(bad.dead) for name, bad in _WAYS.items() if bad.dead} | {"fails": "finally failed"}
        with self.harness(lease_seconds=self.short_lease_seconds) as harness:
            options: dict[str, Any] = {"version_mismatch_seconds": 0, "max_starts": 1, "concurrency": 1}
            stranger = harness.app(with_tasks=False)
            # Each in a queue of its own: a message that kills each worker keeps those behind it from being received.
            for name in wanted:
                way = _WAYS[name].make(name)
                _ = stranger.send(way.set(task_id=name, queue=name, dead_letter=name == "fails"))
                _prepare(harness, stranger, name, name)
                end = time.monotonic() + self.patience_seconds
                while not harness.ended(name):
                    assert time.monotonic() < end, f"workers that die do not record the end of the task that {name}"
                    self._work_until_dead_lettering(harness, options, name)
            assert not harness.dead(*wanted), f"there are dead letters: {harness.dead(*wanted)}"
            harness.worker(harness.app(**options), queues=list(wanted))
            until(
                lambda: len(harness.dead(*wanted)) >= len(wanted), "all of them are dead letters", self.patience_seconds
            )
            reasons = {name: headers.get(DEAD_REASON_HEADER, "") for name, headers in harness.dead(*wanted).items()}
            assert all(wanted[name] in reason for name, reason in reasons.items()), f"reasons: {reasons}"

    def _work_until_dead_lettering(self, harness: AppHarness, options: dict[str, Any], queue: str) -> None:
        faults = DiesBefore(method="dead_letter")
        app = harness.app(faults=faults, **options)
        worker = harness.worker(app, queues=[queue])
        assert faults.struck.wait(self.patience_seconds), "the worker dead-letters nothing"
        harness.disconnect(app)
        worker.stop(grace_seconds=0.0)


def _prepare(harness: AppHarness, app: App, name: str, task_id: str) -> None:
    if _WAYS[name].prepare == "cancel":
        app.cancel(task_id)
    elif _WAYS[name].prepare == "kill":
        # All that is left of a worker that died in it: a start, and a lease that is over.
        dead = Transition(task_id=task_id, state=State.STARTED, at=time.time(), run="of the dead", lease=0.0)
        harness.backend.record([dead])
