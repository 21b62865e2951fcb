"""Messages as bytes: what is packed is unpacked, and what an earlier version has packed too."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivetrain.contract import Message
from drivetrain_redis.codec import pack_message, unpack_message

TEXT = st.text(st.characters(), max_size=10)
MESSAGES = st.builds(
    Message,
    id=TEXT,
    queue=st.just("q"),
    body=st.binary(max_size=20),
    headers=st.dictionaries(TEXT, TEXT, max_size=3),
    priority=st.integers(0, 9),
    eta=st.none() | st.floats(0, 4e9),
)
NOW = 1_800_000_000.0


def packed_before(message):
    """The bytes of the versions that kept no time of publishing."""
    parts = [message.id, *[part for pair in message.headers.items() for part in pair]]
    kind, text = 0, "\0".join(parts)
    if text.count("\0") != 2 * len(message.headers):
        kind, text = 1, json.dumps([message.id, dict(message.headers)])
    kind += 0 if message.eta is None else 2
    data = text.encode("utf-8", "surrogatepass")
    return struct.pack(">BBId", kind, 48 + message.priority, len(data), message.eta or 0.0) + data + message.body


@given(MESSAGES)
@example(Message(id="\0", queue="q", body=b"", eta=NOW))
def test_what_is_packed_is_unpacked(message):
    assert unpack_message(pack_message(message, NOW), "q") == message


@given(MESSAGES)
def test_what_an_earlier_version_has_packed_is_unpacked(message):
    assert unpack_message(packed_before(message), "q") == message


@given(MESSAGES)
def test_a_time_takes_eight_bytes_only_where_an_eta_is_over(message):
    more = len(pack_message(message, NOW)) - len(packed_before(message))
    assert more == (8 if message.eta is not None and message.eta <= NOW else 0)


@pytest.mark.parametrize(("eta", "kind"), [(None, 4), (NOW + 1, 2), (NOW, 6), (NOW - 1, 6)])
def test_lua_reads_the_kind(eta, kind):
    assert pack_message(Message(id="m", queue="q", body=b"", eta=eta), NOW)[0] == kind
