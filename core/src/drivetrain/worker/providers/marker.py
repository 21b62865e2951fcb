"""The marker of parameters that a provider supplies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Generic, TypeVar, cast, overload

from drivetrain.contract import InvalidSignature
from drivetrain.workflow.values import shown

__all__ = ["Provided", "provided"]

T = TypeVar("T")


class Provided(Generic[T]):
    """What `provided` returns: the default of a parameter that a provider supplies."""

    __slots__ = ("provider",)

    def __init__(self, provider: Callable[..., Any] | None) -> None:
        #: None: the annotation of the parameter names it.
        self.provider = provider

    def __repr__(self) -> str:
        return f"provided({'' if self.provider is None else getattr(self.provider, '__qualname__', self.provider)})"


@overload
def provided() -> Any: ...
@overload
def provided(provider: Callable[..., Iterator[T]], /) -> T: ...
@overload
def provided(provider: Callable[..., AsyncIterator[T]], /) -> T: ...
@overload
def provided(provider: Callable[..., Awaitable[T]], /) -> T: ...
@overload
def provided(provider: Callable[..., T], /) -> T: ...
def provided(provider: Callable[..., Any] | None = None, /) -> Any:
    """Mark a parameter as supplied by a provider in each run, by its default.

    ``def save(order: int, db: Session = provided(open_session))`` is sent with the order alone.

    A provider is a function, plain or ``async``, that returns the value; or a generator function that yields it once,
    and cleans up after that. An error of the task is raised in it where it has yielded. Its own parameters may be
    provided too. In one run each provider is called once.

    An annotation may hold the marker for several tasks: ``Db = Annotated[Session, provided(open_session)]``. Then the
    default is ``provided()``: ``session: Db = provided()``. Type checkers see the type of the value.

    Args:
        provider: the function; left out: the annotation names it.

    Raises:
        InvalidSignature: it cannot be called.
    """
    if provider is not None and not callable(provider):
        raise InvalidSignature(f"provided({shown(provider)}): a provider is a function; pass it without calling it")
    return cast("Any", Provided(provider))
