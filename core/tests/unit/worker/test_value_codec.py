"""The codec of core's versioned values: any text comes back, newer fields are ignored, the rest is a ValueError."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Struct

from drivetrain.worker.value_codec import decode, encode

ANY_TEXT = st.text(st.characters())  # surrogates too


class Note(Struct, frozen=True, kw_only=True):
    text: str
    counts: dict[str, int]


@given(ANY_TEXT, st.dictionaries(ANY_TEXT, st.integers(-(2**63), 2**63 - 1)))
@example("\ud800\0é", {"\udfff": 1})
def test_what_is_encoded_is_decoded(text: str, counts: dict[str, int]):
    note = Note(text=text, counts=counts)
    assert decode(encode(note), Note) == note


def test_a_newer_version_may_add_fields():
    assert decode(b'{"text": "a", "counts": {}, "added": [1]}', Note) == Note(text="a", counts={})


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"\xff", b"[]", b'{"text": "a"}', b'{"text": 1, "counts": {}}', b"[" * 200_000],
    ids=["empty", "cut", "no UTF-8", "a list", "a field less", "another type", "nested too deep"],
)
def test_anything_else_is_a_value_error(value: bytes):
    with pytest.raises(ValueError):
        decode(value, Note)
