"""What breaks careless drivers: names, texts and bodies."""

from __future__ import annotations

from hypothesis import strategies as st

from drivetrain.contract import Message

__all__ = ["BODIES", "NAMES", "messages", "texts"]

#: Names of queues and headers.
NAMES = (
    "plain",
    "Plain",
    "with space",
    " ",
    "a:b:c",
    "a.b.c",
    "a_b_c",
    "a.b.#.*",
    "a/b/../c",
    "a%2Fb",
    "quote'\";--",
    "percent % under_score",
    "{braces}",
    "star*?[x]",
    "new\nline\r\n",
    "nul\0name",
    "Größe ☃ 😀",
    "Gro\u0308ße",  # the same to the eye as one with ö, and another text
    "-dash",
    "0",
    "x" * 79 + "a",
    "x" * 79 + "b",
    "x" * 500 + "a",
    "x" * 500 + "b",
    "ü" * 300,
)
BODIES = (
    b"",
    b"\0",
    b"\r\n",
    b"0",
    b"null",
    b"\xff\xfe no UTF-8 \xc3",
    bytes(range(256)),
    b"\n" * 1000,
    b"\xf0" * 70_000,
    bytes(range(256)) * 1200,
)

texts = st.sampled_from(NAMES) | st.text(max_size=50)


def messages(levels: int, queue: str = "q") -> st.SearchStrategy[Message]:
    """Messages of one queue that a broker with so many levels of priority must carry. None is large."""
    bodies = st.binary(max_size=200) | st.sampled_from([body for body in BODIES if len(body) < 500])
    return st.builds(
        Message,
        id=texts.filter(bool),
        queue=st.just(queue),
        body=bodies,
        headers=st.dictionaries(texts, texts, max_size=4),
        priority=st.integers(0, levels - 1),
    )
