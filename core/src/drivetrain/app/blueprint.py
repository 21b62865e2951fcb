"""A blueprint: tasks of a reusable library, which belong to no app until an app includes them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from attrs import frozen

from drivetrain.app.registration import BatchOptions, TaskOptions, check_options, task_name
from drivetrain.app.result import Result
from drivetrain.app.task import AsyncTask, BatchDecorator, Task, TaskBase, TaskClient, TaskDecorator, make_task
from drivetrain.contract import ConfigurationError
from drivetrain.worker.functions import check_callable
from drivetrain.worker.registry import TaskDefinition
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.signature import Workflow

__all__ = ["Blueprint", "Include"]

P = ParamSpec("P")
R = TypeVar("R")


@frozen(eq=False)
class Include:
    """An app that includes a blueprint."""

    client: TaskClient
    #: Registers a function with its options.
    register: Callable[[Callable[..., Any], Mapping[str, Any]], object]


class Blueprint:
    """Tasks that belong to no app until ``app.include(blueprint)``; for libraries and reusable applications.

        mails = Blueprint("mails", queue="mails")

        @mails.task
        def send_mail(to: str) -> None: ...

        app.include(mails)            # in the application
        send_mail.send("ada@…")       # in the library, or anywhere: the app that has included it sends

    Its tasks are those of an app in every respect. Signatures may be made before an app includes them. Thread-safe.
    """

    def __init__(self, name: str, /, **defaults: Unpack[TaskOptions]) -> None:
        """Make it.

        Args:
            name: its name, for errors.
            defaults: options of those of its tasks that do not set them.

        Raises:
            InvalidSignature: an option is unknown.
        """
        check_options(defaults)
        self.name = name
        self._defaults = defaults
        self._client = _LateClient(name)
        self._declared: list[tuple[Callable[..., Any], Mapping[str, Any]]] = []

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(self, /, **options: Unpack[BatchOptions]) -> BatchDecorator: ...
    @overload
    def task(self, /, **options: Unpack[TaskOptions]) -> TaskDecorator: ...
    def task(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Declare a function as a task: ``@blueprint.task`` or ``@blueprint.task(queue="mails", …)``.

        Raises:
            InvalidSignature: an option is unknown, or no worker can run such a function.
            ConfigurationError: an app includes this blueprint, and another of its tasks has the name.
        """
        return TaskDecorator(self._declare, options) if function is None else self._declare(function, {})

    def include_in(self, include: Include) -> None:
        """Register the tasks with an app, those that are declared later too. Applications call ``app.include``."""
        for function, options in self._declared:
            include.register(function, options)
        self._client.includes.append(include)

    def _declare(self, function: Callable[..., Any], options: Mapping[str, Any]) -> TaskBase[Any, Any]:
        check_options(options)
        check_callable(function)
        merged = {**self._defaults, **options}
        merged["name"] = name = options.get("name") or task_name(function)
        for include in self._client.includes:
            include.register(function, merged)
        self._declared.append((function, merged))
        return make_task(self._client, name, function, batched="batch" in options)

    def __repr__(self) -> str:
        return f"<blueprint {self.name}>"


class _LateClient:
    """The client of the app that has included a blueprint."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.includes: list[Include] = []

    @property
    def runtime(self) -> Runtime:
        return self._one().runtime

    def definition(self, task: str, /) -> TaskDefinition:
        return self._one().definition(task)

    def send(self, workflow: Workflow[Any], /) -> Result[Any]:
        return self._one().send(workflow)

    async def send_async(self, workflow: Workflow[Any], /) -> Result[Any]:
        return await self._one().send_async(workflow)

    def result(self, task_id: str, /) -> Result[Any]:
        return self._one().result(task_id)

    def _one(self) -> TaskClient:
        if len(self.includes) == 1:
            return self.includes[0].client
        if not self.includes:
            raise ConfigurationError(
                f"no app includes the blueprint {self._name!r} yet, so its tasks cannot be sent; "
                f"call app.include({self._name}) in the module of the app, and import that module first"
            )
        raise ConfigurationError(
            f"{len(self.includes)} apps include the blueprint {self._name!r}, so its tasks cannot say which one sends "
            "them; write app.send(task.si(…))"
        )
