"""Which transitions are granted (R1 to R8)."""

from __future__ import annotations

from functools import partial
from itertools import product

from drivetrain.contract import State, Transition, evolve
from drivetrain_contract_tests.backends.base import LONG, SHORT, BackendBase
from drivetrain_contract_tests.backends.calls import TERMINAL, granted, read, record, refused, start, transition
from drivetrain_contract_tests.backends.model import Model, assert_outcomes, assert_records
from drivetrain_contract_tests.backends.timing import assert_ends, timed
from drivetrain_contract_tests.clauses import holds

__all__ = ["TransitionChecks"]

#: What a task has gone through before a transition is asked for.
_PASTS: tuple[tuple[Transition, ...], ...] = (
    (),
    (transition(state=State.PENDING, payload=b"past", downstream=b"past", task="mod.past", queue="past"),),
    (start(attempt=1, received_at=0.5, worker="w"), transition(state=State.RECEIVED, run="r", attempt=1)),
    (start(attempt=1, payload=b"past"),),
    (start(attempt=1, lease=0.0),),
    (start(attempt=1, lease=None),),
    (start(attempt=1), transition(state=State.RETRY, run="r", attempt=1, payload=b"past")),
    *[
        (start(attempt=1), transition(state=state, run="r", attempt=1, payload=b"past", retention=LONG))
        for state in TERMINAL
    ],
)


class TransitionChecks(BackendBase):
    """A record changes as the one rule says."""

    @holds("R1")
    def test_every_transition_goes_as_the_rule_says(self) -> None:
        """From every state, each transition of each attempt and run is granted exactly when `apply` grants it.

        A driver that decides inside its service says what `drivetrain.contract.apply` says, or calls it under a
        compare-and-set.
        """
        backend, model = self.fresh(), Model()
        for state in State:
            batch: list[Transition] = []
            for attempt, run, (number, past) in product(range(3), (None, "r", "other"), enumerate(_PASTS)):
                name = f"{state} {attempt} {run} {number}"
                asked = transition(
                    name, state, 2.0, attempt=attempt, run=run, lease=LONG, payload=b"now", retention=LONG
                )
                batch += [*[evolve(each, task_id=name) for each in past], asked]
            assert_outcomes(backend.record(batch), [model.record(each) for each in batch])
        assert_records(backend.read(list(model.tasks)), list(model.tasks.values()))

    @holds("R2")
    def test_a_terminal_state_is_final(self) -> None:
        """What has ended stays as it ended: no state, attempt or run changes it."""
        backend = self.fresh()
        for state in TERMINAL:
            name = state.lower()
            record(backend, start(name, lease=0.0), transition(name, state, run="r", payload=b"first"))
            before = read(backend, name)
            for later, run in product(State, (None, "r", "other")):
                late = transition(name, later, 9.0, attempt=9, run=run, lease=LONG, payload=b"later", retention=0)
                assert granted(backend, late) == [False], f"{later} was granted after {state}"
            assert read(backend, name) == before

    @holds("R2", "R5")
    def test_a_late_start_does_not_overwrite_a_result(self) -> None:
        """A duplicate that starts after the task has ended is refused, whichever run it is."""
        worker, late = self.several(2)
        record(worker, start(run="a"), transition(run="a", payload=b"result"))
        assert granted(late, start(run="a"), start(run="b"), start(run="b", attempt=1)) == [False] * 3
        assert granted(late, transition(state=State.FAILURE, run="b", payload=b"later")) == [False]
        found = read(worker)
        assert found is not None
        assert (found.state, found.payload) == (State.SUCCESS, b"result")

    @holds("R3")
    def test_an_older_attempt_changes_nothing(self) -> None:
        """Once an attempt has begun, starts and outcomes of the ones before it are refused."""
        backend = self.fresh()
        assert granted(backend, start(run="b", attempt=2)) == [True]
        before = read(backend)
        older = [start(run="a", attempt=attempt) for attempt in (0, 1)]
        older += [transition(state=state, run="a", attempt=1) for state in (State.RETRY, State.SUCCESS, State.RECEIVED)]
        assert granted(backend, *older) == [False] * len(older)
        assert read(backend) == before

    @holds("R3")
    def test_an_attempt_never_goes_down(self) -> None:
        """A transition that is granted whatever the attempt, like a cancellation, does not lower it."""
        backend = self.fresh()
        record(backend, start(attempt=2), transition(state=State.CANCELLED, attempt=0))
        found = read(backend)
        assert found is not None
        assert (found.state, found.attempt) == (State.CANCELLED, 2)

    @holds("R3")
    def test_an_attempt_that_ended_in_a_retry_does_not_start_again(self) -> None:
        """After a RETRY the next attempt may start, and the one that asked for it may not."""
        backend = self.fresh()
        record(backend, start(), transition(state=State.RETRY, run="r"))
        assert granted(backend, start(run="again"), start(run="next", attempt=1)) == [False, True]

    @holds("R4")
    def test_a_live_lease_keeps_others_out(self) -> None:
        """While a run holds its task no other starts it, however often it asks."""
        one, other = self.several(2)
        assert granted(one, start(run="a")) == [True]
        assert [granted(other, start(run=run)) for run in ("b", "c", "b")] == [[False]] * 3
        assert granted(one, start(run="a")) == [True]

    @holds("R4")
    def test_an_ended_lease_lets_another_run_in(self) -> None:
        """A run whose lease has ended loses its task to the next that asks: not before, and soon after."""
        one, other = self.several(2)
        started = timed(granted, one, start(run="a", lease=SHORT))
        assert_ends(partial(refused, other, start(run="b")), started, SHORT, self.resolution)

    @holds("R5")
    def test_a_run_that_lost_its_task_is_fenced(self) -> None:
        """After another run has taken over, nothing that the former one records is granted."""
        one, other = self.several(2)
        record(one, start(run="a", lease=0.0))
        assert granted(other, start(run="b")) == [True]
        before = read(other)
        stale = (*TERMINAL, State.RETRY, State.RECEIVED, State.STARTED)
        assert granted(one, *[transition(state=state, run="a", lease=LONG) for state in stale]) == [False] * len(stale)
        assert read(one) == before
        assert granted(other, transition(run="b")) == [True]

    @holds("R5")
    def test_a_lease_that_ended_unnoticed_still_speaks(self) -> None:
        """A run is fenced by another that took over, not by time alone: its work counts if nobody else did it."""
        backend = self.fresh()
        assert granted(backend, start(lease=0.0), transition(run="r")) == [True, True]

    @holds("R6")
    def test_a_batch_takes_effect_in_its_order(self) -> None:
        """Transitions of a batch see what those before them did, and are answered in the order of the batch."""
        backend = self.fresh()
        batch = [
            transition("a", State.PENDING),
            transition("b"),
            start("a"),
            start("b"),
            transition("a", run="r"),
            start("a"),
        ]
        outcomes = record(backend, *batch)
        assert [outcome.applied for outcome in outcomes] == [True, True, True, False, True, False]
        before = [outcome.before and (outcome.before.task_id, outcome.before.state) for outcome in outcomes]
        assert before == [
            None,
            None,
            ("a", State.PENDING),
            ("b", State.SUCCESS),
            ("a", State.STARTED),
            ("a", State.SUCCESS),
        ]

    @holds("R6")
    def test_an_outcome_has_the_record_as_it_was(self) -> None:
        """Granted or not, an outcome tells the whole record from before."""
        backend = self.fresh()
        assert record(backend, transition(state=State.PENDING, payload=b"1", downstream=b"2"))[0].before is None
        for asked in (start(), transition(state=State.PENDING), transition(run="r", payload=b"3")):
            before = read(backend)
            assert record(backend, asked)[0].before == before

    @holds("R7")
    def test_the_same_transition_again_changes_nothing(self) -> None:
        """A caller that lost the answer asks again, and this changes nothing."""
        backend = self.fresh()
        for asked in (
            transition(state=State.PENDING),
            start(lease=None),
            transition(run="r", payload=b"1", retention=LONG),
        ):
            record(backend, asked)
            before = read(backend)
            (again,) = record(backend, asked)
            assert again.before == before
            assert read(backend) == before
