"""Races for one record or group: several callers ask at the same instant (R2, R4, R5, R8, R12, R18, R19, R23)."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence

from attrs import frozen

from drivetrain.contract import Backend, Group, State, TaskRecord, Transition, evolve
from drivetrain_contract_tests.backends.base import BackendBase
from drivetrain_contract_tests.backends.calls import (
    TERMINAL,
    done,
    granted,
    progress,
    read,
    record,
    renewed,
    start,
    transition,
)
from drivetrain_contract_tests.backends.concurrency import LineUp, in_processes, race
from drivetrain_contract_tests.clauses import holds

__all__ = ["RaceChecks", "nothing_prepared", "raced"]

#: How many callers ask for one name, by two objects: each object is shared by two threads.
_CALLERS = 4
#: How many tasks or groups are prepared by one call.
_NAMES_AT_ONCE = 40
#: How long one race lasts for each of the profile's races, in seconds.
_SECONDS_PER_RACE = 0.05
_PROCESSES, _TASKS_OF_PROCESSES = 3, 8

Ask = Callable[[Backend, str, int], bool]
#: What is wrong with the answers of the callers and the record afterwards; None: nothing.
Verdict = Callable[[Sequence[bool], TaskRecord], str | None]


@frozen
class _Past:
    """What a task has gone through before it is raced for."""

    name: str
    transitions: tuple[Transition, ...] = ()
    #: The attempt that may start next.
    attempt: int = 0

    def prepare(self, backend: Backend, tasks: Sequence[str]) -> None:
        record(backend, *[evolve(each, task_id=task) for task in tasks for each in self.transitions])


_SENT = _Past("PENDING", (transition(state=State.PENDING),))
_RUNNING = _Past("STARTED with a lease", (start(run="first"),))
_ABANDONED = _Past("STARTED with an ended lease", (start(run="first", lease=0.0),))
#: Every state from which a run may start a task.
_STARTABLE = (
    _Past("no record"),
    _SENT,
    _Past("RECEIVED", (start(run="first"), transition(state=State.RECEIVED, run="first"))),
    _ABANDONED,
    _Past("STARTED by an earlier attempt", (start(run="first"),), attempt=1),
    _Past("RETRY", (start(run="first"), transition(state=State.RETRY, run="first")), attempt=1),
)


class RaceChecks(BackendBase):
    """Of all callers that ask at the same instant, one gets what only one may have, and no write is lost.

    A unique key serialises callers that insert a record. Callers that change one need a row lock, a compare-and-set or
    a script of the service: in production every task is PENDING before it is started.
    """

    @holds("R4", "R8")
    def test_of_many_starts_one_is_granted_from_every_state(self) -> None:
        """Threads of two objects start a task that is new, sent, given back, abandoned, or to be tried again."""
        for past in _STARTABLE:

            def ask(backend: Backend, task: str, caller: int, attempt: int = past.attempt) -> bool:
                return granted(backend, start(task, run=f"r{caller}", attempt=attempt))[0]

            self._assert_race(past, ask, _one_run_has_it)

    @holds("R4", "R8")
    def test_of_many_processes_one_is_granted_from_every_state(self) -> None:
        """Processes start the same tasks at the same instant; each task is granted to one of them."""
        self.require_processes()
        namespace = self.service.namespace()
        for number, past in enumerate(_STARTABLE):
            past.prepare(self.on(namespace), _tasks_of(number))
        answers = in_processes(self.service.url(namespace), _start_all, _PROCESSES, prelude=self.service.prelude)
        for number, past in enumerate(_STARTABLE):
            for grants in zip(*[mine[number] for mine in answers], strict=True):
                assert sum(grants) == 1, f"{sum(grants)} processes were granted a task; its state was: {past.name}"

    @holds("R2", "R8")
    def test_of_many_ends_one_is_granted_and_stays(self) -> None:
        """A task has one end: of four that are recorded at the same instant, one is granted."""
        for past, run in ((_RUNNING, "first"), (_SENT, None)):

            def ask(backend: Backend, task: str, caller: int, run: str | None = run) -> bool:
                return granted(backend, transition(task, TERMINAL[caller], run=run, payload=b"%d" % caller))[0]

            self._assert_race(past, ask, _one_end_stays)

    @holds("R2")
    def test_a_start_does_not_undo_a_cancellation(self) -> None:
        """Whichever comes first, a task that is cancelled and started at the same instant ends as CANCELLED."""

        def ask(backend: Backend, task: str, caller: int) -> bool:
            asked = start(task, run=f"r{caller}") if caller else transition(task, State.CANCELLED)
            return granted(backend, asked)[0]

        self._assert_race(_SENT, ask, _cancelled)

    @holds("R5", "R8")
    def test_a_result_and_a_takeover_exclude_each_other(self) -> None:
        """A run whose lease has ended records its result while others take its task over: one of them is granted."""

        def ask(backend: Backend, task: str, caller: int) -> bool:
            result = caller % 2 == 0
            return granted(backend, transition(task, run="first") if result else start(task, run=f"r{caller}"))[0]

        self._assert_race(_ABANDONED, ask, _one_is_granted)

    @holds("R8")
    def test_an_expiry_and_a_start_exclude_each_other(self) -> None:
        """A task that expires and is started at the same instant does one of both."""

        def ask(backend: Backend, task: str, caller: int) -> bool:
            asked = transition(task, State.EXPIRED) if caller % 2 else start(task, run=f"r{caller}")
            return granted(backend, asked)[0]

        self._assert_race(_SENT, ask, _one_is_granted)

    @holds("R12")
    def test_a_renewal_and_a_takeover_exclude_each_other(self) -> None:
        """A run renews an ended lease while others take its task over: the record names the one that has it."""

        def ask(backend: Backend, task: str, caller: int) -> bool:
            if caller:
                return granted(backend, start(task, run=f"r{caller}"))[0]
            return renewed(backend, task, "first")

        self._assert_race(_ABANDONED, ask, _one_run_has_it_or_the_first)

    @holds("R12")
    def test_a_renewal_does_not_undo_an_end(self) -> None:
        """A renewal that comes at the same instant as the result leaves the result in place."""

        def ask(backend: Backend, task: str, caller: int) -> bool:
            return renewed(backend, task, "first") if caller else granted(backend, transition(task, run="first"))[0]

        self._assert_race(_RUNNING, ask, _result_stays)

    @holds("R19")
    def test_members_that_end_at_one_instant_are_counted_apart(self) -> None:
        """Each of four members of a group gets a count of its own, and one of them the whole."""

        def complete(backend: Backend, group: str, caller: int) -> int:
            answer = progress(backend, [done(caller, group_id=group)])[0]
            assert answer is not None
            return answer[1]

        for group, counts, _ in self._raced(_open_groups, complete):
            assert sorted(counts) == list(range(1, _CALLERS + 1)), (
                f"four members of {group} that ended at the same instant got the counts {counts}; each must get "
                "another count, and one of them the size of the group"
            )

    @holds("R18")
    def test_a_member_that_ends_several_times_at_one_instant_counts_once(self) -> None:
        """Four completions of one member count as one, and one payload stands."""

        def complete(backend: Backend, group: str, caller: int) -> int:
            answer = progress(backend, [done(0, b"%d" % caller, group_id=group)])[0]
            assert answer is not None
            return answer[1]

        for group, counts, backend in self._raced(_open_groups, complete):
            assert counts == [1] * _CALLERS, f"four completions of one member of {group} got the counts {counts}"
            (found,) = backend.read_groups([group])
            assert found is not None
            assert found.done == 1, f"four completions of one member of {group} count as {found.done}"

    @holds("R23")
    def test_a_group_that_is_opened_several_times_at_one_instant_is_opened_once(self) -> None:
        """All callers that open a group at the same instant find the same one afterwards."""

        def open_and_read(backend: Backend, group: str, caller: int) -> int:
            backend.open_groups([Group(group_id=group, size=caller + 1, continuation=b"%d" % caller)])
            (found,) = backend.read_groups([group])
            assert found is not None
            assert found.continuation == b"%d" % (found.size - 1), "a group is made of two that were opened"
            return found.size

        for group, sizes, _ in self._raced(nothing_prepared, open_and_read):
            assert len(set(sizes)) == 1, (
                f"callers that opened {group} at the same instant found it with the sizes {sizes}"
            )

    def _assert_race(self, past: _Past, ask: Ask, verdict: Verdict) -> None:
        for task, answers, backend in self._raced(past.prepare, ask):
            found = read(backend, task)
            assert found is not None, f"the record of {task} is gone after a race from {past.name}"
            wrong = verdict([bool(answer) for answer in answers], found)
            assert wrong is None, (
                f"{len(answers)} callers asked for one task at the same instant; its state was: {past.name}; "
                f"they were answered {answers}: {wrong}"
            )

    def _raced(
        self, prepare: Callable[[Backend, Sequence[str]], None], ask: Callable[[Backend, str, int], int]
    ) -> Iterator[tuple[str, list[int], Backend]]:
        return raced(self.several(2), prepare, ask, seconds=_SECONDS_PER_RACE * self.profile.races)


def raced(
    backends: Sequence[Backend],
    prepare: Callable[[Backend, Sequence[str]], None],
    ask: Callable[[Backend, str, int], int],
    *,
    seconds: float,
) -> Iterator[tuple[str, list[int], Backend]]:
    """Race for fresh names for a time; each name with the answers of all callers and a backend to look at it.

    Args:
        backends: two objects of one namespace.
        prepare: makes what is raced for, under names that are new.
        ask: one caller asks for one name; the last argument is the number of the caller.
        seconds: how long.
    """
    callers = [lambda name, number=number: ask(backends[number % 2], name, number) for number in range(_CALLERS)]
    until = time.monotonic() + seconds
    for batch in itertools.count():
        names = [f"{batch}-{number}" for number in range(_NAMES_AT_ONCE)]
        prepare(backends[0], names)
        for name, answers in zip(names, race(callers, names, until), strict=False):
            yield name, answers, backends[0]
        if time.monotonic() > until:
            return


def nothing_prepared(_backend: Backend, _names: Sequence[str]) -> None:
    """What is raced for does not exist before."""


def _open_groups(backend: Backend, groups: Sequence[str]) -> None:
    backend.open_groups([Group(group_id=group, size=_CALLERS) for group in groups])


def _one_is_granted(answers: Sequence[bool], _: TaskRecord) -> str | None:
    granted_to = sum(answers)
    return None if granted_to == 1 else f"{granted_to} of them were granted it, and one must be"


def _one_run_has_it(answers: Sequence[bool], found: TaskRecord) -> str | None:
    if wrong := _one_is_granted(answers, found):
        return wrong
    run = f"r{list(answers).index(True)}"
    return None if found.run == run else f"{run} was granted it, and the record names {found.run}"


def _one_run_has_it_or_the_first(answers: Sequence[bool], found: TaskRecord) -> str | None:
    if not answers[0]:
        return _one_run_has_it(answers, found)
    wrong = _one_is_granted(answers, found)
    return wrong or (None if found.run == "first" else f"its lease was renewed, and the record names {found.run}")


def _one_end_stays(answers: Sequence[bool], found: TaskRecord) -> str | None:
    if wrong := _one_is_granted(answers, found):
        return wrong
    winner = list(answers).index(True)
    if (found.state, found.payload) == (TERMINAL[winner], b"%d" % winner):
        return None
    return f"{TERMINAL[winner]} was granted, and the record is {found.state} with {found.payload!r}"


def _cancelled(answers: Sequence[bool], found: TaskRecord) -> str | None:
    if not answers[0]:
        return "the cancellation was refused"
    return None if found.state is State.CANCELLED else f"it was cancelled, and the record is {found.state}"


def _result_stays(answers: Sequence[bool], found: TaskRecord) -> str | None:
    if not answers[0]:
        return "the result was refused"
    return None if found.state is State.SUCCESS else f"its result was granted, and the record is {found.state}"


def _tasks_of(number: int) -> list[str]:
    return [f"{number}-{index}" for index in range(_TASKS_OF_PROCESSES)]


def _start_all(backend: Backend, process: int, line_up: LineUp) -> list[list[bool]]:
    return [
        [_start_one(backend, task, f"r{process}", past.attempt, line_up) for task in _tasks_of(number)]
        for number, past in enumerate(_STARTABLE)
    ]


def _start_one(backend: Backend, task: str, run: str, attempt: int, line_up: LineUp) -> bool:
    line_up()
    return granted(backend, start(task, run=run, attempt=attempt))[0]
