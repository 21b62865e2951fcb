"""The history of a record as ``sqlite://`` stores it: text that is decoded at the first access."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.contract import State, StateChange, Transition, apply
from drivetrain.drivers.sqlite import codec
from drivetrain.drivers.sqlite.codec import history_after, history_of

# Only a PENDING task can become PENDING; the text relies on this rule.
stories = st.lists(
    st.builds(
        Transition,
        task_id=st.just("t"),
        state=st.sampled_from([State.PENDING, State.STARTED, State.RECEIVED, State.RETRY]),
        attempt=st.integers(0, 3),
        at=st.floats(0, 1e10),
        worker=st.text(max_size=3),
        run=st.just("r"),
        received_at=st.none() | st.floats(0, 1e10),
    ),
    max_size=30,
)


@given(stories, st.sampled_from([1, 200, 1_000]))
def test_the_text_says_what_apply_says(story, longest):
    before, text = None, ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "_LONGEST_HISTORY", longest)
        for wish in story:
            after = apply(before, wish, 0.0)
            if after is not None:
                before, text = after, history_after(text, wish)
                assert history_of(text) == after.history
                assert after.history == history_of(text)


def test_a_thousand_attempts_do_not_make_it_long():
    text = ""
    for attempt in range(1_000):
        for state in (State.STARTED, State.RETRY):
            wish = Transition(task_id="t", state=state, attempt=attempt, at=attempt + 0.25, worker="w", received_at=0.5)
            text = history_after(text, wish)
    assert len(text) < 2_000
    assert history_of(text) == {
        State.STARTED: StateChange(999.25, "w"),
        State.RECEIVED: StateChange(0.5, "w"),
        State.RETRY: StateChange(999.25, "w"),
    }


def test_it_is_a_mapping_like_any_other():
    known = {State.PENDING: StateChange(1.0), State.RETRY: StateChange(2.5, "a worker\ud800")}
    text = ""
    for state, entry in known.items():
        text = history_after(text, Transition(task_id="t", state=state, at=entry.at, worker=entry.worker))
    found = history_of(text)
    assert found == known
    assert (list(found), len(found), repr(found)) == (list(known), 2, repr(known))
    assert found.get(State.STARTED) is None
    assert pickle.loads(pickle.dumps(found)) == copy.deepcopy(found) == found != {}
