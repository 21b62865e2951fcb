"""The entries of a record, kept as text: "STATE time worker STATE time worker …", the last of each state counts.

Every transition adds to them and hardly anybody reads them: what is read is decoded when it is looked at, and what is
written goes behind what was there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from urllib.parse import quote, unquote

from drivetrain.contract import State, StateChange, Transition

__all__ = ["Entries", "entered"]

#: Longer texts are rewritten without what no longer counts: a task may be tried a thousand times.
_LONGEST = 1_000

_STATES = {state.value: state for state in State}
_NAMES = {state: state.value for state in State}


class Entries(Mapping[State, StateChange]):
    """What a text says. Immutable."""

    __slots__ = ("_entries", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._entries: dict[State, StateChange] | None = None

    def _decoded(self) -> dict[State, StateChange]:
        if self._entries is None:
            self._entries = _decode(self._text)
        return self._entries

    def __getitem__(self, state: State) -> StateChange:
        return self._decoded()[state]

    def __iter__(self) -> Iterator[State]:
        return iter(self._decoded())

    def __len__(self) -> int:
        return len(self._decoded())

    def __repr__(self) -> str:
        return repr(self._decoded())


def entered(text: str, wish: Transition) -> str:
    """The text after a transition that is granted, as `drivetrain.contract.apply` has it."""
    if wish.state is State.PENDING and text:
        return text  # granted to those only that are PENDING: when it was first sent stays known
    worker = _quoted(wish.worker)
    new = f"{_NAMES[wish.state]} {wish.at!r} {worker}"
    if wish.received_at is not None and wish.state is State.STARTED:
        new = f"RECEIVED {wish.received_at!r} {worker} {new}"
    text = f"{text} {new}" if text else new
    return text if len(text) < _LONGEST else _shortened(text)


def _shortened(text: str) -> str:
    return " ".join([f"{_NAMES[state]} {entry.at!r} {_quoted(entry.worker)}" for state, entry in _decode(text).items()])


def _decode(text: str) -> dict[State, StateChange]:
    words = iter(text.split(" "))
    return {
        _STATES[state]: StateChange(float(at), _unquoted(worker))
        for state, at, worker in zip(words, words, words, strict=True)
    }


@lru_cache(maxsize=256)
def _quoted(worker: str) -> str:
    return quote(worker, errors="surrogatepass")


@lru_cache(maxsize=256)
def _unquoted(worker: str) -> str:
    return unquote(worker, errors="surrogatepass")
