"""`drivetrain.contract.states`: the one rule by which a record changes."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.contract import GroupProgress, State, StateChange, TaskRecord, Transition, apply, evolve

NOW = 1000.0
TERMINAL = [State.SUCCESS, State.FAILURE, State.CANCELLED, State.EXPIRED]
OPEN = [State.PENDING, State.RECEIVED, State.STARTED, State.RETRY]


def wish(state, **fields):
    return Transition(**{"task_id": "t", "at": 5.0, "state": state, **fields})


def run(*wishes, now=NOW):
    """The record after wishes that are all granted."""
    record = None
    for each in wishes:
        record = apply(record, each, now)
        assert record is not None
    return record


def started(run_id="a", lease=10.0, **fields):
    return wish(State.STARTED, run=run_id, lease=lease, **fields)


def test_which_states_are_terminal():
    assert [state for state in State if state.terminal] == TERMINAL


@pytest.mark.parametrize("state", list(State))
def test_the_first_transition_is_always_granted(state):
    record = apply(None, wish(state, attempt=2, task="mod.f", payload=b"p", downstream=b"d", worker="w"), NOW)
    assert (record.task_id, record.state, record.attempt, record.task) == ("t", state, 2, "mod.f")
    assert (record.payload, record.downstream) == (b"p", b"d")
    assert record.history == {state: StateChange(5.0, "w")}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(TERMINAL, State)))
def test_no_transition_leaves_a_terminal_state(before, after):
    assert apply(TaskRecord(task_id="t", state=before), wish(after, attempt=9, run="r"), NOW) is None


class TestPending:
    def test_sending_again_keeps_when_it_was_first_sent(self):
        record = run(wish(State.PENDING, at=1.0), wish(State.PENDING, at=2.0, downstream=b"new"))
        assert record.history == {State.PENDING: StateChange(1.0)}
        assert record.downstream == b"new"

    @pytest.mark.parametrize("state", [State.RECEIVED, State.STARTED, State.RETRY])
    def test_it_never_goes_back(self, state):
        assert apply(TaskRecord(task_id="t", state=state), wish(State.PENDING, attempt=9), NOW) is None


class TestStarting:
    @pytest.mark.parametrize("state", [State.PENDING, State.RECEIVED])
    def test_what_is_not_started_may_be(self, state):
        record = run(wish(state), started(lease=10))
        assert (record.state, record.run, record.leased_until, record.starts) == (State.STARTED, "a", NOW + 10, 1)

    def test_a_live_lease_keeps_others_out_until_its_end(self):
        record = run(started("a", lease=10))
        assert apply(record, started("b"), NOW + 9.99) is None
        assert apply(record, started("b"), NOW + 10).run == "b"

    def test_the_same_run_may_start_again(self):
        record = run(started("a"), started("a", lease=20))
        assert (record.starts, record.leased_until) == (1, NOW + 20)

    def test_taking_over_counts_as_a_crash(self):
        assert apply(run(started("a")), started("b"), NOW + 11).starts == 2

    def test_without_a_lease_any_run_may_start(self):
        assert apply(run(started("a", lease=None)), started("b"), NOW).run == "b"

    def test_an_older_attempt_never_starts(self):
        record = run(started(attempt=2))
        assert apply(record, started("b", attempt=1), NOW + 1e9) is None

    def test_a_newer_attempt_starts_whatever_the_lease(self):
        record = run(started("a", attempt=0), started("b", attempt=1))
        assert (record.attempt, record.run, record.starts) == (1, "b", 1)

    def test_an_attempt_that_is_over_does_not_start_again(self):
        record = run(started("a"), wish(State.RETRY, run="a", payload=b"next"))
        assert apply(record, started("b", attempt=0), NOW + 1e9) is None
        assert apply(record, started("b", attempt=1), NOW).state is State.STARTED

    def test_when_it_was_received_is_kept(self):
        record = run(started(received_at=4.5, worker="w"))
        assert record.history == {State.RECEIVED: StateChange(4.5, "w"), State.STARTED: StateChange(5.0, "w")}


class TestRuns:
    @pytest.mark.parametrize("state", [State.SUCCESS, State.FAILURE, State.CANCELLED, State.RETRY, State.RECEIVED])
    def test_the_run_that_holds_the_task_speaks_for_it(self, state):
        record = apply(run(started("a")), wish(state, run="a"), NOW)
        assert record.state is state
        assert record.leased_until is None

    @pytest.mark.parametrize("state", [*TERMINAL, State.RETRY, State.RECEIVED])
    def test_another_run_does_not(self, state):
        assert apply(run(started("a")), wish(state, run="b"), NOW) is None

    @pytest.mark.parametrize("state", [*TERMINAL, State.RETRY, State.RECEIVED])
    def test_a_run_that_gave_the_task_back_does_not(self, state):
        given_back = run(started("a"), wish(State.RECEIVED, run="a"))
        assert apply(given_back, wish(state, run="a"), NOW) is None

    @pytest.mark.parametrize("run_id", [None, "a", "b"])
    def test_what_was_started_in_time_does_not_expire_while_it_is_held(self, run_id):
        record = run(started("a", lease=10))
        assert apply(record, wish(State.EXPIRED, run=run_id), NOW + 9.99) is None

    def test_a_task_whose_lease_has_ended_may_expire(self):
        record = run(started("a", lease=10))
        assert apply(record, wish(State.EXPIRED), NOW + 10).state is State.EXPIRED

    @pytest.mark.parametrize(("before", "after"), list(itertools.product(OPEN, TERMINAL)))
    def test_a_transition_without_a_run_may_end_any_task(self, before, after):
        assert apply(TaskRecord(task_id="t", state=before, run="a"), wish(after), NOW).state is after

    def test_a_release_does_not_count_as_a_crash(self):
        record = run(started("a"), wish(State.RECEIVED, run="a"))
        assert record.starts == 0
        assert apply(record, started("b"), NOW).starts == 1

    def test_retrying_keeps_the_count_of_the_attempt(self):
        record = run(started("a"), wish(State.RETRY, run="a"))
        assert record.starts == 1


class TestExpiry:
    @pytest.mark.parametrize("state", TERMINAL)
    def test_terminal_records_expire_by_the_backends_clock(self, state):
        assert apply(None, wish(state, retention=0), NOW).expires_at == NOW
        assert apply(None, wish(state, retention=60), NOW).expires_at == NOW + 60
        assert apply(None, wish(state), NOW).expires_at is None

    @pytest.mark.parametrize("state", OPEN)
    def test_others_do_not(self, state):
        assert apply(None, wish(state, retention=60), NOW).expires_at is None


states = st.sampled_from(list(State))
wishes = st.builds(
    Transition,
    task_id=st.just("t"),
    state=states,
    attempt=st.integers(0, 3),
    at=st.floats(0, 10),
    run=st.sampled_from([None, "a", "b"]),
    lease=st.none() | st.floats(0, 10),
    received_at=st.none() | st.floats(0, 10),
    payload=st.none() | st.binary(max_size=2),
    downstream=st.none() | st.binary(max_size=2),
    retention=st.none() | st.floats(0, 10),
    task=st.sampled_from(["", "f"]),
)


@given(st.lists(st.tuples(wishes, st.floats(0, 5)), max_size=12))
def test_what_holds_of_every_story(story):
    record, now = None, NOW
    for each, passed in story:
        now += passed
        copy = None if record is None else evolve(record, history=dict(record.history))
        after = apply(record, each, now)
        assert record == copy, "apply is pure"
        if after is None:
            assert record is not None
            continue
        assert record is None or not record.state.terminal
        assert after.state is each.state
        assert after.attempt >= (0 if record is None else record.attempt)
        assert (after.leased_until is None) == (after.state is not State.STARTED or each.lease is None)
        assert after.expires_at is None or after.state.terminal
        # A start is asked for by a run; what is said without one counts as no start.
        assert after.starts >= (1 if after.state is State.STARTED and each.run is not None else 0)
        assert after.state in after.history
        if record is not None:
            # A release takes the start back.
            released = {State.STARTED} if after.state is State.RECEIVED else set()
            assert set(record.history) - released <= set(after.history)
            assert after.payload == (record.payload if each.payload is None else each.payload)
            assert after.downstream == (record.downstream if each.downstream is None else each.downstream)
            assert after.task == (each.task or record.task)
        record = after


@given(st.lists(wishes, max_size=8), wishes)
def test_the_same_start_or_end_again_changes_no_state(story, last):
    """Repeating a granted wish leaves the record, but for the clock's part, as it is."""
    record = None
    for each in [*story, last]:
        record = apply(record, each, NOW) or record
    again = apply(record, last, NOW)
    if last.state is State.STARTED and last.run is not None and record.run == last.run:
        assert again is None or again == record
    if last.state.terminal:
        assert again is None


class TestGroupProgress:
    @pytest.mark.parametrize(
        ("size", "done", "failed", "complete"),
        [(0, 0, False, True), (2, 1, False, False), (2, 2, False, True), (2, 2, True, False)],
    )
    def test_complete(self, size, done, failed, complete):
        assert GroupProgress(size=size, done=done, failed=failed).complete is complete


def test_records_are_values():
    assert wish(State.PENDING) == wish(State.PENDING)
    with pytest.raises(AttributeError):
        wish(State.PENDING).attempt = 1
    with pytest.raises((AttributeError, TypeError)):
        wish(State.PENDING).unknown = 1
