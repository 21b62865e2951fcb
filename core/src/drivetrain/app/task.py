"""A task: a registered function that can be called as before, and sent to a worker."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Never, ParamSpec, TypeVar, cast, overload

from drivetrain.app.client import Client
from drivetrain.app.result import Result
from drivetrain.worker.functions import is_async
from drivetrain.worker.registry import TaskDefinition
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.signature import Signature, Takes

__all__ = ["AsyncTask", "Task", "TaskBase", "TaskDecorator", "make_task"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
A = TypeVar("A")


class TaskBase(Generic[P, R]):
    """A registered task: it can be called, be sent, and make signatures. Thread-safe."""

    def __init__(self, client: Client, definition: TaskDefinition) -> None:
        # First, for the function may have attributes of the same names.
        functools.update_wrapper(cast("Any", self), definition.function)
        self._client = client
        self.definition = definition

    @property
    def name(self) -> str:
        """The registered name."""
        return self.definition.name

    @property
    def runtime(self) -> Runtime:
        """The drivers of its app, in this process."""
        return self._client.runtime

    def send(self, /, *args: P.args, **kwargs: P.kwargs) -> Result[R]:
        """Send it with these arguments, for a worker to run.

        Raises:
            InvalidArguments: the arguments do not fit the function.
            ServiceError: the broker or the backend did not accept it.
        """
        return self._client.send(self._signature(args, kwargs))

    async def send_async(self, /, *args: P.args, **kwargs: P.kwargs) -> Result[R]:
        """`send`, for ``async`` code: the event loop is not blocked."""
        return await self._client.send_async(self._signature(args, kwargs))

    # Type checkers look for a call without the first argument, which a result will be, and then for one with all.
    @overload
    def s(self: Callable[Concatenate[A, Q], Any], /, *args: Q.args, **kwargs: Q.kwargs) -> Signature[R, Takes[A]]: ...
    @overload
    def s(self, /, *args: P.args, **kwargs: P.kwargs) -> Signature[R, Takes[Never]]: ...
    def s(self, /, *args: Any, **kwargs: Any) -> Signature[R, Any]:
        """A signature; in a workflow, the result of the task before it becomes its first argument."""
        return self._signature(args, kwargs)

    def si(self, /, *args: P.args, **kwargs: P.kwargs) -> Signature[R, Takes[object]]:
        """An immutable signature: it ignores the result of the task before it."""
        return self._signature(args, kwargs, immutable=True)

    def result(self, task_id: str) -> Result[R]:
        """The handle to a call of this task that was sent before, by any process."""
        return self._client.result(task_id)

    def _signature(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, immutable: bool = False
    ) -> Signature[R, Any]:
        return Signature(task=self.name, args=args, kwargs=kwargs, immutable=immutable, sender=self._client.send)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call the function in this thread."""
        return self.definition.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task {self.name}>"


class Task(TaskBase[P, R]):
    """A task made of a plain function."""

    if TYPE_CHECKING:

        def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
            """Call the function in this thread."""
            ...


class AsyncTask(TaskBase[P, R]):
    """A task made of an ``async def`` function."""

    if TYPE_CHECKING:

        def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
            """Call the function in this thread; await the coroutine that it returns."""
            ...


class TaskDecorator:
    """``@app.task(…)`` with options, before it is applied to a function.

    Args:
        register: registers the function with the options; its task.
        options: as ``@app.task`` was given.
    """

    def __init__(self, register: Callable[[Any, Mapping[str, Any]], Any], options: Mapping[str, Any]) -> None:
        self._register = register
        self._options = options

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...
    def __call__(self, function: Any, /) -> Any:
        """Register the function; its task."""
        return self._register(function, self._options)


def make_task(client: Client, definition: TaskDefinition) -> TaskBase[Any, Any]:
    """The task of a definition: an `AsyncTask` where its function is a coroutine function."""
    return (AsyncTask if is_async(definition.function) else Task)(client, definition)
