"""What ``@app.task`` makes of a function: still the function, and more."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from drivetrain.app.result import Result
from drivetrain.worker.registry import TaskDefinition
from drivetrain.workflow.signature import Signature

if TYPE_CHECKING:
    from drivetrain.app.application import App

__all__ = ["AsyncTask", "Task", "TaskBase"]

P = ParamSpec("P")
R = TypeVar("R")


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

    def s(self, /, *args: Any, **kwargs: Any) -> Signature[R]:
        """A signature; within a workflow it takes the result of what comes before it as its first argument."""
        return self._signature(args, kwargs)

    def si(self, /, *args: P.args, **kwargs: P.kwargs) -> Signature[R]:
        """An immutable signature: it takes no result of what comes before it."""
        return self._signature(args, kwargs, immutable=True)

    def result(self, task_id: str) -> Result[R]:
        """The handle to a call of this task that was sent before, here or elsewhere."""
        handle: Result[R] = self.app.result(task_id)
        return handle

    def _signature(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, immutable: bool = False) -> Signature[R]:
        return Signature(task=self.name, args=args, kwargs=kwargs, immutable=immutable, sender=self.app.send)

    def __repr__(self) -> str:
        return f"<task {self.name}>"


class Task(TaskBase[P, R]):
    """A task made of a plain function."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, here and now."""
        function: Callable[P, R] = self.definition.function
        return function(*args, **kwargs)


class AsyncTask(TaskBase[P, R]):
    """A task made of an ``async def`` function."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Call the function, here and now; await what it gives."""
        function: Callable[P, Coroutine[Any, Any, R]] = self.definition.function
        return function(*args, **kwargs)
