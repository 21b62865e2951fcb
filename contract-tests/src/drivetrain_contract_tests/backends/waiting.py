"""Waiting for the end of tasks (R15 to R17)."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from drivetrain.contract import Backend, State
from drivetrain_contract_tests.backends.base import SHORT, BackendBase
from drivetrain_contract_tests.backends.calls import TERMINAL, record, start, transition
from drivetrain_contract_tests.backends.concurrency import Background, LineUp, in_processes
from drivetrain_contract_tests.backends.timing import assert_ends_once, timed
from drivetrain_contract_tests.clauses import holds

__all__ = ["WaitingChecks"]

#: How long a wait has before something happens that is to wake it, in seconds.
_BEGINS_SECONDS = 0.1
#: How often what may come by chance is tried.
_TIMES = 3
#: How much longer the fastest of several waits may take, in seconds.
_LATE_SECONDS = 0.5


class WaitingChecks(BackendBase):
    """A wait is woken by the end of its tasks, and by nothing else. For backends that declare `notifies`."""

    @property
    def wait_seconds(self) -> float:
        """How long a wait lasts that is to be woken."""
        return 2 * self.prompt_seconds

    @holds("R15", needs="notifies")
    def test_an_end_wakes_a_wait(self) -> None:
        """A wait returns the task that has ended, soon after its end, whatever its state.

        With its record, if that is at hand.
        """
        waiter, worker = self.several(2)
        for state in TERMINAL:
            record(worker, start(f"a-{state}"), transition(f"b-{state}", State.PENDING))
            names = [f"a-{state}", f"b-{state}"]
            waiting = Background(waiter.wait, names, timeout_seconds=self.wait_seconds)
            _assert_waits(waiting)
            record(worker, transition(names[1], state))
            answer = waiting.result(self.prompt_seconds)
            assert list(answer) == [names[1]]
            if answer[names[1]] is not None:
                assert [answer[names[1]]] == worker.read([names[1]]), "what goes with it is not its record"

    @holds("R15", needs="notifies")
    def test_forgetting_wakes_a_wait(self) -> None:
        """A task that is gone cannot end any more, so its wait returns."""
        waiter, other = self.several(2)
        for number in range(_TIMES):
            names = [f"a{number}", f"b{number}"]
            record(other, *[start(name) for name in names])
            waiting = Background(waiter.wait, names, timeout_seconds=self.wait_seconds)
            _assert_waits(waiting)
            other.forget([names[number % 2]])
            assert list(waiting.result(self.prompt_seconds)) == [names[number % 2]]

    @holds("R15", needs="notifies")
    def test_an_end_without_retention_wakes_a_wait(self) -> None:
        """A task whose record is gone at once has ended all the same."""
        waiter, worker = self.several(2)
        record(worker, start())
        waiting = Background(waiter.wait, ["t"], timeout_seconds=self.wait_seconds)
        _assert_waits(waiting)
        record(worker, transition(run="r", retention=0.0))
        assert list(waiting.result(self.prompt_seconds)) == ["t"]

    @holds("R15", needs="notifies")
    def test_a_second_wait_is_woken_again(self) -> None:
        """A wait that ended in vain, or with another task, keeps nothing from the next one."""
        waiter, worker = self.several(2)
        names = [f"t{number}" for number in range(_TIMES)]
        record(worker, *[start(name) for name in names])
        assert not waiter.wait(names, timeout_seconds=0.01)
        for name in names[:]:
            waiting = Background(waiter.wait, names, timeout_seconds=self.wait_seconds)
            _assert_waits(waiting)
            record(worker, transition(name, run="r"))
            assert set(waiting.result(self.prompt_seconds)) == {name}
            names.remove(name)

    @holds("R15", needs="notifies")
    def test_an_end_wakes_all_waits(self) -> None:
        """Several that wait, by one object or another, are all woken."""
        one, other = self.several(2)
        record(one, start("a"), start("b"))
        waiting = [
            Background(backend.wait, [name, "b"], timeout_seconds=self.wait_seconds)
            for backend in (one, one, other)
            for name in ("a", "b")
        ]
        record(other, transition("b", run="r"))
        assert [set(each.result(self.prompt_seconds)) for each in waiting] == [{"b"}] * len(waiting)

    @holds("R15", needs="notifies")
    def test_an_end_in_another_process_wakes_a_wait(self) -> None:
        """It makes no difference which process records the end."""
        self.require_processes()
        namespace = self.service.namespace()
        waiter = self.on(namespace)
        record(waiter, start())
        # The process takes its time to start, so the wait is longer; it was woken if it ends before its time is out.
        waiting = Background(timed, waiter.wait, ["t"], timeout_seconds=60.0)
        in_processes(self.service.url(namespace), _end, 1, prelude=self.service.prelude)
        assert list(waiting.result(self.prompt_seconds).answer) == ["t"]

    @holds("R16", needs="notifies")
    def test_what_was_set_before_is_not_missed(self) -> None:
        """A wait reports at once the tasks that are terminal or gone when it begins."""
        backend = self.fresh()
        record(
            backend,
            transition("ended"),
            start("running"),
            transition("failed", State.FAILURE),
            transition("over", retention=0.0),
        )
        record(backend, start("forgotten"))
        backend.forget(["forgotten"])
        gone = ["ended", "failed", "over", "forgotten", "never sent"]
        answer = Background(backend.wait, ["running", *gone], timeout_seconds=self.wait_seconds)
        assert sorted(answer.result(self.prompt_seconds)) == sorted(gone)

    @holds("R16", needs="notifies")
    def test_what_is_set_at_that_instant_is_not_missed(self) -> None:
        """A wait reports a state that is set just before it begins, or at that instant.

        Listen first and look second: what comes between looking and listening is missed.
        """
        waiter, worker = self.several(2)
        for number in range(4 * self.profile.races):
            name = f"t{number}"
            record(worker, start(name))
            waiting = Background(timed, waiter.wait, [name], timeout_seconds=self.wait_seconds)
            threading.Event().wait(number % 10 / 2_000)
            record(worker, transition(name, run="r"))
            answer = waiting.result()
            assert list(answer.answer) == [name]
            assert answer.seconds < self.prompt_seconds, "the state was missed, and seen only when the time was out"

    @holds("R17", needs="notifies")
    def test_a_wait_ends_when_its_time_is_out(self) -> None:
        """It returns empty when its time is out, neither much earlier nor much later."""
        backend = self.fresh()
        record(backend, start())
        for seconds in (0.0, SHORT):
            answer = timed(backend.wait, ["t"], timeout_seconds=seconds)
            assert list(answer.answer) == []
            assert seconds - 0.05 <= answer.seconds < seconds + self.prompt_seconds

    @holds("R17", needs="notifies")
    def test_a_short_wait_is_short(self) -> None:
        """A time is rounded neither up to whole seconds nor down to none, which some services take for without end."""
        backend = self.fresh()
        record(backend, start())
        for seconds in (0.0001, 0.0004, 0.05, 1.1):
            wait = partial(backend.wait, ["t"], timeout_seconds=seconds)
            assert_ends_once(wait, seconds, late=_LATE_SECONDS, longest=seconds + self.prompt_seconds)

    @holds("R17", needs="notifies")
    def test_nothing_else_wakes_a_wait(self) -> None:
        """Neither a transition that is not terminal, nor a refused one, nor another task's end wakes it."""
        waiter, worker = self.several(2)
        record(worker, start(lease=0.0))
        waiting = Background(timed, waiter.wait, ["t"], timeout_seconds=2 * SHORT)
        for number in range(10_000):
            if waiting.ended():
                break
            record(worker, start(run=f"r{number}", lease=0.0), transition(run="fenced"), transition(f"other {number}"))
            waiting.ended(0.02)
        answer = waiting.result()
        assert list(answer.answer) == []
        assert answer.seconds >= 2 * SHORT - 0.05, f"woken for nothing after {answer.seconds:.2f} s"


def _assert_waits(waiting: Background[Any]) -> None:
    """Assert that a wait has not ended, once it had the time to begin.

    A change that comes before the wait has begun is found by its first look, and says nothing of what wakes it.
    """
    assert not waiting.ended(_BEGINS_SECONDS), "a wait has ended before anything happened"


def _end(backend: Backend, _: int, __: LineUp) -> None:
    record(backend, transition(run="r"))
