"""The types of batched tasks: what a row is, and what the result of a row is, from the annotations of the function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, MutableSequence, Sequence
from inspect import Parameter
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from drivetrain.contract import InvalidSignature
from drivetrain.workflow.values.annotations import bare

__all__ = ["check_takes_rows", "one_row", "row_result_type", "row_type"]

#: What a list of rows may be annotated as.
_LISTS = frozenset({list, Sequence, MutableSequence, Collection, Iterable})


def one_row(row: Any, /) -> Any:
    """A function with the parameter that a call of a batched task has. For keys, which name that parameter."""
    return row


def check_takes_rows(task: str, function: Callable[..., Any]) -> None:
    """Check that a function has one parameter, for the list of rows.

    Raises:
        InvalidSignature: it has others.
    """
    parameters = list(inspect.signature(function).parameters.values())
    positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    if len(parameters) != 1 or parameters[0].kind not in positional:
        names = ", ".join(one.name for one in parameters) or "none"
        raise InvalidSignature(
            f"{task}() is a batched task, and its parameters are: {names}; it must have one, for the list of rows, "
            "like def index(rows: list[Row]) -> list[int]"
        )


def row_type(annotation: Any, scope: Mapping[str, Any]) -> Any:
    """The type of a row, from the annotation of the parameter.

    Raises:
        TypeError: it is not a list.
    """
    row = _item(annotation, scope)
    if row is None:
        raise TypeError(
            f"its parameter is annotated as {annotation!r}; write list[Row], where Row is the type of a row"
        )
    return row


def row_result_type(annotation: Any, scope: Mapping[str, Any]) -> Any:
    """The type of the result of a row, from the annotation of the function's result. An exception is not a result.

    Raises:
        TypeError: it is neither a list nor None.
    """
    kinds = [kind for kind in _alternatives(annotation, scope) if kind not in (None, NoneType)]
    if not kinds:
        return None
    if len(kinds) > 1 or (item := _item(kinds[0], scope)) is None:
        raise TypeError(f"its result is annotated as {annotation!r}; write list[Result] or None")
    results = [kind for kind in _alternatives(item, scope) if not _is_error(kind)]
    return Union[tuple(results)] if results else None  # noqa: UP007 - the members are known at run time only


def _item(annotation: Any, scope: Mapping[str, Any]) -> Any:
    """The type of the items of a list; None: it is annotated as something else."""
    annotation = bare(annotation, scope)
    origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if annotation is Any or (origin in _LISTS and not arguments):
        return Any
    return arguments[0] if origin in _LISTS else None


def _alternatives(annotation: Any, scope: Mapping[str, Any]) -> Sequence[Any]:
    annotation = bare(annotation, scope)
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else [annotation]


def _is_error(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)
