"""Encodes and decodes the arguments and the result of one task."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from inspect import Parameter, Signature
from typing import Any, Final

from attrs import frozen

from drivetrain.contract import InvalidArguments, InvalidSignature, Plain, SerializationError
from drivetrain.workflow.rows import row_result_type, row_type
from drivetrain.workflow.values import UnsupportedAnnotation, ValueMismatch, Values
from drivetrain.workflow.values.annotations import hints_of
from drivetrain.workflow.values.codec import Convert

__all__ = ["Binding", "RowBinding"]

_POSITIONAL: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)

#: Advice for a call that does not fit a decorated function.
_HINT: Final = " (it is decorated: a decorator that passes arguments itself must set __signature__)"

#: A given value: the parameter that takes it, its name in messages, and the value.
_Given = tuple["_Slot", str, Any]


@frozen(eq=False)
class _Slot:
    """A parameter."""

    name: str
    kind: Any
    required: bool
    encode: Convert
    decode: Convert


@frozen(eq=False)
class _Plan:
    """The signature of a function, prepared for calls."""

    positional: tuple[_Slot, ...]
    by_keyword: Mapping[str, _Slot]
    more_positional: _Slot | None
    more_keywords: _Slot | None
    #: For calls with exactly one argument for each positional parameter; None: some parameter needs a keyword.
    encodes: tuple[Convert, ...] | None
    decodes: tuple[Convert, ...] | None
    encode_result: Convert
    decode_result: Convert

    def faults(self, args: int, kwargs: Iterable[str], *, received: bool) -> Iterator[str]:
        """The faults of a call with this number of arguments and these keywords, whatever the values are."""
        names = list(kwargs)
        taken = [slot.name for slot in self.positional[:args]]
        if args > len(self.positional) and self.more_positional is None:
            yield f"takes {len(self.positional)} positional arguments but {args} were given{_counting(received)}"
        for name in names:
            if name in taken and name in self.by_keyword:
                yield f"got multiple values for argument {name!r}{_counting(received and name == taken[0])}"
            elif name not in self.by_keyword and self.more_keywords is None:
                yield f"got an unexpected keyword argument {name!r}"
        given = {*taken, *(name for name in names if name in self.by_keyword)}
        missing = [repr(slot.name) for slot in self._all() if slot.required and slot.name not in given]
        if missing:
            yield f"is missing argument{'s' if len(missing) > 1 else ''} {', '.join(missing)}"

    def given(self, args: Sequence[Any], kwargs: Mapping[str, Any], *, received: bool) -> Iterator[_Given]:
        """Each value of a call without faults, with its parameter."""
        more, more_keywords = self.more_positional, self.more_keywords
        for index, value in enumerate(args, start=received):
            if index < len(self.positional):
                yield self.positional[index], self.positional[index].name, value
            elif more is not None:
                yield more, f"*{more.name}[{index - len(self.positional)}]", value
        for name, value in kwargs.items():
            slot = self.by_keyword.get(name, more_keywords)
            if slot is not None:
                yield slot, slot.name if slot is not more_keywords else f"**{slot.name}[{name!r}]", value

    def _all(self) -> Iterator[_Slot]:
        yield from self.positional
        yield from (slot for slot in self.by_keyword.values() if slot.kind is Parameter.KEYWORD_ONLY)


def _counting(received: bool) -> str:
    return " (the previous task's result is the first)" if received else ""


class Binding:
    """Encodes and decodes the arguments and the result of one task. Compiled on first use; thread-safe.

    Args:
        task: the task's name, for messages.
        function: the task's function; its annotations say what may be sent.
        values: converts values to plain ones and back.
    """

    def __init__(self, task: str, function: Callable[..., Any], values: Values) -> None:
        self.task = task
        self.function = function
        self._values = values
        self._plan: _Plan | None = None

    def compile(self) -> None:
        """Compile now, not on first use.

        Raises:
            InvalidSignature: an annotation is not supported, or cannot be resolved.
        """
        self._compiled()

    def encode_call(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], *, received: bool = False
    ) -> tuple[list[Plain], dict[str, Plain]]:
        """The plain form of a call's arguments; defaults are not sent.

        Args:
            args: positional arguments.
            kwargs: keyword arguments.
            received: whether the previous task's result will be put before ``args`` when the task is run.

        Raises:
            InvalidArguments: they do not fit the function; the message lists all faults.
        """
        plan = self._plan or self._compiled()
        encodes = plan.encodes
        if encodes is None or kwargs or received or len(args) != len(encodes):
            return self._convert(plan, _encode, args, kwargs, received=received)
        try:
            return [encode(value) for encode, value in zip(encodes, args)], {}  # noqa: B905 - of one length
        except ValueMismatch:  # report all mismatches, not only the first one
            return self._convert(plan, _encode, args, kwargs, received=False)

    def decode_call(self, args: Sequence[Plain], kwargs: Mapping[str, Plain]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call, from their plain form.

        Raises:
            InvalidArguments: they do not fit the function; the message lists all faults.
        """
        plan = self._plan or self._compiled()
        values, by_name = self._decode_fitting(plan, args, kwargs)
        return tuple(values), by_name

    def encode_result(self, value: object) -> Plain:
        """The plain form of the function's result.

        Raises:
            SerializationError: it does not fit the return annotation, or cannot be sent.
        """
        plan = self._plan or self._compiled()
        try:
            return plan.encode_result(value)
        except ValueMismatch as mismatch:
            raise SerializationError(f"{self.task}(): {mismatch.describe('the result')}") from mismatch

    def decode_result(self, plain: Plain) -> Any:
        """The function's result, from its plain form.

        Raises:
            SerializationError: it does not fit the return annotation.
        """
        plan = self._plan or self._compiled()
        try:
            return plan.decode_result(plain)
        except ValueMismatch as mismatch:
            raise SerializationError(f"{self.task}(): {mismatch.describe('the result')}") from mismatch

    def _decode_fitting(
        self, plan: _Plan, args: Sequence[Plain], kwargs: Mapping[str, Plain]
    ) -> tuple[list[Any], dict[str, Any]]:
        decodes = plan.decodes
        if decodes is None or kwargs or len(args) != len(decodes):
            return self._convert(plan, _decode, args, kwargs, received=False)
        try:
            return [decode(plain) for decode, plain in zip(decodes, args)], {}  # noqa: B905 - of one length
        except ValueMismatch:  # as in encode_call
            return self._convert(plan, _decode, args, kwargs, received=False)

    def _convert(
        self,
        plan: _Plan,
        way: Callable[[_Slot], Convert],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        received: bool,
    ) -> tuple[list[Any], dict[str, Any]]:
        faults = list(plan.faults(len(args) + received, kwargs, received=received))
        if faults:
            hint = _HINT if _passes_all_on(self.function) else ""
            raise InvalidArguments(f"{self.task}() {'; '.join(faults)}{hint}") from None
        mismatches: list[str] = []
        converted: list[Any] = []
        for slot, name, value in plan.given(args, kwargs, received=received):
            try:
                converted.append(way(slot)(value))
            except ValueMismatch as mismatch:
                mismatches.append(mismatch.describe("parameter", name))
        if mismatches:
            raise InvalidArguments(f"{self.task}(): {'; '.join(mismatches)}") from None
        return converted[: len(args)], dict(zip(kwargs, converted[len(args) :], strict=True))

    def _compiled(self) -> _Plan:
        # Several threads may make the same plan at once. Each may use its own.
        plan = self._plan = self._plan or self._make_plan()
        return plan

    def _make_plan(self) -> _Plan:
        signature = _signature_of(self.function, self.task)
        inner = _function_in(self.function)
        scope = getattr(inner, "__globals__", {})
        try:
            hints = hints_of(inner) | _stated_hints(self.function)
        except (UnsupportedAnnotation, TypeError) as error:
            raise InvalidSignature(f"{self.task}(): {error}") from error
        return self._plan_of(signature, hints, scope)

    def _plan_of(self, signature: Signature, hints: Mapping[str, Any], scope: Mapping[str, Any]) -> _Plan:
        slots = [self._slot(parameter, hints, scope) for parameter in signature.parameters.values()]
        result = self._coders("the result", hints.get("return", Any), scope)
        return _plan(slots, *result)

    def _slot(self, parameter: Parameter, hints: Mapping[str, Any], scope: Mapping[str, Any]) -> _Slot:
        many = parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        required = parameter.default is Parameter.empty and not many
        coders = self._coders(f"parameter {parameter.name!r}", hints.get(parameter.name, Any), scope)
        return _Slot(parameter.name, parameter.kind, required, *coders)

    def _coders(self, what: str, annotation: Any, scope: Mapping[str, Any]) -> tuple[Convert, Convert]:
        try:
            return self._values.encoder(annotation, scope), self._values.decoder(annotation, scope)
        except UnsupportedAnnotation as error:
            raise InvalidSignature(f"{self.task}(): {what}: {error}") from error


class RowBinding(Binding):
    """The binding of a batched task: a call has one argument, the row, and each row has a result.

    The function takes a list of rows and returns a list of results; see `drivetrain.workflow.rows`.
    """

    def _plan_of(self, signature: Signature, hints: Mapping[str, Any], scope: Mapping[str, Any]) -> _Plan:
        (parameter,) = signature.parameters.values()
        try:
            row = row_type(hints.get(parameter.name, Any), scope)
            result = row_result_type(hints.get("return", Any), scope)
        except TypeError as error:
            raise InvalidSignature(f"{self.task}() is a batched task: {error}") from error
        slot = _Slot("row", Parameter.POSITIONAL_ONLY, True, *self._coders("the row", row, scope))
        return _plan([slot], *self._coders("the result of a row", result, scope))


def _encode(slot: _Slot) -> Convert:
    return slot.encode


def _decode(slot: _Slot) -> Convert:
    return slot.decode


def _plan(slots: Sequence[_Slot], encode_result: Convert, decode_result: Convert) -> _Plan:
    of_kind = {slot.kind: slot for slot in slots}
    positional = tuple(slot for slot in slots if slot.kind in _POSITIONAL)
    needs_keywords = any(slot.required for slot in slots if slot.kind is Parameter.KEYWORD_ONLY)
    return _Plan(
        positional=positional,
        by_keyword={
            slot.name: slot for slot in slots if slot.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
        },
        more_positional=of_kind.get(Parameter.VAR_POSITIONAL),
        more_keywords=of_kind.get(Parameter.VAR_KEYWORD),
        encodes=None if needs_keywords else tuple(slot.encode for slot in positional),
        decodes=None if needs_keywords else tuple(slot.decode for slot in positional),
        encode_result=encode_result,
        decode_result=decode_result,
    )


def _signature_of(function: Callable[..., Any], task: str) -> Signature:
    try:
        return inspect.signature(function, follow_wrapped=not _declares_parameters(function))
    except (TypeError, ValueError) as error:
        raise InvalidSignature(f"{task}(): {error}") from error


def _declares_parameters(function: Callable[..., Any]) -> bool:
    """Whether it is a function with parameters of its own: it does not take all arguments to pass them on."""
    passes_on = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
    return inspect.isfunction(function) and not function.__code__.co_flags & passes_on


def _passes_all_on(function: Callable[..., Any]) -> bool:
    """Whether it is a decorator's function that passes all arguments on to a function with the real signature."""
    inside = inspect.unwrap(function, stop=lambda one: hasattr(one, "__signature__"))
    return inside is not function and not _declares_parameters(function)


def _stated_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a decorator that declares its parameters and its result with ``__signature__``."""
    function = inspect.unwrap(function, stop=lambda one: hasattr(one, "__signature__"))
    signature = getattr(function, "__signature__", None)
    if not isinstance(signature, Signature):
        return {}
    parameters = {parameter.name: parameter.annotation for parameter in signature.parameters.values()}
    hints = {**parameters, "return": signature.return_annotation}
    return {name: hint for name, hint in hints.items() if hint is not Parameter.empty}


def _function_in(function: Any) -> Any:
    """The function that has the annotations: the one inside decorators, partials and callable objects."""
    function = inspect.unwrap(function)
    while isinstance(function, functools.partial):
        function = inspect.unwrap(function.func)
    return function if inspect.isroutine(function) else inspect.unwrap(type(function).__call__)
