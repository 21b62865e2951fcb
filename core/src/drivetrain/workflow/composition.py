"""The functions that put workflows together: chain, group and chord."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, overload

from typing_extensions import TypeVar

from drivetrain.contract import InvalidSignature
from drivetrain.workflow.signature import Chain, Group, Takes, Workflow, as_workflows, chain_parts

__all__ = ["chain", "chord", "group"]

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
I = TypeVar("I")  # noqa: E741 - what the first workflow takes
S = TypeVar("S")
T = TypeVar("T")

#: An iterable of signatures. A type checker cannot follow their types.
_Parts = Iterable[Workflow[Any, Any]]


@overload
def chain(a: Workflow[A, I], /) -> Chain[A, I]: ...
@overload
def chain(a: Workflow[A, I], b: Workflow[B, Takes[A]], /) -> Chain[B, I]: ...
@overload
def chain(a: Workflow[A, I], b: Workflow[B, Takes[A]], c: Workflow[C, Takes[B]], /) -> Chain[C, I]: ...
@overload
def chain(
    a: Workflow[A, I], b: Workflow[B, Takes[A]], c: Workflow[C, Takes[B]], d: Workflow[D, Takes[C]], /
) -> Chain[D, I]: ...
@overload
def chain(
    a: Workflow[A, I],
    b: Workflow[B, Takes[A]],
    c: Workflow[C, Takes[B]],
    d: Workflow[D, Takes[C]],
    e: Workflow[E, Takes[D]],
    /,
) -> Chain[E, I]: ...
@overload
def chain(
    a: Workflow[A, I],
    b: Workflow[B, Takes[A]],
    c: Workflow[C, Takes[B]],
    d: Workflow[D, Takes[C]],
    e: Workflow[E, Takes[D]],
    f: Workflow[F, Takes[E]],
    /,
    *more: Workflow[Any] | _Parts,
) -> Chain[Any, I]: ...
@overload
def chain(a: _Parts, /, *more: Workflow[Any] | _Parts) -> Chain[Any]: ...
@overload
def chain(a: Workflow[Any, I], b: _Parts, /, *more: Workflow[Any] | _Parts) -> Chain[Any, I]: ...
@overload
def chain(
    a: Workflow[A, I], b: Workflow[Any, Takes[A]], c: _Parts, /, *more: Workflow[Any] | _Parts
) -> Chain[Any, I]: ...
def chain(*parts: Any) -> Chain[Any]:
    """Workflows that run one after the other. Each takes the result of the previous one as its first argument.

    Raises:
        InvalidSignature: there is no argument, or one is not a workflow.
    """
    members = as_workflows("chain", parts)
    if not members:
        raise InvalidSignature("chain() needs at least one signature")
    return Chain(tuple(part for member in members for part in chain_parts(member)))


@overload
def group(a: Workflow[A, Takes[I]], b: Workflow[B, Takes[I]], /) -> Group[A | B, Takes[I]]: ...
@overload
def group(
    a: Workflow[A, Takes[I]], b: Workflow[B, Takes[I]], c: Workflow[C, Takes[I]], /
) -> Group[A | B | C, Takes[I]]: ...
@overload
def group(*members: Workflow[T, Takes[I]] | Iterable[Workflow[T, Takes[I]]]) -> Group[T, Takes[I]]: ...
@overload
def group(*members: Workflow[T] | Iterable[Workflow[T]]) -> Group[T]: ...
def group(*members: Any) -> Group[Any]:
    """Workflows that run in parallel. An empty group results in ``[]``.

    Raises:
        InvalidSignature: an argument is not a workflow.
    """
    return Group(as_workflows("group", members))


@overload
def chord(
    header: Workflow[Sequence[T], Takes[I]] | Iterable[Workflow[T, Takes[I]]], body: Workflow[S, Takes[list[T]]]
) -> Chain[S, Takes[I]]: ...
@overload
def chord(header: Iterable[Workflow[Any]], body: Workflow[S, Takes[list[Any]]]) -> Chain[S]: ...
def chord(header: Any, body: Workflow[S, Any]) -> Chain[S, Any]:
    """A group, and a workflow that runs once when all results are there. Their list is its first argument.

    Raises:
        InvalidSignature: an argument is not a workflow.
    """
    head = header if isinstance(header, Group) else group(header)
    return Chain((head, *chain_parts(*as_workflows("chord", (body,)))))
