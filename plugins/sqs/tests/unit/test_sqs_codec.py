"""The pure parts of messages: codec, batches, groups, holds."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain.contract import MESSAGE_GROUP_HEADER, Message
from drivetrain_contract_tests.attack_payloads import NAMES
from drivetrain_sqs.codec import DeadLetterCause, StoredMessage, decode, encode, size_of
from drivetrain_sqs.limits import BATCH_BYTES, LONGEST_HOLD_SECONDS
from drivetrain_sqs.publish import batches_of, message_group
from drivetrain_sqs.settle import visibility

#: What SQS takes in a body or a text attribute, by its documentation.
LEGAL = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")

texts = st.text(st.characters(exclude_categories=()), max_size=30)
messages = st.builds(
    Message,
    id=texts,
    queue=st.just("q"),
    body=st.binary(max_size=60) | texts.map(lambda text: text.encode("utf-8", "surrogatepass")),
    headers=st.dictionaries(texts, texts, max_size=4),
    priority=st.integers(0, 9),
    eta=st.none() | st.floats(allow_nan=False),
)
stored_messages = st.builds(
    StoredMessage,
    message=messages,
    earlier_deliveries=st.integers(0, 9),
    replayed=st.booleans(),
    dead_letter=st.none() | st.builds(DeadLetterCause, texts, st.floats(0, 1e10), st.just("app-q")),
)


def received(entry):
    return {"Body": entry["MessageBody"], "MessageAttributes": entry["MessageAttributes"], "MessageId": "id"}


# Codec


@settings(deadline=None)
@given(stored_messages)
def test_any_message_arrives_as_it_was_and_is_legal(stored):
    entry = encode(stored)
    assert LEGAL.fullmatch(entry["MessageBody"])
    for each in entry["MessageAttributes"].values():
        assert "BinaryValue" in each or LEGAL.fullmatch(each["StringValue"])
        assert each.get("BinaryValue") != b""
    assert decode(received(entry), "q") == stored


def test_a_body_that_is_text_can_be_read_in_the_console():
    entry = encode(StoredMessage(message=Message(id="a", queue="q", body='{"task": "größe"}'.encode())))
    assert entry["MessageBody"] == '{"task": "größe"}'
    assert list(entry["MessageAttributes"]) == ["drivetrain"]


def test_sizes_are_counted_as_aws_counts():
    entry = encode(StoredMessage(message=Message(id="a", queue="q", body=b"\0\xff")))
    (text, binary) = (entry["MessageAttributes"][name] for name in ("drivetrain", "drivetrain-body"))
    named = len("drivetrain") + len("String") + len("drivetrain-body") + len("Binary")
    assert size_of(entry) == len("(binary)") + named + len(text["StringValue"]) + len(binary["BinaryValue"])
    assert size_of(encode(StoredMessage(message=Message(id="a", queue="q", body="ü".encode())))) == size_of(
        encode(StoredMessage(message=Message(id="a", queue="q", body=b"ue")))
    )


@pytest.mark.parametrize(
    "attributes", [None, {}, {"drivetrain": {"StringValue": "{"}}, {"drivetrain": {"StringValue": "[]"}}]
)
def test_a_message_of_another_program_is_all_body(attributes):
    stored = decode({"Body": "hello", "MessageId": "id", "MessageAttributes": attributes}, "q")
    assert (stored.message.id, stored.message.body, dict(stored.message.headers)) == ("id", b"hello", {})


# Batches


@settings(deadline=None)
@given(st.lists(st.integers(1, 400_000), max_size=40))
def test_batches_fit_and_keep_the_order(sizes):
    entries = [{"MessageBody": "x" * size} for size in sizes]
    batches = list(batches_of(entries))
    assert [entry for batch in batches for entry in batch] == entries
    assert all(1 <= len(batch) <= 10 and sum(map(size_of, batch)) <= BATCH_BYTES for batch in batches)
    for one, other in pairwise(batches):
        assert len(one) == 10 or sum(map(size_of, one)) + size_of(other[0]) > BATCH_BYTES, "it could be fuller"


# Groups


def test_groups_are_legal_and_differ():
    named = [
        Message(id="m", queue="q", body=b"", headers={MESSAGE_GROUP_HEADER: name})
        for name in (*NAMES, "m-x", "h-x", "")
    ]
    alone = [Message(id=name, queue="q", body=b"") for name in (*NAMES, "x")]
    groups = [message_group(each, f"later-{number}") for number, each in enumerate((*named, *alone))]
    assert len(set(groups)) == len(groups)
    assert all(re.fullmatch(r"[\x21-\x7e]{1,128}", group) for group in groups)
    assert message_group(named[0], "x") == NAMES[0]
    assert message_group(named[10], "x") == message_group(named[10], "y")


# Holds


@settings(deadline=None)
@given(st.floats(0, 1e6) | st.just(float("inf")), st.floats(0, 1e6))
def test_a_hold_is_never_shorter_than_asked_but_for_twelve_hours(hold, held):
    seconds = visibility(hold, held)
    assert 0 <= seconds <= LONGEST_HOLD_SECONDS
    assert seconds + held <= max(LONGEST_HOLD_SECONDS, held)
    assert seconds > hold or seconds + held >= LONGEST_HOLD_SECONDS - 1
