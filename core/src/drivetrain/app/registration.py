"""Registering functions as tasks: their options checked, their names and defaults filled in."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, Required, TypedDict

from drivetrain.app.settings import Settings
from drivetrain.contract import ConfigurationError, InvalidSignature, Plain, Retries, RetryPolicy
from drivetrain.worker.batches.spec import Batch
from drivetrain.worker.fair_keys import bind_fair_by
from drivetrain.worker.functions import check_callable, is_async, wraps_async
from drivetrain.worker.limits.bound import bind_limits, bind_unique
from drivetrain.worker.limits.specs import Concurrency, Debounce, Rate, Throttle, Unique, WhenLimited
from drivetrain.worker.origins import module_name
from drivetrain.worker.providers.overrides import ProviderOverrides
from drivetrain.worker.providers.running import with_providers
from drivetrain.worker.registry import Pool, Registry, TaskDefinition
from drivetrain.workflow.binding import Binding, RowBinding
from drivetrain.workflow.options import Options
from drivetrain.workflow.plan import Defaults
from drivetrain.workflow.rows import check_takes_rows, one_row
from drivetrain.workflow.values import shown

__all__ = ["BatchOptions", "Registrar", "TaskOptions", "check_options", "task_name"]

logger = logging.getLogger("drivetrain")

#: Options of a task that are not options of each call.
_OF_TASK_ONLY = frozenset(
    {"name", "aliases", "pool", "limits", "when_limited", "unique", "debounce", "throttle", "fair_by", "batch"}
)


class TaskOptions(TypedDict, total=False):
    """The options of ``@app.task(…)``. The app's settings apply where an option is left out."""

    #: The registered name; by default ``module.function``.
    name: str
    queue: str
    #: 0 is the lowest priority; the broker defines the number of priorities.
    priority: int
    #: See `drivetrain.retry`.
    retry: Retries
    #: How long one attempt may run, in seconds.
    timeout: float | timedelta
    #: After how many seconds of one attempt `SoftTimeout` is raised in the task; less than ``timeout``.
    soft_timeout: float | timedelta
    #: How long its result is kept, in seconds.
    retention: float | timedelta
    #: Whether its message is kept in the dead letters of its queue when it has finally failed.
    dead_letter: bool
    #: Other names under which messages may name it, for instance its name before a renaming.
    aliases: Sequence[str]
    #: What limits its runs, for all workers together.
    limits: Sequence[Rate | Concurrency]
    #: What becomes of a call that a limit holds back: it waits (the default), or it is dropped: it ends as CANCELLED.
    when_limited: WhenLimited
    #: At most one task for each key.
    unique: Unique
    #: Runs once after its calls have been quiet for a time, with the arguments of the last one.
    debounce: Debounce
    #: Runs at most once in each period.
    throttle: Throttle
    #: Tasks of its queue with the same key share a line, and the lines take turns: the name of an argument, a template
    #: like ``"{tenant}:{region}"``, or a function of the arguments.
    fair_by: str | Callable[..., object]
    #: The pool that runs it: by default threads, and the event loop for ``async def`` tasks.
    pool: Literal["threads", "processes", "loop"]


class BatchOptions(TaskOptions, total=False):
    """The options of ``@app.task(batch=Batch(…), …)``."""

    #: Calls the function once for many tasks.
    batch: Required[Batch]


class Registrar:
    """Registers functions as tasks in a registry.

    Args:
        settings: defaults of task options.
        registry: the registry of the app's tasks.
        retry_policy: makes a retry policy from its name and parameters; raises where these are wrong.
        overrides: the providers that others replace.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        retry_policy: Callable[[str, Mapping[str, Plain]], RetryPolicy],
        overrides: ProviderOverrides,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._retry_policy = retry_policy
        self._overrides = overrides
        self._warned = False

    def register(
        self, function: Callable[..., Any], options: Mapping[str, Any], *, included_by: str = ""
    ) -> TaskDefinition:
        """Register a function as a task; its definition.

        Args:
            function: the function.
            options: as `TaskOptions`, not checked yet.
            included_by: see `TaskDefinition`.

        Raises:
            ConfigurationError: another function has the name, or the function cannot run in its pool.
            InvalidSignature: an option is unknown or wrong, or no worker can run such a function.
        """
        check_options(options)
        check_callable(function)
        name = options.get("name") or task_name(function)
        self._warn_of_session(name)
        function = with_providers(function, self._overrides)
        batch = _batch(name, function, options.get("batch"))
        called = function if batch is None else one_row  # a call of a batched task has one row
        self._registry.register(
            TaskDefinition(
                name=name,
                function=function,
                binding=(Binding if batch is None else RowBinding)(name, function, self._registry.codec),
                pool=self._pool(name, function, options.get("pool")),
                defaults=self._defaults(options),
                limits=bind_limits(name, called, options.get("limits", ()), options.get("when_limited", "wait")),
                unique=bind_unique(
                    name, called, options.get("unique"), options.get("debounce"), options.get("throttle")
                ),
                fair_by=bind_fair_by(name, called, options.get("fair_by")),
                batch=batch,
                aliases=_aliases(name, options.get("aliases", ())),
                included_by=included_by,
            )
        )
        return self._registry[name]

    def _warn_of_session(self, name: str) -> None:
        """Warn, once, that other processes cannot import what is typed in here."""
        if self._warned or not name.startswith("__main__.") or not hasattr(sys, "ps1"):
            return
        self._warned = True
        logger.warning(
            "task %s is defined in an interactive session or a notebook, so no other process can run it; run a worker "
            "here (with app.worker(): …), or move the task to a module",
            name,
        )

    def _pool(self, name: str, function: Callable[..., Any], asked: str | None) -> Pool:
        if asked is not None and asked not in set(Pool):
            raise InvalidSignature(f"task {name!r} has pool={asked!r}; use one of {', '.join(Pool)}")
        pool = Pool(asked or (Pool.LOOP if is_async(function) else self._settings.pool))
        # The result of a decorated coroutine function may be awaited on the loop, or in a thread.
        if is_async(function) is not (pool is Pool.LOOP) and not wraps_async(function):
            kind = "an async def function" if is_async(function) else "a plain function"
            raise ConfigurationError(f"task {name!r} is {kind}, which cannot run in the pool {pool.value!r}")
        return pool

    def _defaults(self, options: Mapping[str, Any]) -> Defaults:
        # Options has the validators, and the messages for wrong values.
        checked = Options(**{name: value for name, value in options.items() if name not in _OF_TASK_ONLY})
        if checked.retry is not None:
            self._retry_policy(checked.retry.policy, checked.retry.parameters)
        if checked.timeout is not None and checked.soft_timeout is not None and checked.soft_timeout >= checked.timeout:
            raise InvalidSignature(
                f"soft_timeout is {checked.soft_timeout:g} s and timeout is {checked.timeout:g} s; "
                "the soft one must be less, so that the task can end by itself"
            )
        settings = self._settings
        return Defaults(
            queue=checked.queue or settings.default_queue,
            priority=checked.priority or 0,
            retries=checked.retry if checked.retry is not None else settings.retry,
            timeout=checked.timeout,
            soft_timeout=checked.soft_timeout,
            retention=checked.retention,
            dead_letter=settings.dead_letter if checked.dead_letter is None else checked.dead_letter,
        )


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse unknown options of a task.

    Raises:
        InvalidSignature: an option is unknown.
    """
    known = BatchOptions.__annotations__
    if unknown := sorted(set(options) - set(known)):
        raise InvalidSignature(f"unknown task option(s): {', '.join(unknown)}; use {', '.join(known)}")


def task_name(function: Callable[..., Any]) -> str:
    """The default name of a task: ``module.function``, the same however its module was started.

    Raises:
        InvalidSignature: the function has no name: it is a partial, or a callable object.
    """
    qualname = getattr(function, "__qualname__", None)
    if qualname is None:
        raise InvalidSignature(f"{shown(function)} has no name of its own; give it one: app.task(name=…)")
    return f"{module_name(function.__module__ or 'builtins')}.{qualname}"


def _batch(name: str, function: Callable[..., Any], batch: object) -> Batch | None:
    if batch is None:
        return None
    if not isinstance(batch, Batch):
        raise InvalidSignature(f"task {name!r} has batch={batch!r}; use Batch(size, wait=seconds)")
    check_takes_rows(name, function)
    return batch


def _aliases(name: str, aliases: object) -> tuple[str, ...]:
    if isinstance(aliases, str) or not isinstance(aliases, Sequence) or not all(map(_is_name, aliases)):
        raise InvalidSignature(
            f"aliases of task {name!r} are {aliases!r}; give a list of names, like ['shop.old_name']"
        )
    return tuple(aliases)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)
