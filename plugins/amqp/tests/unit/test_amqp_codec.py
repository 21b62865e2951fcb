"""Messages and frames as bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import exceptions, frame, spec

from drivetrain.contract import Message
from drivetrain_amqp import codec
from drivetrain_amqp.protocol import frames
from drivetrain_amqp.protocol.frames import decode_method

_TEXT = st.text(max_size=20) | st.sampled_from(["", "CC", "BCC", "x-death", "drivetrain", "\ud800", "x" * 5000])
_MESSAGES = st.builds(
    Message,
    id=_TEXT,
    queue=st.just("q"),
    body=st.binary(max_size=50),
    headers=st.dictionaries(_TEXT, _TEXT, max_size=4),
    priority=st.integers(0, 255),
    eta=st.none() | st.floats(allow_nan=False),
)


@given(_MESSAGES, st.integers(0, 3))
def test_a_decoded_message_equals_the_encoded_one(message, deliveries):
    decoded = codec.decode_message("q", *codec.encode_message(message, deliveries))
    assert (decoded.message, decoded.deliveries_before) == (message, deliveries)


@given(_MESSAGES, st.integers(0, 5))
def test_it_does_so_after_rabbitmq_has_added_headers(message, count):
    properties, body = codec.encode_message(message)
    known = spec.BasicProperties().decode(properties)
    known.headers |= {"x-death": [{"queue": "a", "count": 3}], "x-delivery-count": count}
    decoded = codec.decode_message("q", b"".join(known.encode()), body)
    assert (decoded.message, decoded.returns) == (message, count)


def test_the_message_of_another_program_is_decoded():
    properties = spec.BasicProperties(headers={"n": 1, "list": [1, 2], "x-death": []}, message_id="theirs", priority=3)
    decoded = codec.decode_message("q", b"".join(properties.encode()), b"{}")
    assert decoded.message.headers == {"n": "1", "list": "[1, 2]"}
    assert (decoded.message.id, decoded.message.priority, decoded.message.body) == ("theirs", 3, b"{}")


@pytest.mark.parametrize("head", ["", "[]", "{", "null", '{"h": 3}', "99", '"x"', '{"n": "x"}'])
def test_wrong_metadata_raises_nothing(head):
    properties = spec.BasicProperties(headers={codec.HEADER: head})
    assert codec.decode_message("q", b"".join(properties.encode()), b"body").message.queue == "q"


@given(st.binary(max_size=60))
def test_random_properties_raise_nothing(properties):
    assert codec.decode_message("q", properties, b"body").message.queue == "q"


@given(_MESSAGES, st.integers(20, 200))
def test_pika_decodes_the_frames_of_the_driver(message, largest):
    properties, body = codec.encode_message(message)
    data = frames.publish_frame(3, "ex", "key") + b"".join(frames.content_frames(3, properties, body, largest))
    kinds = []
    while data:
        used, found = frame.decode_frame(data)
        kinds.append(found)
        data = data[used:]
    assert kinds[0].method.routing_key == "key"
    assert kinds[0].method.mandatory
    assert kinds[1].body_size == len(body)
    assert kinds[1].properties.delivery_mode == 2
    assert b"".join(each.fragment for each in kinds[2:]) == body
    assert all(len(each.fragment) <= largest - 8 for each in kinds[2:])


@given(st.lists(st.integers(1, 2**40), min_size=1, max_size=5), st.integers(1, 40))
def test_frames_are_complete_however_the_bytes_are_cut(tags, step):
    data = b"".join(frames.ack_frame(1, tag, False) for tag in tags) + frames.heartbeat_frame()
    splitter, found = frames.FrameSplitter(), []
    for start in range(0, len(data), step):
        found += splitter.feed(data[start : start + step])
    assert [decode_method(payload).delivery_tag for kind, _, payload in found if kind == frames.METHOD] == tags
    assert found[-1][0] == frames.HEARTBEAT


def test_other_protocols_are_refused():
    with pytest.raises(exceptions.AMQPError):
        list(frames.FrameSplitter().feed(b"AMQP\x00\x01\x00\x00" + b"\0" * 8))
    with pytest.raises(exceptions.AMQPError):
        list(frames.FrameSplitter().feed(b"\x01\x00\x01\x00\x00\x00\x01xx" + b"\0" * 8))
