"""Batches in the driver kit: chunks, parts, folding, and completing members after recording."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.contract import (
    Completion,
    Group,
    GroupProgress,
    GroupRecord,
    GroupTally,
    Member,
    Outcome,
    RunLease,
    State,
    TaskRecord,
    Transition,
    apply,
    chunks,
    completion_of,
    evolve,
    fold_transitions,
    group_record,
    is_expired,
    record_and_complete,
    renew_record,
    shorten_record,
    split_at_groups,
)

NOW = 100.0
IDS = st.sampled_from(["a", "b", "c"])
TRANSITIONS = st.lists(
    st.builds(
        Transition,
        task_id=IDS,
        state=st.sampled_from(State),
        attempt=st.integers(0, 2),
        at=st.just(1.0),
        run=st.none() | st.sampled_from(["r", "s"]),
        lease=st.none() | st.just(10.0),
        payload=st.none() | st.binary(max_size=1),
        retention=st.none() | st.sampled_from([0.0, 10.0]),
        member=st.none() | st.builds(Member, group_id=IDS, index=st.integers(-1, 3)),
    ),
    max_size=12,
)


@given(st.lists(st.integers(), max_size=20), st.integers(1, 6))
def test_chunks_hold_everything_in_order(items, size):
    parts = list(chunks(items, size))
    assert [item for part in parts for item in part] == items
    assert all(len(part) == size for part in parts[:-1])
    assert all(parts)


def _ended(task_id: str, state: State = State.SUCCESS, **more: object) -> Transition:
    return evolve(Transition(task_id=task_id, state=state, at=1.0), **more)


@pytest.mark.parametrize(
    ("state", "payload", "expected"),
    [
        (State.SUCCESS, b"x", Completion(member=Member("g", 1), payload=b"x")),
        (State.FAILURE, None, Completion(member=Member("g", 1), payload=b"", failed=True)),
        (State.CANCELLED, b"x", Completion(member=Member("g", 1), payload=b"x", failed=True)),
        (State.STARTED, b"x", None),
    ],
)
def test_only_the_end_of_a_task_completes_its_member(state, payload, expected):
    assert completion_of(_ended("t", state, payload=payload, member=Member("g", 1))) == expected
    assert completion_of(_ended("t", state)) is None


def test_a_batch_is_split_before_a_task_whose_group_has_a_member_in_it():
    member, own = _ended("m", member=Member("g", 0)), _ended("g")
    started = _ended("m", State.STARTED, member=Member("g", 0))
    assert list(split_at_groups([])) == []
    assert list(split_at_groups([own, member])) == [[own, member]]
    assert list(split_at_groups([started, own])) == [[started, own]]
    assert list(split_at_groups([member, own, own, member])) == [[member], [own, own, member]]


@given(TRANSITIONS)
def test_no_part_has_a_task_after_a_member_of_its_group(transitions):
    parts = list(split_at_groups(transitions))
    assert [each for part in parts for each in part] == transitions
    for part in parts:
        completed = set()
        for each in part:
            assert each.task_id not in completed
            if completion_of(each) is not None:
                completed.add(each.member.group_id)


class Store:
    """Records and groups as a driver stores them: dictionaries."""

    def __init__(self) -> None:
        self.records: dict[str, TaskRecord] = {}
        self.tallies = {each: GroupTally(size=3, collect=each == "a") for each in "abc"}
        self.members: set[Member] = set()

    def drop(self, task_id: str) -> None:
        self.records.pop(task_id, None)
        self.tallies.pop(task_id, None)

    def find(self, task_id: str) -> TaskRecord | None:
        record = self.records.get(task_id)
        if record is not None and is_expired(record, NOW):
            self.drop(task_id)
            return None
        return record

    def record_one(self, transition: Transition) -> Outcome:
        """The reference: one transition after the other, each with its member."""
        before = self.find(transition.task_id)
        after = apply(before, transition, NOW)
        if after is None:
            return Outcome(applied=False, before=before)
        self.records[transition.task_id] = after
        completion = completion_of(transition)
        return Outcome(applied=True, before=before, group=completion and self.complete([completion])[0])

    def record_folded(self, transitions: Sequence[Transition]) -> Sequence[Outcome]:
        """A batch at once, as a driver of the kit does it."""
        folded = fold_transitions(transitions, self.records, NOW)
        for task_id in folded.expired:
            self.drop(task_id)
        self.records.update(folded.changed)
        return folded.outcomes

    def complete(self, completions: Sequence[Completion]) -> list[GroupProgress | None]:
        return [self._complete(each) for each in completions]

    def _complete(self, completion: Completion) -> GroupProgress | None:
        member = completion.member
        self.find(member.group_id)
        tally = self.tallies.get(member.group_id)
        if tally is None:
            return None
        if tally.has(member.index) and member not in self.members:
            self.members.add(member)
            tally.add(failed=completion.failed)
        return tally.progress()


@given(TRANSITIONS, TRANSITIONS)
def test_folding_a_batch_does_what_one_transition_after_the_other_does(before, transitions):
    plain, folded = Store(), Store()
    for store in (plain, folded):
        for each in before:
            store.record_one(each)
    expected = [plain.record_one(each) for each in transitions]
    assert record_and_complete(transitions, folded.record_folded, folded.complete) == expected
    for task_id in "abc":
        assert folded.find(task_id) == plain.find(task_id)
    assert folded.tallies == plain.tallies


def test_nothing_is_completed_where_no_member_is_named_or_nothing_is_granted():
    def never(_: Sequence[Completion]) -> list[GroupProgress | None]:
        raise AssertionError("nothing is to be completed")

    store = Store()
    assert record_and_complete([], store.record_folded, never) == []
    assert [each.applied for each in record_and_complete([_ended("t")], store.record_folded, never)] == [True]
    again = _ended("t", member=Member("g", 0))
    assert [each.applied for each in record_and_complete([again], store.record_folded, never)] == [False]


RUNNING = TaskRecord(task_id="t", state=State.STARTED, run="r", leased_until=NOW + 1)


@pytest.mark.parametrize(
    ("record", "held", "state"),
    [
        (None, False, None),
        (RUNNING, True, State.STARTED),
        (evolve(RUNNING, run="another"), False, State.STARTED),
        (evolve(RUNNING, state=State.CANCELLED), False, State.CANCELLED),
    ],
)
def test_a_lease_is_renewed_for_the_run_that_holds_the_task(record, held, state):
    renewal, renewed = renew_record(record, RunLease(task_id="t", run="r", seconds=30.0), NOW)
    assert (renewal.held, renewal.state) == (held, state)
    assert renewed == (evolve(RUNNING, leased_until=NOW + 30) if held else None)


@pytest.mark.parametrize(
    ("state", "expires_at", "changes"),
    [
        (State.SUCCESS, None, True),
        (State.SUCCESS, 60.0, True),
        (State.SUCCESS, 50.0, False),
        (State.SUCCESS, 40.0, False),
        (State.STARTED, None, False),
    ],
)
def test_a_retention_is_only_shortened(state, expires_at, changes):
    record = TaskRecord(task_id="t", state=state, expires_at=expires_at)
    assert shorten_record(record, 50.0) == (evolve(record, expires_at=50.0) if changes else None)
    assert shorten_record(None, 50.0) is None


def test_a_record_expires_at_its_time():
    record = TaskRecord(task_id="t", state=State.SUCCESS, expires_at=50.0)
    assert [is_expired(record, now) for now in (49.9, 50.0, 50.1)] == [False, True, True]
    assert not is_expired(evolve(record, expires_at=None), 1e300)


def test_a_failed_member_counts_and_fails_the_group_unless_failures_are_collected():
    for collect in (False, True):
        tally = GroupTally(size=2, collect=collect)
        assert [tally.has(index) for index in (-1, 0, 1, 2)] == [False, True, True, False]
        tally.add(failed=True)
        tally.add(failed=False)
        assert tally.progress() == GroupProgress(size=2, done=2, failed=not collect)


def test_the_record_of_a_group_is_the_group_and_its_progress():
    group = Group(group_id="g", size=2, collect=True, continuation=b"next")
    assert group_record(group, GroupProgress(size=2, done=1, failed=False)) == GroupRecord(
        group_id="g", size=2, collect=True, continuation=b"next", done=1, failed=False
    )
