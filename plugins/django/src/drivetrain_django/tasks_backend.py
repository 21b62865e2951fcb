"""A backend of Django's tasks framework: ``TASKS = {"default": {"BACKEND": "drivetrain_django.tasks_backend.…"}}``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from drivetrain import Failure, Result, State, TaskFailed, TaskRecord, UnknownResult, current_task
from drivetrain.contract import ValueWrite
from drivetrain.worker.retrying import Retrier
from drivetrain.workflow.signature import Signature
from drivetrain_django.application import DjangoApp, get_app
from drivetrain_django.records import StoredCall, moment, task_error, task_result
from drivetrain_django.tasks_api import (
    AnyTask,
    AnyTaskResult,
    BaseTaskBackend,
    TaskContext,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_enqueued,
    task_finished,
    task_started,
)

__all__ = ["DrivetrainBackend"]

#: The keys of the values that hold the arguments of calls.
_CALL_PREFIX: Final = "django/"
#: The priorities of Django, from -100 to 100.
_LOWEST_PRIORITY: Final = -100
_PRIORITIES: Final = 201
_OPTIONS: Final = frozenset({"ON_COMMIT", "STORE_ARGUMENTS"})


class DrivetrainBackend(BaseTaskBackend):
    """Sends the tasks of Django's tasks framework with the app of the project. A worker of drivetrain runs them.

    ``OPTIONS``: ``ON_COMMIT`` (False): send when the transaction has committed. ``STORE_ARGUMENTS`` (True): store the
    arguments of each task for `get_result`, which costs one more write for each task.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self.options = dict(params.get("OPTIONS", {}))
        if unknown := sorted(set(self.options) - _OPTIONS):
            raise ImproperlyConfigured(
                f"TASKS[{alias!r}]['OPTIONS'] has unknown keys: {', '.join(unknown)}; "
                f"known are {', '.join(sorted(_OPTIONS))}"
            )

    @property
    def app(self) -> DjangoApp:
        """The app that sends."""
        return get_app()

    def validate_task(self, task: AnyTask) -> None:
        """Check a task, and register its function, so that a worker which imports its module can run it."""
        super().validate_task(task)
        name = task.module_path
        if name not in self.app.tasks:
            self.app.task(name=name, pool=_pool(task.func))(_runner(type(self), task.func, self.alias, name))

    def enqueue(self, task: AnyTask, args: Any, kwargs: Any) -> AnyTaskResult:
        """Send a task; what is known of it. With ``ON_COMMIT``, it is sent when the transaction has committed."""
        self.validate_task(task)
        result: AnyTaskResult = TaskResult(
            task=task,
            id="",
            status=TaskResultStatus.READY,
            enqueued_at=None,
            started_at=None,
            last_attempted_at=None,
            finished_at=None,
            args=[*args],
            kwargs={**kwargs},
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        prepared = self.app.prepare(self._signature(task, result))
        object.__setattr__(result, "id", prepared.result.id)
        if self.options.get("ON_COMMIT"):
            transaction.on_commit(partial(self._send, prepared.send, result))
        else:
            self._send(prepared.send, result)
        return result

    def get_result(self, result_id: str) -> AnyTaskResult:
        """What is known of a task.

        Raises:
            TaskResultDoesNotExist: the backend has no record of it, or its function cannot be imported.
        """
        handle = self.app.result(result_id)
        try:
            record = handle.record()
            task = import_string(record.task)
        except (UnknownResult, ImportError) as error:
            raise TaskResultDoesNotExist(result_id) from error
        value, failure = _outcome(handle, record)
        call = self._stored_call(result_id)
        return task_result(record, task, call, backend=self.alias, failure=failure, value=value)

    def check(self, **_more: Any) -> Sequence[checks.CheckMessage]:
        """The faults of its configuration."""
        from django.apps import apps

        if apps.is_installed("drivetrain_django"):
            return []
        text = "the tasks backend of drivetrain needs the app drivetrain_django"
        return [checks.Error(text, hint="Add 'drivetrain_django' to INSTALLED_APPS.", id="drivetrain.E002")]

    # Sending

    def _signature(self, task: AnyTask, result: AnyTaskResult) -> Signature[Any]:
        return self.app.signature(task.module_path, *result.args, **result.kwargs).set(
            queue=task.queue_name, priority=self._priority(task.priority), eta=_aware(task.run_after)
        )

    def _priority(self, priority: int) -> int:
        """The priority of the broker: the 201 of Django are spread over those that it has."""
        levels = self.app.runtime.broker.capabilities.priority_levels
        return (priority - _LOWEST_PRIORITY) * levels // _PRIORITIES

    def _send(self, send: Callable[[], object], result: AnyTaskResult) -> None:
        object.__setattr__(result, "enqueued_at", moment(self.app.runtime.clock.now()))
        self._store_call(result)  # before it can run
        send()
        task_enqueued.send(sender=type(self), task_result=result)

    # Arguments, which records do not hold

    def _store_call(self, result: AnyTaskResult) -> None:
        backend = self.app.runtime.backend
        seconds = self.app.settings.result_retention_seconds
        if not (self.options.get("STORE_ARGUMENTS", True) and backend.capabilities.stores):
            return
        value = StoredCall.of(result).dump()
        write = ValueWrite(key=_CALL_PREFIX + result.id, value=value, expires_in_seconds=_expiry(result, seconds))
        self._retrier().call("store the arguments", lambda: backend.write_values([write]))

    def _stored_call(self, result_id: str) -> StoredCall:
        read, keys = self.app.runtime.backend.read_values, [_CALL_PREFIX + result_id]
        (stored,) = self._retrier().call("read the arguments", lambda: read(keys))
        return StoredCall() if stored is None else StoredCall.load(stored.value)

    def _retrier(self) -> Retrier:
        return Retrier(self.app.runtime.clock, limit_seconds=self.app.settings.send_seconds)


def _expiry(result: AnyTaskResult, retention_seconds: float | None) -> float | None:
    """How long the arguments of a call are kept, in seconds: at least until its result is gone, if it runs at once."""
    if retention_seconds is None:
        return None
    due = _aware(result.task.run_after)
    delay = 0.0 if due is None else max(0.0, (due - timezone.now()).total_seconds())
    return delay + 2 * retention_seconds + 86400.0


def _outcome(handle: Result[Any], record: TaskRecord) -> tuple[Any, Failure | None]:
    if record.state is State.SUCCESS:
        return handle.get(timeout=10), None
    if record.state.terminal:
        try:
            handle.get(timeout=10)
        except TaskFailed as error:
            return None, error.failure
    return None, None


def _aware(at: datetime | None) -> datetime | None:
    return at if at is None or timezone.is_aware(at) else timezone.make_aware(at)


# Running


def _pool(function: Callable[..., Any]) -> Any:
    return "loop" if inspect.iscoroutinefunction(function) else "threads"


def _runner(sender: type[DrivetrainBackend], function: Callable[..., Any], alias: str, path: str) -> Callable[..., Any]:
    """The function that a worker runs for a task of Django: it takes JSON, sends the signals, and gives the context."""

    def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[AnyTaskResult, tuple[Any, ...]]:
        task = import_string(path)
        result = _running_result(task, args, kwargs, alias)
        task_started.send(sender=sender, task_result=result)
        return result, (TaskContext(task_result=result), *args) if task.takes_context else args

    def end(result: AnyTaskResult, value: Any, error: BaseException | None) -> None:
        _finish(result, value, error)
        task_finished.send(sender=sender, task_result=result)

    if inspect.iscoroutinefunction(function):

        async def run_async(*args: Any, **kwargs: Any) -> Any:
            from asgiref.sync import sync_to_async

            # Receivers of signals may use the database, which Django allows in a thread only.
            result, given = await sync_to_async(begin)(args, kwargs)
            try:
                value = await function(*given, **kwargs)
            except BaseException as error:
                await sync_to_async(end)(result, None, error)
                raise
            await sync_to_async(end)(result, value, None)
            return value

        return _named(run_async, function)

    def run(*args: Any, **kwargs: Any) -> Any:
        result, given = begin(args, kwargs)
        try:
            value = function(*given, **kwargs)
        except BaseException as error:
            end(result, None, error)
            raise
        end(result, value, None)
        return value

    return _named(run, function)


def _named(runner: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """The runner with the name of the function, and without its annotations: Django's arguments are JSON."""
    for name in ("__module__", "__qualname__", "__name__", "__doc__"):
        setattr(runner, name, getattr(function, name))
    return runner


def _running_result(task: AnyTask, args: Sequence[Any], kwargs: dict[str, Any], alias: str) -> AnyTaskResult:
    now, me = timezone.now(), current_task()
    return TaskResult(
        task=task,
        id=me.task_id,
        status=TaskResultStatus.RUNNING,
        enqueued_at=None,
        started_at=now,
        last_attempted_at=now,
        finished_at=None,
        args=[*args],
        kwargs=kwargs,
        backend=alias,
        errors=[],
        worker_ids=[*([""] * me.attempt), me.worker],
    )


def _finish(result: AnyTaskResult, value: Any, error: BaseException | None) -> None:
    status = TaskResultStatus.SUCCESSFUL if error is None else TaskResultStatus.FAILED
    object.__setattr__(result, "status", status)
    object.__setattr__(result, "finished_at", timezone.now())
    if error is None:
        object.__setattr__(result, "_return_value", value)
    else:
        import traceback

        kind = f"{type(error).__module__}.{type(error).__qualname__}"
        text = "".join(traceback.format_exception(error))
        result.errors.append(task_error(Failure(type=kind, message=str(error), traceback=text, task="", task_id="")))
