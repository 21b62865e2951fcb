"""What ``@app.task`` makes of a function: still the function, and more."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Never, ParamSpec, TypeVar, cast, overload

from drivetrain.app.result import Result
from drivetrain.worker.registry import TaskDefinition
from drivetrain.workflow.signature import Signature, Takes

if TYPE_CHECKING:
    from drivetrain.app.application import App

__all__ = ["AsyncTask", "Task", "TaskBase"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
A = TypeVar("A")


class TaskBase(Generic[P, R]):
    """A registered task: sends itself, and makes signatures of itself. Thread-safe."""

    def __init__(self, app: App, definition: TaskDefinition) -> None:
        # First, for the function may have attributes of our names.
        functools.update_wrapper(cast("Any", self), definition.function)
        self.app = app
        self.definition = definition

    @property
    def name(self) -> str:
        """The name under which it is registered."""
        return self.definition.name

    def send(self, /, *args: P.args, **kwargs: P.kwargs) -> Result[R]:
        """Send it, to be run by a worker with these arguments.

        Raises:
            InvalidArguments: the arguments do not fit the function.
            ServiceError: the broker or the backend did not take it.
        """
        result: Result[R] = self.app.send(self._signature(args, kwargs))
        return result

    async def send_async(self, /, *args: P.args, **kwargs: P.kwargs) -> Result[R]:
        """`send`, for ``async`` code: the event loop goes on meanwhile."""
        result: Result[R] = await self.app.send_async(self._signature(args, kwargs))
        return result

    # Type checkers look for a call without the first argument, which a result will be, and then for one with all.
    @overload
    def s(self: Callable[Concatenate[A, Q], Any], /, *args: Q.args, **kwargs: Q.kwargs) -> Signature[R, Takes[A]]: ...
    @overload
    def s(self, /, *args: P.args, **kwargs: P.kwargs) -> Signature[R, Takes[Never]]: ...
    def s(self, /, *args: Any, **kwargs: Any) -> Signature[R, Any]:
        """A signature; within a workflow it takes the result of what comes before it as its first argument."""
        return self._signature(args, kwargs)

    def si(self, /, *args: P.args, **kwargs: P.kwargs) -> Signature[R, Takes[object]]:
        """An immutable signature: it takes no result of what comes before it."""
        return self._signature(args, kwargs, immutable=True)

    def result(self, task_id: str) -> Result[R]:
        """The handle to a call of this task that was sent before, here or elsewhere."""
        handle: Result[R] = self.app.result(task_id)
        return handle

    def _signature(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, immutable: bool = False
    ) -> Signature[R, Any]:
        return Signature(task=self.name, args=args, kwargs=kwargs, immutable=immutable, sender=self.app.send)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call the function, here and now."""
        return self.definition.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task {self.name}>"


class Task(TaskBase[P, R]):
    """A task made of a plain function."""

    if TYPE_CHECKING:

        def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
            """Call the function, here and now."""
            ...


class AsyncTask(TaskBase[P, R]):
    """A task made of an ``async def`` function."""

    if TYPE_CHECKING:

        def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
            """Call the function, here and now; await what it gives."""
            ...
