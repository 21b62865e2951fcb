"""Filters of tasks: what matches, their JSON, and what a search shows of a record."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.app.finding import FoundTask, TaskFilter, since_seconds, states_of
from drivetrain.contract import ConfigurationError, State, StateChange, TaskRecord
from drivetrain.worker.value_codec import decode, encode

RECORD = TaskRecord(
    task_id="0a1b",
    state=State.FAILURE,
    attempt=2,
    task="mails.send",
    queue="mails",
    workflow="0000",
    parent="0a1a",
    history={
        State.PENDING: StateChange(10.0),
        State.STARTED: StateChange(20.0, "web-1:7"),
        State.FAILURE: StateChange(30.0, "web-1:7"),
    },
)


def failed(_record):
    return "builtins.ValueError: No such Recipient"


@pytest.mark.parametrize(
    "conditions",
    [
        {},
        {"states": (State.FAILURE,)},
        {"states": (State.RETRY, State.FAILURE)},
        {"task": "mails.send"},
        {"task": "mails.*"},
        {"task": "*"},
        {"task": "*.se*d"},
        {"queue": "ma*"},
        {"worker": "web-*"},
        {"workflow": "0000"},
        {"workflow": "0a1b"},  # of the workflow that begins with it
        {"since": 30.0},
        {"text": "A1"},
        {"text": "SEND"},
        {"text": "such recipient"},
        {"text": "valueerror"},
        {"task_id": "0a1b"},
        {"states": (State.FAILURE,), "task": "mails.*", "queue": "mails", "since": 5.0, "text": "recipient"},
    ],
)
def test_a_task_matches(conditions):
    assert TaskFilter(**conditions).matches(RECORD, failed)


@pytest.mark.parametrize(
    "conditions",
    [
        {"states": (State.SUCCESS, State.STARTED)},
        {"task": "mails"},
        {"task": "MAILS.SEND"},
        {"task": "mails?send"},
        {"task": "mails.*d.*"},
        {"queue": "mail"},
        {"worker": "web-1"},
        {"workflow": "000*"},
        {"since": 30.1},
        {"text": "sender"},
        {"task_id": "0a1"},
        {"states": (State.FAILURE,), "task": "mails.*", "queue": "other"},
    ],
)
def test_a_task_does_not_match(conditions):
    assert not TaskFilter(**conditions).matches(RECORD, failed)


def test_a_pattern_is_text_apart_from_its_stars():
    record = TaskRecord(task_id="t", state=State.PENDING, task="a.b[1]\n(x)+")
    assert TaskFilter(task="a.b[1]*(x)+").matches(record)
    assert not TaskFilter(task="axb[1]*(x)+").matches(record)


def test_a_failure_is_read_only_where_it_decides():
    read = []
    TaskFilter(text="mails").matches(RECORD, read.append)
    TaskFilter(text="x", states=(State.SUCCESS,)).matches(RECORD, read.append)
    assert read == []


@given(
    st.builds(
        TaskFilter,
        states=st.lists(st.sampled_from(State), unique=True).map(tuple),
        task=st.text(),
        queue=st.text(),
        worker=st.text(),
        workflow=st.text(),
        since=st.none() | st.floats(allow_nan=False, allow_infinity=False),
        text=st.text(st.characters(exclude_categories=())),
        task_id=st.text(),
    )
)
def test_a_filter_comes_back_from_its_json(where):
    assert decode(encode(where), TaskFilter) == where


def test_what_is_shown_of_a_record():
    expected = FoundTask(
        task_id="0a1b",
        state=State.FAILURE,
        task="mails.send",
        queue="mails",
        workflow="0000",
        parent="0a1a",
        attempt=2,
        worker="web-1:7",
        sent=10.0,
        changed=30.0,
        failure="oops",
    )
    assert FoundTask.of(RECORD, "oops") == expected


def test_states_are_given_by_name():
    assert states_of(None) == ()
    assert states_of("failure") == states_of(State.FAILURE) == states_of(["FAILURE"]) == (State.FAILURE,)
    assert states_of(["retry", State.FAILURE, "Retry"]) == (State.RETRY, State.FAILURE)
    with pytest.raises(ConfigurationError, match="no state 'failed'; use one of PENDING, "):
        states_of(["failed"])


def test_a_time_is_given_in_three_ways():
    assert since_seconds(None, 100.0) is None
    assert since_seconds(7.5, 100.0) == 7.5
    assert since_seconds(timedelta(seconds=30), 100.0) == 70.0
    assert since_seconds(datetime.fromtimestamp(50, UTC), 100.0) == 50.0
    with pytest.raises(ConfigurationError, match="has no time zone; give an aware datetime"):
        since_seconds(datetime(2026, 1, 1), 100.0)  # noqa: DTZ001 - the wrong argument
