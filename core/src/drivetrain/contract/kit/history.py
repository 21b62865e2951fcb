"""A record's history that is decoded at the first access."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from drivetrain.contract.states import State, StateChange

__all__ = ["LazyHistory"]

T = TypeVar("T")


class LazyHistory(Mapping[State, StateChange], Generic[T]):
    """`TaskRecord.history` of a driver that stores it encoded. Immutable.

    Every record has one, and few callers read it. Thread-safe: two threads may decode it at once, with equal results.

    Args:
        data: the encoded state changes.
        decode: decodes them.
    """

    __slots__ = ("_changes", "_data", "_decode")

    def __init__(self, data: T, decode: Callable[[T], Mapping[State, StateChange]]) -> None:
        self._data = data
        self._decode = decode
        self._changes: Mapping[State, StateChange] | None = None

    def _decoded(self) -> Mapping[State, StateChange]:
        if self._changes is None:
            self._changes = self._decode(self._data)
        return self._changes

    def __getitem__(self, state: State) -> StateChange:
        return self._decoded()[state]

    def __iter__(self) -> Iterator[State]:
        return iter(self._decoded())

    def __len__(self) -> int:
        return len(self._decoded())

    def __repr__(self) -> str:
        return repr(self._decoded())
