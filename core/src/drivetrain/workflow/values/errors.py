"""Errors of values that do not fit their annotation, and how messages show values."""

from __future__ import annotations

import reprlib
from types import NoneType, UnionType
from typing import ForwardRef, Union, get_args, get_origin

from drivetrain.contract import InvalidSignature

__all__ = ["UnsupportedAnnotation", "ValueMismatch", "ValueRefused", "advise", "name_of", "shown"]

_LONGEST = 80
_LONGEST_PATH = 120

_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = _LONGEST - 10
_short.maxlevel = 3


class UnsupportedAnnotation(InvalidSignature):
    """Values of this annotation cannot be sent."""


class ValueMismatch(Exception):
    """A value does not fit the annotation that it is encoded or decoded by.

    Attributes:
        expected: what the annotation asks for.
        value: the value that does not fit.
        path: its place inside the given value (``[3].when``); empty for the given value itself.
        advice: what to do about it; empty if there is no advice.
    """

    def __init__(self, expected: str, value: object, path: str = "", advice: str = "") -> None:
        # A union raises and drops one for each member that does not fit, so the text is made only when it is read.
        super().__init__()
        self.expected = expected
        self.value = value
        self.path = path
        self.advice = advice

    def inside(self, step: str) -> ValueMismatch:
        """This mismatch with ``step`` at the start of its path: the container of the value reports it so."""
        self.path = step + self.path
        return self

    def describe(self, what: str = "it", name: str = "") -> str:
        """One sentence.

        Args:
            what: the kind of the whole value, such as a parameter.
            name: its name.
        """
        got = f"{shown(self.value)} ({type(self.value).__name__})"
        text = f"{self._where(what, name)} expects {self.expected}, got {got}"
        return f"{text}; {self.advice}" if self.advice else text

    def _where(self, what: str, name: str) -> str:
        location = repr(_shortened(name + self.path, _LONGEST_PATH)) if name else _shortened(self.path, _LONGEST_PATH)
        return f"{what} {location}" if name else f"{what} at {location}" if location else what

    def __str__(self) -> str:
        return self.describe()


class ValueRefused(ValueMismatch):
    """The class of a value has refused it, with an error of its own.

    Attributes:
        reason: the text of that error.
    """

    def __init__(self, expected: str, value: object, reason: str) -> None:
        super().__init__(expected, value)
        self.reason = reason

    def describe(self, what: str = "it", name: str = "") -> str:
        """The place of the value, and the text of the error."""
        return f"{self._where(what, name)}: {self.reason}"


def shown(value: object) -> str:
    """A short text for a value. It raises nothing, even if the ``__repr__`` of the value raises."""
    try:
        return _shortened(_short.repr(value), _LONGEST)
    except Exception:  # noqa: BLE001 - a __repr__ of the application may raise anything; the message needs some text
        return f"<{type(value).__name__}>"


def name_of(annotation: object) -> str:
    """An annotation as it is written in source, without modules."""
    if annotation is None or annotation is NoneType:
        return "None"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " | ".join(name_of(argument) for argument in arguments)
    if isinstance(origin, type) and arguments:
        return f"{origin.__qualname__}[{', '.join(name_of(argument) for argument in arguments)}]"
    if isinstance(annotation, type) and origin is None:
        return annotation.__qualname__
    if isinstance(annotation, ForwardRef):
        return annotation.__forward_arg__
    return "..." if annotation is ... else repr(annotation).replace("typing.", "").replace("collections.abc.", "")


#: The types to which an instance of a subclass may be converted, as advice.
_PLAIN = (int, float, str, bytes, bytearray, list, tuple, dict, set, frozenset)


def advise(value: object, expected: str, *, travels: bool) -> str:
    """What to do about a class instance where ``expected`` does not name its class."""
    kind = type(value)
    if not travels:
        base = next((base for base in _PLAIN if issubclass(kind, base)), None)
        plain = f"send a plain {base.__qualname__}, or " if base else ""
        return f"{plain}register the type {kind.__qualname__} with the app"
    wanted = kind.__qualname__ if expected == "Any" else f"{expected} | {kind.__qualname__}"
    return f"annotate it with {wanted}, so that the worker can rebuild it"


def _shortened(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    half = (longest - 3) // 2
    return f"{text[:half]}...{text[-half:]}"
