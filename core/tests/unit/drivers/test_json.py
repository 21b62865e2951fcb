"""The serializer json: exact, compact, strict."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.contract import SerializationError, Serializer
from drivetrain.drivers.json import JsonSerializer, make_serializer

SERIALIZER = make_serializer("json")

text = st.text(st.characters(exclude_categories=["Cs"]))
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner) | st.dictionaries(text, inner),
)


def test_it_is_a_serializer_of_json():
    assert isinstance(SERIALIZER, Serializer)
    assert SERIALIZER.content_type == "application/json"


@given(plain)
def test_plain_values_come_back_exactly(value):
    back = SERIALIZER.loads(SERIALIZER.dumps(value))
    assert repr(back) == repr(value), "repr tells 1 from 1.0 from True, and 0.0 from -0.0"


def test_bytes_are_compact_utf8():
    assert SERIALIZER.dumps({"a": [1, 2.5, None], "ü": "\u2028 €"}) == '{"a":[1,2.5,null],"ü":"\u2028 €"}'.encode()


class Thing:
    pass


circular: list = []
circular.append(circular)

deep: list = []
for _ in range(100_000):
    deep = [deep]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"args": [1, {"when": Thing()}]}, "value['args'][1]['when'] is of type Thing"),
        ([1.0, math.nan], "value[1] is nan"),
        ([-math.inf], "value[0] is -inf"),
        ({"a": "half \ud800"}, "value['a'] contains half a surrogate pair"),
        ({"half \ud800": 1}, "a key of value contains half"),
        ({(1, 2): 1}, "value has the key (1, 2)"),
        (b"bytes", "value is of type bytes"),
        (10**5000, "digits"),
        (circular, "contains itself"),
        (deep, "nested too deeply"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_hold_is_refused_and_named(value, told):
    with pytest.raises(SerializationError) as caught:
        SERIALIZER.dumps(value)
    assert told in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (b'"\x80"', "not UTF-8"),
        (b"[1,NaN]", "NaN is not JSON"),
        (b"Infinity", "Infinity is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b"[1e999]", "1e999 is too large for a float"),
        (b"", "at character 0"),
        (b"[1,", "at character 3"),
        (b"[1] x", "at character 4"),
        (b"\xef\xbb\xbf[]", "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"9" * 5000, "digits"),
        (rb'["\ud800"]', "surrogates not allowed"),
        (rb'["\uDBFF"]', "surrogates not allowed"),
        (rb'{"\udfff":1}', "surrogates not allowed"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_bytes_that_are_not_json_are_refused(data, told):
    with pytest.raises(SerializationError) as caught:
        SERIALIZER.loads(data)
    assert told in str(caught.value)


def test_a_whole_surrogate_pair_is_read():
    assert SERIALIZER.loads(rb'"\ud83d\ude00 and \\ud800"') == "😀 and \\ud800"


@given(st.binary())
def test_any_bytes_are_read_or_refused(data):
    try:
        value = SERIALIZER.loads(data)
    except SerializationError:
        return
    assert SERIALIZER.loads(SERIALIZER.dumps(value)) == value


def test_the_message_of_a_refusal_does_not_show_the_bytes():
    with pytest.raises(SerializationError) as caught:
        JsonSerializer().loads(b'{"password": "hunter2", }')
    assert "hunter2" not in str(caught.value)
