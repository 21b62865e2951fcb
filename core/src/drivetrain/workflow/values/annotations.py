"""Normalizes annotations to the one form that the compiler reads."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Mapping
from typing import (
    Annotated,
    Any,
    ForwardRef,
    Generic,
    NewType,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from drivetrain.workflow.values.errors import UnsupportedAnnotation, name_of

__all__ = ["bare", "hints_of", "is_plain_class", "member_types", "resolved", "scope_of", "substituted"]

_AliasType: Any = getattr(typing, "TypeAliasType", ())  # PEP 695, Python 3.12
_WRAPPERS = frozenset({"Final", "Required", "NotRequired", "ReadOnly"})


def hints_of(thing: Any, scope: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The resolved annotations of a function or a class, ``Annotated`` left out."""
    try:
        return get_type_hints(thing, globalns=None if scope is None else dict(scope))
    except Exception as error:
        why = "; import what annotations name at run time, not only under TYPE_CHECKING, and define it globally"
        text = f"the annotations of {thing.__qualname__} cannot be resolved: {error}"
        raise UnsupportedAnnotation(text + why if isinstance(error, NameError) else text) from error


def scope_of(kind: type) -> Mapping[str, Any]:
    """The names that the annotations of a class may use."""
    return vars(sys.modules[kind.__module__]) if kind.__module__ in sys.modules else {}


def resolved(annotation: Any, scope: Mapping[str, Any] | None) -> Any:
    """An annotation with its forward references resolved, and ``Annotated`` left out all the way down."""

    def holder() -> None: ...

    holder.__annotations__ = {"it": annotation}
    holder.__qualname__ = name_of(annotation)
    return hints_of(holder, scope or {})["it"]


def bare(annotation: Any, scope: Mapping[str, Any] | None = None) -> Any:
    """An annotation without parts that do not describe values: ``Annotated``, aliases, ``NewType``, type variables."""
    inner = _unwrapped(annotation, scope)
    while inner is not annotation:
        annotation, inner = inner, _unwrapped(inner, scope)
    return annotation


def _unwrapped(annotation: Any, scope: Mapping[str, Any] | None) -> Any:
    if isinstance(annotation, ForwardRef | str):
        return resolved(annotation, scope)
    if isinstance(annotation, TypeVar):
        return _bound(annotation)
    if isinstance(annotation, NewType):
        return annotation.__supertype__
    origin = get_origin(annotation)
    if origin is Annotated or getattr(origin, "_name", None) in _WRAPPERS:
        return get_args(annotation)[0]
    return _unaliased(annotation, origin)


def _bound(variable: TypeVar) -> Any:
    if variable.__constraints__:
        return Union[variable.__constraints__]  # noqa: UP007 - the members are known at run time only
    return Any if variable.__bound__ is None else variable.__bound__


def _unaliased(annotation: Any, origin: Any) -> Any:
    if isinstance(annotation, _AliasType):
        return annotation.__value__
    if isinstance(origin, _AliasType):
        return substituted(origin.__value__, dict(zip(origin.__type_params__, get_args(annotation), strict=False)))
    return annotation


def substituted(annotation: Any, arguments: Mapping[Any, Any]) -> Any:
    """An annotation with its type variables replaced."""
    if isinstance(annotation, TypeVar):
        return arguments.get(annotation, annotation)
    # A generic class without arguments is left as it is: it takes anything.
    variables = () if is_plain_class(annotation) else _variables(annotation)
    if not variables:
        return annotation
    return annotation[tuple(arguments.get(variable, variable) for variable in variables)]


def is_plain_class(annotation: Any) -> bool:
    """Whether it is a class without generic arguments."""
    return isinstance(annotation, type) and get_origin(annotation) is None


def _variables(annotation: Any) -> tuple[Any, ...]:
    return tuple(getattr(annotation, "__parameters__", ()))


def member_types(annotation: Any) -> dict[str, Any]:
    """The resolved annotations of a class and its bases, with the arguments of generic bases filled in.

    Each class gets its own arguments: a subclass may use the same type variable for another type.
    """
    origin = get_origin(annotation) or annotation
    arguments = dict(zip(_variables(origin), get_args(annotation), strict=False))
    found: dict[str, Any] = {}
    for base in reversed(vars(origin).get("__orig_bases__", origin.__bases__)):
        if isinstance(get_origin(base) or base, type) and get_origin(base) is not Generic:
            found |= member_types(substituted(base, arguments))
    hints = hints_of(origin)
    # A typed dict's own annotations repeat those of its bases, with their variables.
    own = {name for name in inspect.get_annotations(origin) if not (is_typeddict(origin) and name in found)}
    return found | {name: substituted(hints[name], arguments) for name in own if name in hints}
