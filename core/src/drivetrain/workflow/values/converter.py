"""The converter of an app: one object that encodes and decodes its values."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from drivetrain.contract import Failure, Plain, reset_after_fork
from drivetrain.workflow.nesting import DEEPEST
from drivetrain.workflow.values.codec import Convert
from drivetrain.workflow.values.compiler import Compiler
from drivetrain.workflow.values.custom import Custom
from drivetrain.workflow.values.depth import CONTAINERS, is_nested_too_deep
from drivetrain.workflow.values.errors import ValueMismatch
from drivetrain.workflow.values.scalars import PLAIN_SCALARS, TAGGED_SCALARS

__all__ = ["Values"]

T = TypeVar("T")

_SHALLOWER: Final = f"a value that is nested less deeply ({DEEPEST} levels at most)"

_BUILT_IN: Final = frozenset(scalar.kind for scalar in (*PLAIN_SCALARS, *TAGGED_SCALARS)) | {
    list,
    tuple,
    deque,
    set,
    frozenset,
    dict,
    Failure,
}


class Values:
    """Converts rich values to plain values and back, by annotations. Each app has one. Thread-safe.

    The plain form depends on the value alone, and identifies its type. An annotation only checks a value when it is
    encoded, and names the classes that may be rebuilt when it is decoded.
    """

    def __init__(self) -> None:
        self._custom: dict[type, Custom] = {}
        self._compiler = Compiler(self._custom)
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """See `drivetrain.contract.ForkAware`."""
        self._lock = threading.Lock()

    def register(self, kind: type[T], *, encode: Callable[[T], object], decode: Callable[[Any], T]) -> None:
        """Let instances of a class be sent, also without an annotation. Call it before any task is sent.

        Args:
            kind: the class, without its subclasses.
            encode: returns any value that can be sent without an annotation.
            decode: makes the instance from what ``encode`` returned.
        """
        if kind in _BUILT_IN:
            raise ValueError(f"{kind.__qualname__} is supported already, and its encoding cannot change")
        with self._lock:
            if any(other is not kind and other.__qualname__ == kind.__qualname__ for other in self._custom):
                raise ValueError(f"another class named {kind.__qualname__} is registered")
            self._custom = {**self._custom, kind: Custom(encode, decode)}
            self._compiler = Compiler(self._custom)

    def encoder(self, annotation: Any, scope: Mapping[str, Any] | None = None) -> Convert:
        """The function that encodes values of this annotation; compiled once.

        Args:
            annotation: the type of the values.
            scope: the names that forward references in it may use.

        Raises:
            UnsupportedAnnotation: values of this annotation cannot be sent.
        """
        codec = self._compiler.codec(annotation, scope)
        return codec.encode if codec.bounded else _guarded_encoder(codec.encode)

    def decoder(self, annotation: Any, scope: Mapping[str, Any] | None = None) -> Convert:
        """The function that decodes values of this annotation; compiled once. The arguments are those of `encoder`."""
        codec = self._compiler.codec(annotation, scope)
        return codec.decode if codec.bounded else _guarded_decoder(codec.decode)

    def encode(self, value: object, annotation: Any = Any) -> Plain:
        """The plain form of a value.

        Raises:
            ValueMismatch: the value does not fit the annotation, or cannot be sent.
        """
        return self.encoder(annotation)(value)

    def decode(self, plain: Plain, annotation: Any = Any) -> Any:
        """The value of a plain form.

        By ``Any``, an instance of a class is decoded as the dict of its fields, and an enum's member as its name (a
        flag as its number). So programs that do not know the class can still show it.

        Raises:
            ValueMismatch: it is not the plain form of a value of this annotation.
        """
        return self.decoder(annotation)(plain)


def _guarded_encoder(encode: Convert) -> Convert:
    """The same conversion. It refuses values that are nested too deeply, or contain themselves."""

    def encode_guarded(value: Any) -> Plain:
        try:
            plain = encode(value)
        except RecursionError:
            raise ValueMismatch(_SHALLOWER, value) from None
        if type(plain) in CONTAINERS and is_nested_too_deep(plain):
            raise ValueMismatch(_SHALLOWER, value)
        return plain

    return encode_guarded


def _guarded_decoder(decode: Convert) -> Convert:
    """The same conversion. It refuses plain values that are nested too deeply for Python."""

    def decode_guarded(plain: Plain) -> Any:
        try:
            return decode(plain)
        except RecursionError:
            raise ValueMismatch(_SHALLOWER, plain) from None

    return decode_guarded
