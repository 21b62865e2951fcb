"""The small pure parts of the driver kit: text, times, sizes, dead letters, and the codec of records."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.contract import (
    DEAD_AT_HEADER,
    DEAD_REASON_HEADER,
    Message,
    State,
    StateChange,
    TaskRecord,
    TooLarge,
    Transition,
    check_message_size,
    check_size,
    check_transition_sizes,
    decode_record,
    encode_record,
    evolve,
    mark_dead,
    message_bytes,
    name_digest,
    utf8,
    whole_units,
)

#: Any text, with NUL and halves of surrogate pairs.
TEXT = st.text(st.characters(exclude_categories=()))


@given(TEXT)
def test_any_text_has_bytes_that_give_it_again(text):
    assert utf8(text).decode("utf-8", "surrogatepass") == text


def test_a_digest_is_a_name_that_only_one_text_has():
    assert name_digest("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert len({name_digest(text) for text in ("é", "e\u0301", "É", "\ud800", "e", "a\0", "a")}) == 7


@pytest.mark.parametrize(
    ("seconds", "units"),
    [(0.0101, 11), (1.0, 1000), (-1.0, 0), (-math.inf, 0), (math.nan, 0), (math.inf, 60_000), (1e9, 60_000)],
)
def test_times_are_rounded_up_and_kept_within_bounds(seconds, units):
    assert whole_units(seconds, per_second=1000, longest_seconds=60) == units


def test_the_size_of_a_message_is_that_of_its_body_and_headers_in_bytes():
    message = Message(id="m", queue="q", body=b"12345", headers={"ä": "€", "x": "\ud800"})
    assert message_bytes(message) == 5 + 2 + 3 + 1 + 3
    check_message_size(message, 14)
    with pytest.raises(TooLarge) as raised:
        check_message_size(message, 13)
    assert (raised.value.size, raised.value.limit) == (14, 13)
    assert str(raised.value) == "message m has 14 bytes, and the service takes at most 13"


def test_values_are_refused_that_are_too_large():
    check_size("a body", None, 0)
    check_size("a body", b"12", 2)
    with pytest.raises(TooLarge, match="a body has 3 bytes"):
        check_size("a body", b"123", 2)


@pytest.mark.parametrize("name", ["payload", "downstream"])
def test_transitions_are_refused_that_have_too_much(name):
    transition = Transition(task_id="t", state=State.PENDING, at=0.0)
    check_transition_sizes([transition, evolve(transition, **{name: b"12"})], 2)
    with pytest.raises(TooLarge, match=f"a {name} has 3 bytes"):
        check_transition_sizes([transition, evolve(transition, **{name: b"123"})], 2)


def test_a_dead_letter_has_two_headers_more():
    message = Message(id="m", queue="q", body=b"", headers={"a": "b", DEAD_REASON_HEADER: "an older one"})
    dead = mark_dead(message, "refused", 1.5)
    assert dead == evolve(message, headers={"a": "b", DEAD_REASON_HEADER: "refused", DEAD_AT_HEADER: "1.500000"})
    assert message.headers == {"a": "b", DEAD_REASON_HEADER: "an older one"}


NUMBERS = st.floats(allow_nan=False)
RECORDS = st.builds(
    TaskRecord,
    task_id=TEXT,
    state=st.sampled_from(State),
    attempt=st.integers(),
    task=TEXT,
    queue=TEXT,
    workflow=TEXT,
    parent=TEXT,
    run=st.none() | TEXT,
    leased_until=st.none() | NUMBERS,
    starts=st.integers(),
    payload=st.none() | st.binary(),
    downstream=st.none() | st.binary(),
    history=st.dictionaries(st.sampled_from(State), st.builds(StateChange, at=NUMBERS, worker=TEXT)),
    expires_at=st.none() | NUMBERS,
)


@given(RECORDS)
def test_a_record_comes_back_from_its_bytes(record):
    assert decode_record(encode_record(record)) == record


def test_a_record_of_an_earlier_version_is_read():
    data = b'["t","PENDING",0,"mod.add",null,null,0,{"PENDING":[1.5,""]},null,2,3]\nabcde'
    history = {State.PENDING: StateChange(1.5)}
    expected = TaskRecord(
        task_id="t", state=State.PENDING, task="mod.add", payload=b"ab", downstream=b"cde", history=history
    )
    assert decode_record(data) == expected
    assert encode_record(expected) == data  # what has no queue, workflow or parent is stored as before
