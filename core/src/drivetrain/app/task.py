"""A task: a registered function that can be called as before, and sent to a worker."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Never, ParamSpec, Protocol, TypeVar, cast, overload

from drivetrain.app.result import Result
from drivetrain.contract import InvalidSignature
from drivetrain.worker.chunks import chunk_name
from drivetrain.worker.functions import is_async
from drivetrain.worker.registry import TaskDefinition
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.habits import TASK_HABITS, raise_unknown
from drivetrain.workflow.signature import Group, Signature, Takes, Workflow

__all__ = ["AsyncTask", "BatchDecorator", "BatchTask", "Task", "TaskBase", "TaskClient", "TaskDecorator", "make_task"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
A = TypeVar("A")
V = TypeVar("V")


class TaskClient(Protocol):
    """What a task needs of its app."""

    @property
    def runtime(self) -> Runtime:
        """The drivers of the app, in this process."""
        ...

    def definition(self, task: str, /) -> TaskDefinition:
        """The definition of a task."""
        ...

    def send(self, workflow: Workflow[Any], /) -> Result[Any]:
        """Send one workflow."""
        ...

    async def send_async(self, workflow: Workflow[Any], /) -> Result[Any]:
        """Send one workflow; the event loop is not blocked."""
        ...

    def result(self, task_id: str, /) -> Result[Any]:
        """The handle to a task that was sent before."""
        ...


class TaskBase(Generic[P, R]):
    """A registered task: it can be called, be sent, and make signatures. Thread-safe."""

    def __init__(self, client: TaskClient, name: str, function: Callable[P, Any]) -> None:
        # First, for the function may have attributes of the same names.
        functools.update_wrapper(cast("Any", self), function)
        self._client = client
        self._name = name
        self._function = function

    @property
    def name(self) -> str:
        """The registered name."""
        return self._name

    @property
    def function(self) -> Callable[P, Any]:
        """The function itself."""
        return self._function

    @property
    def definition(self) -> TaskDefinition:
        """How its app has registered it."""
        return self._client.definition(self._name)

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

    def map(self, values: Iterable[Any], /) -> Group[R, Takes[object]]:
        """A group with one task for each value: ``square.map([1, 2])`` results in ``[1, 4]``."""
        return Group(tuple(self._signature((value,), {}, immutable=True) for value in values))

    def starmap(self, calls: Iterable[tuple[Any, ...]], /) -> Group[R, Takes[object]]:
        """A group with a task for each tuple of arguments: ``add.starmap([(1, 2), (3, 4)])`` results in ``[3, 7]``."""
        return Group(tuple(self._signature(tuple(args), {}, immutable=True) for args in calls))

    def chunks(self, calls: Iterable[tuple[Any, ...]], size: int, /) -> Group[list[R], Takes[object]]:
        """A group of tasks that make up to ``size`` calls each: for calls so short that a message for each costs more.

        ``add.chunks([(1, 2), (3, 4), (5, 6)], 2)`` results in ``[[3, 7], [11]]``. The calls of a chunk run one after
        another. They share an attempt: if one of them raises, the chunk fails or is retried as a whole.

        Args:
            calls: the positional arguments of each call.
            size: how many calls a task makes, 1 or more.

        Raises:
            InvalidSignature: ``size`` is not a positive number; or, when it is sent, the task has limits or
                ``fair_by``, is unique or batched.
        """
        if size < 1:
            raise InvalidSignature(f"chunks of {size!r} calls cannot be made; size must be 1 or more")
        name = chunk_name(self._name)
        return Group(
            tuple(
                Signature(task=name, args=([*chunk],), immutable=True, sender=self._client.send)
                for chunk in _batches(calls, size)
            )
        )

    def result(self, task_id: str) -> Result[R]:
        """The handle to a call of this task that was sent before, by any process."""
        return self._client.result(task_id)

    def _signature(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, immutable: bool = False
    ) -> Signature[R, Any]:
        return Signature(task=self.name, args=args, kwargs=kwargs, immutable=immutable, sender=self._client.send)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call the function in this thread."""
        return self._function(*args, **kwargs)

    if not TYPE_CHECKING:  # a type checker must find that there is no such method

        def __getattr__(self, name: str) -> Any:
            raise_unknown(f"task {self.__dict__.get('_name', '')}", name, TASK_HABITS)

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


class BatchTask(TaskBase[[A], R], Generic[A, R, V]):
    """A batched task: it is sent with one row, and its function gets a list of rows.

    ``A`` is the type of a row, ``R`` that of the result of a row, and ``V`` what the function returns.
    """

    if TYPE_CHECKING:
        # Type checkers know that other tasks are sent with what their functions take.

        @overload  # type: ignore[override]
        def s(self) -> Signature[R, Takes[A]]: ...
        @overload
        def s(self, row: A, /) -> Signature[R, Takes[Never]]: ...
        def s(self, *row: Any) -> Signature[R, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
            """See `TaskBase.s`: the result of the task before it, or ``row``, is the row."""
            ...

        def __call__(self, rows: list[A], /) -> V:  # type: ignore[override]
            """Call the function with a list of rows in this thread."""
            ...


class BatchDecorator:
    """``@app.task(batch=Batch(…), …)``, before it is applied to a function.

    Args:
        register: registers the function with the options; its task.
        options: as ``@app.task`` was given.
    """

    def __init__(self, register: Callable[[Any, Mapping[str, Any]], Any], options: Mapping[str, Any]) -> None:
        self._register = register
        self._options = options

    # pyright takes an exception out of R only where the union names its very class, so it names both.

    @overload
    def __call__(self, function: Callable[[list[A]], None], /) -> BatchTask[A, None, None]: ...
    @overload
    def __call__(
        self, function: Callable[[list[A]], Coroutine[Any, Any, None]], /
    ) -> BatchTask[A, None, Coroutine[Any, Any, None]]: ...
    @overload
    def __call__(
        self, function: Callable[[list[A]], Sequence[R | Exception | BaseException]], /
    ) -> BatchTask[A, R, Sequence[R | BaseException]]: ...
    @overload
    def __call__(
        self, function: Callable[[list[A]], Coroutine[Any, Any, Sequence[R | Exception | BaseException]]], /
    ) -> BatchTask[A, R, Coroutine[Any, Any, Sequence[R | BaseException]]]: ...
    def __call__(self, function: Any, /) -> Any:
        """Register the function; its task."""
        return self._register(function, self._options)


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


def make_task(client: TaskClient, name: str, function: Callable[..., Any], *, batched: bool) -> TaskBase[Any, Any]:
    """A task: a `BatchTask` where it is batched, an `AsyncTask` where its function is a coroutine function."""
    if batched:
        return BatchTask(client, name, function)
    return (AsyncTask if is_async(function) else Task)(client, name, function)


def _batches(calls: Iterable[tuple[Any, ...]], size: int) -> Iterator[Sequence[tuple[Any, ...]]]:
    remaining = iter(calls)
    while chunk := [tuple(call) for call in islice(remaining, size)]:
        yield chunk
