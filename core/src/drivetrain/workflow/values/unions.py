"""Unions and literals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from drivetrain.contract import Plain
from drivetrain.workflow.values.codec import Codec, Convert
from drivetrain.workflow.values.leaves import Travels
from drivetrain.workflow.values.mismatch import UnsupportedAnnotation, ValueMismatch, advise, shown

__all__ = ["literal_codec", "union_codec"]


def _by_kind(members: Sequence[Codec]) -> dict[type, list[Codec]]:
    """The members that may take a value of each exact type, those that name the type first.

    Which one takes it makes no difference to what is sent or rebuilt: the plain form says what it is.
    """
    known = [member for member in members if member.kinds is not None]
    open_ended = [member for member in members if member.kinds is None]
    kinds = frozenset().union(*(member.kinds or () for member in known))
    return {kind: [*(m for m in known if kind in (m.kinds or ())), *open_ended] for kind in kinds}


def _refuse_namesakes(members: Sequence[Codec], expected: str) -> None:
    """Two classes of one name look alike in the plain form."""
    kinds = {kind for member in members for kind in member.kinds or ()}
    names = [kind.__qualname__ for kind in kinds]
    if len(set(names)) < len(names):
        raise UnsupportedAnnotation(f"{expected} has two different classes of one name, which cannot be told apart")


def _first_fit(converts: Sequence[Convert], value: Any) -> tuple[bool, Any]:
    for convert in converts:
        try:
            return True, convert(value)
        except ValueMismatch:
            continue
    return False, None


def _choose(
    by_kind: dict[type, list[Convert]], otherwise: list[Convert], refuse: Callable[[Any], ValueMismatch]
) -> Convert:
    def convert(value: Any) -> Any:
        candidates = by_kind.get(type(value), otherwise)
        if len(candidates) == 1:
            return candidates[0](value)
        fits, converted = _first_fit(candidates, value)
        if not fits:
            raise refuse(value)
        return converted

    return convert


def union_codec(members: Sequence[Codec], expected: str, travels: Travels) -> Codec:
    """``A | B``: the first member that takes the value."""
    _refuse_namesakes(members, expected)
    by_kind = _by_kind(members)
    open_ended = [member for member in members if member.kinds is None]
    kinds = None if open_ended else frozenset(by_kind)

    def refuse(value: object) -> ValueMismatch:
        advice = issubclass(type(value), tuple(by_kind)) and type(value) not in by_kind
        return ValueMismatch(
            expected, value, advice=advise(value, expected, travels=travels(type(value))) if advice else ""
        )

    def refuse_plain(plain: Plain) -> ValueMismatch:
        return ValueMismatch(expected, plain)

    encodes = {kind: [member.encode for member in fitting] for kind, fitting in by_kind.items()}
    decodes = {kind: [member.decode for member in fitting] for kind, fitting in by_kind.items() if kind is not dict}
    encode = _choose(encodes, [member.encode for member in open_ended], refuse)
    # Any kind of value may stand in the plain form as a dict.
    decode = _choose(decodes, [member.decode for member in members], refuse_plain)
    return Codec(expected, encode, decode, kinds)


def literal_codec(choices: Sequence[tuple[Any, Codec]]) -> Codec:
    """``Literal[...]``: these values, each with the codec of its own type."""
    expected = f"Literal[{', '.join(shown(choice) for choice, _ in choices)}]"
    encodes = {(type(choice), choice): codec.encode for choice, codec in choices}
    plains = [(codec.encode(choice), choice) for choice, codec in choices]

    def encode(value: Any) -> Plain:
        try:
            encode_choice = encodes[type(value), value]
        except (KeyError, TypeError):
            raise ValueMismatch(expected, value) from None
        return encode_choice(value)

    def decode(plain: Plain) -> Any:
        for known, choice in plains:
            if type(plain) is type(known) and plain == known:
                return choice
        raise ValueMismatch(expected, plain)

    return Codec(expected, encode, decode, frozenset(type(choice) for choice, _ in choices))
