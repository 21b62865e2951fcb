"""The app: registers tasks, sends workflows, gives handles to results, makes workers."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, Unpack, overload

from attrs import evolve

from drivetrain.app.blueprint import Blueprint, Include
from drivetrain.app.bulk.takeover import OperationTakeover
from drivetrain.app.client import Client, PreparedSend
from drivetrain.app.driver_options import DriverOptions, check_shape
from drivetrain.app.limits import Limits
from drivetrain.app.locks import Lock
from drivetrain.app.operations import Operations
from drivetrain.app.registration import BatchOptions, Registrar, TaskOptions
from drivetrain.app.result import GroupResult, Result
from drivetrain.app.routing import Route, make_router
from drivetrain.app.schedule_book import Declaration, ScheduleOptions
from drivetrain.app.schedule_settings import declarations
from drivetrain.app.schedules import Schedules
from drivetrain.app.scheduling import Scheduling
from drivetrain.app.services import Services
from drivetrain.app.settings import Settings, load_settings
from drivetrain.app.task import AsyncTask, BatchDecorator, Task, TaskBase, TaskDecorator, make_task
from drivetrain.app.worker_options import worker_options
from drivetrain.contract import Clock, ScheduleSpec, SystemClock
from drivetrain.worker.companions import Companion
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.providers.overrides import ProviderOverrides
from drivetrain.worker.registry import Registry, TaskDefinition
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.schedules.scheduler import Scheduler
from drivetrain.worker.worker import Worker
from drivetrain.workflow.habits import APP_HABITS, raise_unknown
from drivetrain.workflow.plan import Defaults
from drivetrain.workflow.signature import Group, Signature, Workflow
from drivetrain.workflow.values import Values

__all__ = ["App"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class App:
    """A set of tasks, with the broker and the backend that they use. Thread-safe.

    Making an app connects to nothing. Two apps in one process share nothing.
    """

    #: A module that child processes import before that of a task, for subclasses that must be set up; empty: none.
    imported_by: str = ""

    def __init__(
        self,
        broker: str | None = None,
        backend: str | None = None,
        *,
        config: str | Path | None = None,
        clock: Clock | None = None,
        driver_options: DriverOptions | None = None,
        route: Route | None = None,
        **settings: Any,
    ) -> None:
        """Make it.

        Args:
            broker: the URL of the broker; by default an SQLite file in the current directory.
            backend: the URL of the backend; by default the broker's, where it can serve as one.
            config: a TOML or YAML file with settings.
            clock: for tests; see `drivetrain.testing`.
            driver_options: for the name of a driver, the options that no URL can hold:
                ``{"redis": {"credential_provider": provider}}``. Any URL scheme that a driver serves is a name of it.
            route: chooses the queue of each call that does not name one: a function of the task's name, args and
                kwargs. It returns the name of a queue, or None: then the setting ``routes`` and the task decide.
            settings: any of `drivetrain.Settings`. They override ``DRIVETRAIN_…`` variables, which override the file.

        Raises:
            ConfigurationError: a setting is unknown or wrong; the error lists all of them. Or ``driver_options`` names
                a driver that the app does not use.
        """
        given = {"broker": broker, "backend": backend}
        code = {**settings, **{name: url for name, url in given.items() if url is not None}}
        self.settings: Settings = load_settings(config, os.environ, code)
        check_shape(driver_options or {})
        self._values = Values()
        self._registry = Registry(
            self._values,
            Defaults(
                queue=self.settings.default_queue,
                retries=self.settings.retry,
                dead_letter=self.settings.dead_letter,
            ),
            make_router(self.settings.routes, route),
        )
        self._services = Services(self.settings, self._registry, clock or SystemClock(), driver_options or {})
        self._overrides = ProviderOverrides()
        retry_policy = self._services.drivers.retry_policy
        self._registrar = Registrar(self.settings, self._registry, retry_policy, self._overrides)
        self._client = Client(self._services, self._registry)
        self._scheduling = Scheduling(self._services, self._registry)
        for declaration in declarations(self.settings.schedule, self.signature):
            self._scheduling.book.declare(declaration)
        self._workers: weakref.WeakSet[Worker] = weakref.WeakSet()

    # Tasks

    # The overloads overlap on purpose: an async function is a function too, and the first that fits counts.
    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(self, /, **options: Unpack[BatchOptions]) -> BatchDecorator: ...
    @overload
    def task(self, /, **options: Unpack[TaskOptions]) -> TaskDecorator: ...
    def task(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Register a function as a task: ``@app.task`` or ``@app.task(queue="mails", …)``; see `TaskOptions`.

        With ``batch=Batch(100, wait=5)`` one call of the function gets the rows of many tasks; see `BatchOptions`.

        The function can still be called as before.

        Raises:
            ConfigurationError: another function has the name.
            InvalidSignature: an option is unknown or wrong, or no worker can run such a function.
        """
        return TaskDecorator(self._register, options) if function is None else self._register(function, {})

    def _register(self, function: Any, options: Mapping[str, Any]) -> TaskBase[Any, Any]:
        plain = function.function if isinstance(function, TaskBase) else function
        definition = self._registrar.register(plain, options, included_by=self.imported_by)
        return make_task(self._client, definition.name, definition.function, batched=definition.batch is not None)

    def include(self, *blueprints: Blueprint) -> None:
        """Register the tasks of blueprints with this app: those that are declared, and those that will be.

        Call it at the top level of a module, usually the one that makes the app.

        Raises:
            ConfigurationError: another task of the app has the name of one of them.
        """
        module: str = self.imported_by or sys._getframe(1).f_globals.get("__name__", "")
        for blueprint in blueprints:
            blueprint.include_in(Include(self._client, partial(self._registrar.register, included_by=module)))

    def register_type(self, kind: type[T], *, encode: Callable[[T], object], decode: Callable[[Any], T]) -> None:
        """Let arguments and results be instances of another class.

        Args:
            kind: the class, as annotations name it.
            encode: turns an instance into a value that can be an argument already.
            decode: turns such a value into an instance.
        """
        self._values.register(kind, encode=encode, decode=decode)

    def signature(self, task: str, /, *args: Any, **kwargs: Any) -> Signature[Any]:
        """A signature of a task by its name. If the task is not registered here, arguments are not checked."""
        return Signature(task=task, args=args, kwargs=kwargs, sender=self.send)

    @property
    def tasks(self) -> Mapping[str, TaskDefinition]:
        """The registered tasks by name."""
        return self._registry

    # Sending and results

    @overload
    def send(self, workflow: Group[T], /) -> GroupResult[T]: ...
    @overload
    def send(self, workflow: Workflow[R], /) -> Result[R]: ...
    def send(self, workflow: Workflow[Any], /) -> Result[Any]:
        """Send a signature, chain, group or chord; a handle to its result.

        When this returns, the broker has stored it.

        Raises:
            InvalidSignature: the workflow is wrong (InvalidArguments: arguments do not fit); nothing was sent.
            NotSupported: the broker or the backend lacks a capability that it needs; nothing was sent.
            ServiceError: a service did not accept it; PublishFailed lists the tasks that were not sent.
        """
        return self._client.send(workflow)

    def send_many(self, workflows: Iterable[Workflow[Any]]) -> list[Result[Any]]:
        """Send many workflows in one batch, which costs little more than one; their handles, in order.

        Raises: as `send`; PublishFailed lists by id the tasks that were not sent.
        """
        return self._client.send_many(workflows)

    async def send_async(self, workflow: Workflow[R], /) -> Result[R]:
        """`send`, for ``async`` code: the event loop is not blocked, and concurrent sends go out together.

        If it is cancelled, the workflow may have been sent.
        """
        return await self._client.send_async(workflow)

    async def send_many_async(self, workflows: Iterable[Workflow[Any]]) -> list[Result[Any]]:
        """`send_many`, for ``async`` code."""
        return await self._client.send_many_async(workflows)

    def prepare(self, workflow: Workflow[R], /) -> PreparedSend[R]:
        """Check a workflow and give it its ids now, to send it later: when a transaction has committed, for example.

        Raises:
            InvalidSignature: the workflow is wrong (InvalidArguments: arguments do not fit).
        """
        return self._client.prepare(workflow)

    def result(self, task_id: str) -> Result[Any]:
        """The handle to a task or a group that was sent before, by any process."""
        return self._client.result(task_id)

    def cancel(self, *task_ids: str) -> bool:
        """Cancel tasks that have not ended, and all tasks that depend on them.

        Returns:
            Whether any of them is cancelled, by this call or by an earlier one.

        Raises:
            UnknownResult: the backend has no record of any of them.
        """
        return self._client.cancel(*task_ids)

    # Schedules

    def schedule(
        self, schedule_id: str, workflow: Workflow[Any], when: ScheduleSpec, /, **options: Unpack[ScheduleOptions]
    ) -> None:
        """Declare a schedule: ``app.schedule("close-books", close_books.si(), cron("30 2 * * *"), overlap="skip")``.

        Workers store what is declared when they start; then any scheduler ticks it, each tick once. A schedule that is
        declared no more does not tick any more.

        Args:
            schedule_id: its id, unique in the app.
            workflow: what each tick sends: a signature, chain, group or chord.
            when: when it ticks: `drivetrain.cron`, `drivetrain.every`, `drivetrain.at`, or another `ScheduleSpec`.
            options: see `ScheduleOptions`.

        Raises:
            ConfigurationError: an option or a parameter is wrong, or the id is declared already.
        """
        self._scheduling.book.declare(Declaration(schedule_id, workflow, when, options))

    @property
    def schedules(self) -> Schedules:
        """The stored schedules: to list, put, pause, trigger, backfill and remove them."""
        return Schedules(self._services)

    def scheduler(self, *, now: Callable[[], float] | None = None) -> Scheduler:
        """Make a scheduler that ticks the schedules without a worker; use ``run()``, or ``with app.scheduler():``.

        Args:
            now: for tests, the time by which ticks are due, in Unix seconds; by default, the backend's clock.

        Raises:
            NotSupported: the backend stores nothing.
        """
        return self._scheduling.scheduler(self.runtime, now)

    # Workers

    def worker(self, **options: Any) -> Worker:
        """Make a worker of this app; run it with ``worker.run()``, ``worker.start()`` or ``with app.worker():``.

        Args:
            options: any of `drivetrain.worker.options.WorkerOptions`; the app's settings apply to all others.

        Raises:
            ConfigurationError: an option is unknown or wrong.
            InvalidSignature: an annotation of a task names a type that no message can carry.
        """
        runtime, known = self.runtime, worker_options(self.settings, options)
        # Only one thread at a time may call `receive` of one broker object, so a second worker gets its own.
        in_use = any(worker.receives_from(runtime.broker) for worker in list(self._workers))
        another = in_use and runtime.broker.capabilities.shared
        if another:
            runtime = evolve(runtime, broker=self._services.another_broker())
        companions = self._companions(runtime, known) if runtime.backend.capabilities.stores else []
        worker = Worker(runtime, known, owns_broker=another, companions=companions)
        self._workers.add(worker)
        return worker

    def _companions(self, runtime: Runtime, options: WorkerOptions) -> list[Companion]:
        """What a worker runs beside its tasks, with a backend that stores."""
        takeover = OperationTakeover(self._services, options.name)
        return [takeover, self._scheduling.scheduler(runtime)] if options.schedules else [takeover]

    # Upkeep

    @property
    def plugins(self) -> Mapping[str, object]:
        """The plugins, by the names that errors call them."""
        return self._services.drivers.plugins

    @property
    def operations(self) -> Operations:
        """What operators do with queues, dead letters and lost tasks."""
        return Operations(self._services)

    @property
    def limits(self) -> Limits:
        """The limits of the app's tasks: how much of each is in use, and changes of them at run time."""
        return Limits(self._services)

    @property
    def runtime(self) -> Runtime:
        """The drivers. Each process makes its own at first use, a forked child too."""
        return self._services.runtime

    def lock(self, name: str, *, seconds: float = 60.0, wait_seconds: float | None = 0.0) -> Lock:
        """A named lock in the backend.

        Args:
            name: its name, any text.
            seconds: the lock expires so long after it was taken or renewed.
            wait_seconds: how long ``with`` waits for the lock while another owner has it; None: without limit.
        """
        runtime = self.runtime
        return Lock(lambda: self.runtime.backend, runtime.clock, name, seconds=seconds, wait_seconds=wait_seconds)

    def add_plugins(self, *plugins: object) -> None:
        """Use more plugins, beyond the setting ``plugins``; ``drivetrain worker --plugins`` does. Those in use stay.

        Call it before the app sends or works: its connections are closed, and made again at the next use.

        Args:
            plugins: names of entry points in ``drivetrain.plugins``, or objects with hooks.

        Raises:
            ConfigurationError: a plugin is not installed, or cannot be used; then nothing has changed.
        """
        self._services.add_plugins(plugins)

    def override(self, provider: Callable[..., Any], replacement: Callable[..., Any]) -> AbstractContextManager[None]:
        """Use another provider until the context ends, for tests: ``with app.override(open_session, lambda: fake): …``.

        It counts for tasks that this process runs, except in the child processes of a worker.

        Args:
            provider: the function that tasks name: ``session: Session = provided(open_session)``.
            replacement: a provider too.
        """
        return self._overrides.override(provider, replacement)

    def using(
        self, broker: str, backend: str | None = None, *, clock: Clock | None = None, plugins: Iterable[object] = ()
    ) -> AbstractContextManager[None]:
        """Use other drivers until the context ends, for tests: ``with app.using("memory://"): …``.

        Args:
            broker: the URL of the other broker.
            backend: the URL of the other backend; by default the other broker's, where it can serve as one.
            clock: another clock; by default the app's own.
            plugins: more plugins, until the context ends.
        """
        return self._services.using(broker, backend, clock, plugins)

    def close(self) -> None:
        """Close the connections. The app can be used again, and connects again."""
        self._services.close()

    if not TYPE_CHECKING:  # a type checker must find that there is no such method

        def __getattr__(self, name: str) -> Any:
            raise_unknown("an app", name, APP_HABITS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
