"""Routing: chooses the queue of a call by the name of its task, or by a function of the application."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, TypeAlias

from drivetrain.contract import ConfigurationError, InvalidSignature

__all__ = ["Route", "Router", "make_router"]

#: Chooses the queue of a call from the name of the task, its positional and its keyword arguments; None: it has no
#: opinion. The result of the task before it, which a chain puts first, is not among the arguments.
Route: TypeAlias = Callable[[str, tuple[Any, ...], Mapping[str, Any]], str | None]

#: How many names of tasks a router remembers.
_MOST_NAMES = 10_000


class Router:
    """Chooses the queue of a call. Thread-safe if the function is.

    Args:
        routes: queues by patterns of task names, as in file names (``mails.*``); the first that fits counts.
        function: is asked first; None: there is none.
    """

    def __init__(self, routes: Mapping[str, str], function: Route | None) -> None:
        self._function = function
        self._by_name = lru_cache(_MOST_NAMES)(lambda task: _first_fitting(routes, task))

    def __call__(self, task: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        """The queue of a call; None: that of the task.

        Raises:
            InvalidSignature: the function has returned something else than a name or None.
        """
        chosen = None if self._function is None else self._function(task, args, kwargs)
        if chosen is None:
            return self._by_name(task)
        if not _is_name(chosen):
            raise InvalidSignature(
                f"the routing function has returned {chosen!r} for task {task}; it must return the name of a queue, "
                "or None for the queue of the task"
            )
        return chosen


def make_router(routes: Mapping[str, str], function: Route | None) -> Router | None:
    """The router of an app; None: it routes nothing.

    Raises:
        ConfigurationError: ``function`` cannot be called.
    """
    if function is not None and not callable(function):
        raise ConfigurationError(f"route is {function!r}; it must be a function of a task's name, args and kwargs")
    return Router(routes, function) if routes or function is not None else None


def _is_name(chosen: object) -> bool:
    return isinstance(chosen, str) and bool(chosen)


def _first_fitting(routes: Mapping[str, str], task: str) -> str | None:
    return next((queue for pattern, queue in routes.items() if fnmatchcase(task, pattern)), None)
