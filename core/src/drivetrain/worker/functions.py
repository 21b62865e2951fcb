"""Which callables can be tasks, and which of them are coroutine functions."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from types import MethodType
from typing import Any

from drivetrain.contract import InvalidSignature
from drivetrain.workflow.values import shown

__all__ = ["check_callable", "inner_function", "is_async", "signature_of", "unannotated_parameters", "wraps_async"]


def inner_function(function: Any) -> Any:
    """The function whose body a call of ``function`` runs: of a partial, a bound method or a callable object.

    Decorators stay: a call runs their body first.
    """
    while not inspect.isfunction(function):
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, (MethodType, staticmethod)):
            function = function.__func__
        elif inspect.isroutine(function):
            return function  # written in C
        else:
            function = type(function).__call__
    return function


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a call of ``function`` makes a coroutine, as far as its definition tells."""
    # The mark of inspect.markcoroutinefunction may be on the outside.
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(inner_function(function))


def wraps_async(function: Callable[..., Any]) -> bool:
    """Whether ``function`` is a plain decorator (by `functools.wraps`) around a coroutine function.

    It may return the coroutine, or run it itself; that is not known before the call.
    """
    return not is_async(function) and is_async(inspect.unwrap(inner_function(function)))


def check_callable(function: Any) -> None:
    """Refuse what no worker could run, or whose result could never travel.

    Raises:
        InvalidSignature: it cannot be a task; the message says why, and what to write instead.
    """
    if fault := _fault(function):
        raise InvalidSignature(f"{getattr(function, '__qualname__', shown(function))} cannot be a task: {fault}")


def unannotated_parameters(function: Callable[..., Any]) -> list[str]:
    """The names of the parameters of a task that have no annotation."""
    try:
        parameters = signature_of(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [one.name for one in parameters if one.annotation is inspect.Parameter.empty]


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """The signature of a function, whose annotations may name what is defined later.

    Raises:
        TypeError: it cannot be called.
        ValueError: it has no signature, since it is written in C.
    """
    if sys.version_info >= (3, 14):
        from annotationlib import Format  # Python 3.14 evaluates annotations when they are read

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)


def _fault(function: Any) -> str | None:
    if inspect.isclass(function):
        return "it is a class; decorate a function that makes the object and returns the result"
    if not callable(function):
        return "it cannot be called; decorate a function, or a method of an object: app.task(object.method)"
    inner = inner_function(function)
    if inspect.isgeneratorfunction(inner):
        return "it is a generator function, whose values cannot be sent; return a list"
    if inspect.isasyncgenfunction(inner):
        return "it is an async generator function, whose values cannot be sent; return a list"
    if not inspect.isfunction(inner) and not _has_parameters(function):
        return "Python cannot read its parameters; decorate a function that calls it"
    return None


def _has_parameters(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function)
    except (TypeError, ValueError):
        return False
    return True
