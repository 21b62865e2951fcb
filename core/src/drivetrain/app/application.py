"""The app: registers tasks, sends work, hands out results, makes workers."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypedDict, TypeVar, Unpack, overload

from attrs import evolve, fields_dict, frozen

from drivetrain.app.discovery import Drivers
from drivetrain.app.driver_options import DriverOptions, check_shape
from drivetrain.app.locks import Lock
from drivetrain.app.operations import Operations
from drivetrain.app.per_process import PerProcess
from drivetrain.app.result import GroupResult, Result, group_task
from drivetrain.app.sending import Sending
from drivetrain.app.settings import Settings, load_settings
from drivetrain.app.task import AsyncTask, Task, TaskBase
from drivetrain.app.waiter import Waiter
from drivetrain.contract import (
    Clock,
    ConfigurationError,
    DriverContext,
    Failure,
    InvalidSignature,
    Plain,
    ResultLost,
    Retries,
    SystemClock,
    TaskRecord,
)
from drivetrain.worker.functions import check_callable, is_async, wraps_async
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.origins import module_name
from drivetrain.worker.payloads import Payloads
from drivetrain.worker.registry import Pool, Registry, TaskDefinition
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.worker import Worker
from drivetrain.workflow.binding import Binding
from drivetrain.workflow.frames import Call, Fork, Frames, Invocation, ids
from drivetrain.workflow.plan import Defaults
from drivetrain.workflow.signature import Group, Options, Signature, Workflow
from drivetrain.workflow.values import Values, shown

__all__ = ["App", "TaskOptions", "task_name"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

#: How many threads at most read and decode the results that coroutines await.
_READING_THREADS = 8


class TaskOptions(TypedDict, total=False):
    """What ``@app.task(…)`` takes; what is left out, the app's settings say."""

    #: The name under which it is registered; by default ``module.function``.
    name: str
    queue: str
    #: 0 is the lowest; how many there are, the broker says.
    priority: int
    #: See `drivetrain.retry`.
    retry: Retries
    #: How long one attempt may run, in seconds.
    timeout: float | timedelta
    #: How long its result is kept, in seconds.
    retention: float | timedelta
    #: Whether its message is kept in the dead letters of its queue when it has finally failed.
    dead_letter: bool
    #: Other names under which messages may name it, for instance the one that it had before it was renamed.
    aliases: Sequence[str]
    #: Where it runs. By default in threads, and ``async def`` tasks on the event loop.
    pool: Literal["threads", "processes", "loop"]


class App:
    """A set of tasks, with the broker and the backend that they use. Thread-safe.

    Making an app connects to nothing. Two apps in one process have nothing in common.
    """

    def __init__(
        self,
        broker: str | None = None,
        backend: str | None = None,
        *,
        config: str | Path | None = None,
        clock: Clock | None = None,
        driver_options: DriverOptions | None = None,
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
            settings: any of `drivetrain.Settings`; they are stronger than ``DRIVETRAIN_…`` variables, and these are
                stronger than the file.

        Raises:
            ConfigurationError: a setting is unknown or wrong; all that are, are named. Or ``driver_options`` names a
                driver that the app does not use.
        """
        code = {**settings, **{k: v for k, v in (("broker", broker), ("backend", backend)) if v is not None}}
        self.settings: Settings = load_settings(config, os.environ, code)
        self._driver_options = driver_options or {}
        check_shape(self._driver_options)
        context = self._driver_context(clock or SystemClock())
        self._place = _Place(self.settings.broker, self.settings.backend, context)
        self._values = Values()
        self._registry = Registry(
            self._values,
            Defaults(
                queue=self.settings.default_queue,
                retries=self.settings.retry,
                dead_letter=self.settings.dead_letter,
            ),
        )
        self._drivers = self._find_drivers(context)
        self._drivers.check_options(self.settings.broker, self.settings.backend)
        self._workers: weakref.WeakSet[Worker] = weakref.WeakSet()
        self._made = PerProcess(self._make)

    # Tasks

    # The overloads overlap on purpose: an async function is a function too, and the first that fits counts.
    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(self, /, **options: Unpack[TaskOptions]) -> _Decorator: ...
    def task(self, function: Callable[..., Any] | None = None, /, **options: Unpack[TaskOptions]) -> Any:
        """Register a function as a task: ``@app.task`` or ``@app.task(queue="mails", …)``; see `TaskOptions`.

        The function can still be called as before.

        Raises:
            ConfigurationError: the name is taken by another function.
            InvalidSignature: an option is unknown or wrong, or no worker could run such a function.
        """
        if function is not None:
            return self._register(function, {})
        return _Decorator(self, options)

    def register_type(self, kind: type[T], *, encode: Callable[[T], object], decode: Callable[[Any], T]) -> None:
        """Let values of a class of your own travel.

        Args:
            kind: the class; annotations name it.
            encode: from an instance to any value that can travel.
            decode: the way back.
        """
        self._values.register(kind, encode=encode, decode=decode)

    def signature(self, task: str, /, *args: Any, **kwargs: Any) -> Signature[Any]:
        """A signature of a task by its name, which need not be registered here; then arguments are not checked."""
        return Signature(task=task, args=args, kwargs=kwargs, sender=self.send)

    @property
    def tasks(self) -> Mapping[str, TaskDefinition]:
        """The registered tasks by name."""
        return self._registry

    def _register(self, function: Any, options: Mapping[str, Any]) -> Any:
        known = TaskOptions.__annotations__
        if unknown := sorted(set(options) - set(known)):
            raise InvalidSignature(f"no task option(s): {', '.join(unknown)}; known are {', '.join(known)}")
        if isinstance(function, TaskBase):
            function = function.definition.function
        check_callable(function)
        name = options.get("name") or task_name(function)
        self._registry.register(
            TaskDefinition(
                name=name,
                function=function,
                binding=Binding(name, function, self._values),
                pool=self._pool(name, function, options.get("pool")),
                defaults=self._defaults(options),
                aliases=_aliases(name, options.get("aliases", ())),
            )
        )
        return (AsyncTask if is_async(function) else Task)(self, self._registry[name])

    def _pool(self, name: str, function: Callable[..., Any], asked: str | None) -> Pool:
        if asked is not None and asked not in set(Pool):
            raise InvalidSignature(f"task {name!r} asks for the pool {asked!r}; there are {', '.join(Pool)}")
        pool = Pool(asked or (Pool.LOOP if is_async(function) else self.settings.pool))
        # What a decorator around a coroutine function returns may be awaited on the loop, or in a thread.
        if is_async(function) is not (pool is Pool.LOOP) and not wraps_async(function):
            kind = "an async def function" if is_async(function) else "a plain function"
            raise ConfigurationError(f"task {name!r} is {kind}, which cannot run in the pool {pool.value!r}")
        return pool

    def _defaults(self, options: Mapping[str, Any]) -> Defaults:
        # Options checks each value, and has the message for a wrong one.
        checked = Options(**{key: value for key, value in options.items() if key not in {"name", "aliases", "pool"}})
        if checked.retry is not None:
            self._drivers.retry_policy(checked.retry.policy, checked.retry.parameters)
        return Defaults(
            queue=checked.queue or self.settings.default_queue,
            priority=checked.priority or 0,
            retries=checked.retry if checked.retry is not None else self.settings.retry,
            timeout=checked.timeout,
            retention=checked.retention,
            dead_letter=self.settings.dead_letter if checked.dead_letter is None else checked.dead_letter,
        )

    # Sending

    @overload
    def send(self, workflow: Group[T], /) -> GroupResult[T]: ...
    @overload
    def send(self, workflow: Workflow[R], /) -> Result[R]: ...
    def send(self, workflow: Workflow[Any], /) -> Result[Any]:
        """Send a signature, chain, group or chord; a handle to its result.

        When this returns, the broker has it.

        Raises:
            InvalidSignature: it cannot be sent as written (InvalidArguments: arguments do not fit); nothing was sent.
            NotSupported: the broker or the backend lacks what it needs; nothing was sent.
            ServiceError: a service did not take it; PublishFailed says what was not sent.
        """
        return self.send_many([workflow])[0]

    def send_many(self, workflows: Iterable[Workflow[Any]]) -> list[Result[Any]]:
        """Send many workflows in one batch, which costs little more than one; their handles, in order.

        Raises: as `send`; PublishFailed says by id which tasks were not sent.
        """
        return [self._handle(frames) for frames in self._sending.send(list(workflows))]

    async def send_async(self, workflow: Workflow[R], /) -> Result[R]:
        """`send`, for ``async`` code: the event loop goes on meanwhile."""
        import asyncio

        result: Result[R] = await asyncio.to_thread(self.send, workflow)
        return result

    async def send_many_async(self, workflows: Iterable[Workflow[Any]]) -> list[Result[Any]]:
        """`send_many`, for ``async`` code."""
        import asyncio

        return await asyncio.to_thread(self.send_many, workflows)

    # Results

    def result(self, task_id: str) -> Result[Any]:
        """The handle to a task or a group that was sent before, here or elsewhere."""
        return Result(self, task_id)

    def cancel(self, *task_ids: str) -> bool:
        """Cancel tasks that have not ended, and all that waits for them.

        Returns:
            Whether any of them is cancelled, by this call or by an earlier one.

        Raises:
            UnknownResult: nothing is known of any of them.
        """
        return self._sending.cancel(task_ids)

    def reset_for_replay(self, invocation: Invocation) -> None:
        """Let a task that has ended, and all that waited for it, be waited for again; its message is replayed next."""
        self._sending.reset_for_replay(invocation)

    def decode_result(self, record: TaskRecord, handle: Result[Any], *, limit_seconds: float | None) -> Any:
        """The value of a successful record; with the types that its tasks declare, where they are registered.

        Args:
            record: the record of the task or group.
            handle: its handle.
            limit_seconds: how long to try again while the backend is away; None: for as long as it takes.

        Raises:
            ResultLost: the backend has dropped results of members of the group.
            ServiceUnavailable: the backend could not be reached in time.
        """
        payloads = self.runtime.payloads
        if not group_task(record):
            plain = None if record.payload is None else payloads.load(record.payload)
            return self._typed(record.task, plain)
        backend = self.runtime.backend
        retrier = Retrier(self.runtime.clock, limit_seconds=limit_seconds)
        members = retrier.call("read members", lambda: backend.read_members(record.task_id))
        if None in members:
            raise ResultLost(record.task_id, f"the backend has lost results of members of group {record.task_id}")
        plain_members = [None if payload is None else payloads.load(payload) for payload in members]
        return self._decode_members(plain_members, handle.members)

    def _decode_members(self, plain: Sequence[Plain], handles: Sequence[Result[Any]]) -> list[Any]:
        if len(handles) != len(plain):
            return [self._values.decode(value) for value in plain]
        return [self._decode_member(value, handle) for value, handle in zip(plain, handles, strict=True)]

    def _decode_member(self, plain: Plain, handle: Result[Any]) -> Any:
        if handle.members and isinstance(plain, list):
            return self._decode_members(plain, handle.members)
        value = self._values.decode(plain)
        return value if isinstance(value, Failure) else self._typed(handle.task, plain)

    def _typed(self, task: str, plain: Plain) -> Any:
        definition = self._registry.get(task)
        return self._values.decode(plain) if definition is None else definition.binding.decode_result(plain)

    def _handle(self, frames: Frames, *, parts: bool = True) -> Result[Any]:
        last: Any = frames[-1]
        all_ids = tuple(ids(frames)) if parts else ()
        if isinstance(last, Fork):
            members = [self._handle(branch, parts=False) for branch in last.branches]
            return GroupResult(self, last.group_id, members, all_ids)
        call: Call = last
        return Result(self, call.id, (), all_ids, task=call.task)

    def with_retries(self, what: str, function: Callable[[], T]) -> T:
        """The result of ``function``, which is called again while a service is away, for as long as sending tries."""
        return self._sending.retrier.call(what, function)

    # Workers

    def worker(self, **options: Any) -> Worker:
        """Make a worker of this app; run it with ``worker.run()``, ``worker.start()`` or ``with app.worker():``.

        Args:
            options: any of `drivetrain.worker.options.WorkerOptions`; by default as the app's settings say.

        Raises:
            ConfigurationError: an option is unknown; InvalidSignature: a task has an annotation that cannot travel.
        """
        runtime, known = self.runtime, self._worker_options(options)
        # Only one thread at a time may be inside `receive` of one object, so a second worker gets a broker of its own.
        lent = any(worker.receives_from(runtime.broker) for worker in list(self._workers))
        another = lent and runtime.broker.capabilities.shared
        if another:
            runtime = evolve(runtime, broker=self._drivers.broker(self._place.broker))
        worker = Worker(runtime, known, owns_broker=another)
        self._workers.add(worker)
        return worker

    def _worker_options(self, options: Mapping[str, Any]) -> WorkerOptions:
        known = fields_dict(WorkerOptions)
        if unknown := sorted(set(options) - set(known)):
            raise ConfigurationError(f"no worker option(s): {', '.join(unknown)}; known are {', '.join(known)}")
        settings = fields_dict(Settings)
        evolve(self.settings, **{key: options[key] for key in options if key in settings and key != "queues"})  # checks
        defaults = {
            key: getattr(self.settings, key) for key in known if key in settings and key not in {"name", "queues"}
        }
        queues = options.get("queues", self.settings.served_queues)
        return WorkerOptions(
            **{**defaults, **options, "queues": tuple([queues] if isinstance(queues, str) else queues)}
        )

    # Upkeep

    @property
    def operations(self) -> Operations:
        """Queues and dead letters."""
        return Operations(self)

    @property
    def waiter(self) -> Waiter:
        """Waits for results."""
        return self._made.get().waiter

    @property
    def readers(self) -> ThreadPoolExecutor:
        """The threads that read and decode results on behalf of coroutines."""
        return self._made.get().readers

    @property
    def drivers(self) -> Drivers:
        """The drivers that are installed, and the app's own."""
        return self._drivers

    def lock(self, name: str, *, seconds: float = 60.0) -> Lock:
        """A named lock over the backend, which ends by itself after ``seconds``."""
        return Lock(lambda: self.runtime.backend, name, seconds)

    def progress_bar(self, total: int) -> Callable[[int, int], object]:
        """A progress bar for `Result.get`.

        Raises:
            ConfigurationError: tqdm is not installed.
        """
        try:
            from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]
        except ImportError:
            raise ConfigurationError(
                "progress=True needs tqdm: pip install 'drivetrain[progress]', or pass a function of (done, total)"
            ) from None
        bar = tqdm(total=total, unit="task")

        def report(done: int, _total: int) -> None:
            bar.update(done - bar.n)
            if done >= total:
                bar.close()

        return report

    @contextmanager
    def using(self, broker: str, backend: str | None = None, *, clock: Clock | None = None) -> Iterator[None]:
        """Other drivers for a while, for tests: ``with app.using("memory://"): …``.

        Args:
            broker: the URL of the broker meanwhile.
            backend: the URL of the backend meanwhile; by default the broker's, where it can serve as one.
            clock: the clock meanwhile; by default the app's own.
        """
        place = self._place
        self._move(_Place(broker, backend, self._driver_context(clock or place.context.clock)))
        try:
            yield
        finally:
            self._move(place)

    def _move(self, place: _Place) -> None:
        self.close()
        self._place = place
        self._drivers = self._find_drivers(place.context)

    def _driver_context(self, clock: Clock) -> DriverContext:
        return DriverContext(clock=clock, namespace=self.settings.name)

    def _find_drivers(self, context: DriverContext) -> Drivers:
        return Drivers(context, self.settings.drivers, self.settings.plugins, self._driver_options)

    def close(self) -> None:
        """Let go of connections. The app can be used again, and connects anew."""
        if (made := self._made.take()) is not None:
            made.runtime.broker.close()
            made.runtime.backend.close()
            made.readers.shutdown(wait=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def runtime(self) -> Runtime:
        """The drivers. Each process makes its own at first use, a forked child too."""
        return self._made.get().runtime

    @property
    def _sending(self) -> Sending:
        return self._made.get().sending

    def _make(self) -> _Made:
        return self._assemble(self._make_runtime())

    def _assemble(self, runtime: Runtime) -> _Made:
        return _Made(
            runtime,
            Sending(runtime, try_seconds=self.settings.send_seconds),
            Waiter(runtime, self.settings.poll_seconds),
            ThreadPoolExecutor(_READING_THREADS, thread_name_prefix="drivetrain-read"),
        )

    def _make_runtime(self) -> Runtime:
        settings, drivers, place = self.settings, self._drivers, self._place
        serializer = drivers.serializer(settings.serializer)
        return Runtime(
            broker=drivers.broker(place.broker),
            backend=drivers.backend(drivers.backend_url(place.broker, place.backend)),
            payloads=Payloads(serializer, lambda content_type: drivers.serializer_for(content_type, settings.accept)),
            registry=self._registry,
            observers=drivers.observers,
            clock=place.context.clock,
            retry_policy=drivers.retry_policy,
            default_queue=settings.default_queue,
            directory=place.context.directory,
            retention_seconds=settings.result_retention_seconds,
            redelivery_window_seconds=settings.redelivery_window_seconds,
        )


@frozen
class _Place:
    """Where an app works: its drivers, and what they are made with."""

    broker: str
    backend: str | None
    context: DriverContext


@frozen
class _Made:
    """What an app makes in each process that uses it."""

    runtime: Runtime
    sending: Sending
    waiter: Waiter
    readers: ThreadPoolExecutor


class _Decorator:
    """``@app.task(…)`` with options, before it has seen its function."""

    def __init__(self, app: App, options: Mapping[str, Any]) -> None:
        self._app = app
        self._options = options

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...
    def __call__(self, function: Any, /) -> Any:
        return self._app._register(function, self._options)


def _aliases(name: str, aliases: object) -> tuple[str, ...]:
    if isinstance(aliases, str) or not isinstance(aliases, Sequence) or not all(_is_name(alias) for alias in aliases):
        raise InvalidSignature(
            f"aliases of task {name!r} are {aliases!r}; give a list of names, like ['shop.old_name']"
        )
    return tuple(aliases)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def task_name(function: Callable[..., Any]) -> str:
    """The name of a task by default: ``module.function``, the same however its module was started.

    Raises:
        InvalidSignature: the function has no name: it is a partial, or an object that can be called.
    """
    qualname = getattr(function, "__qualname__", None)
    if qualname is None:
        raise InvalidSignature(f"{shown(function)} has no name of its own; give it one: app.task(name=…)")
    return f"{module_name(function.__module__ or 'builtins')}.{qualname}"
