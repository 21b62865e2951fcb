"""All errors of drivetrain, in one tree.

    DrivetrainError
    ├── ConfigurationError          a setting or a URL is wrong; nothing was done
    │   ├── DriverNotFound          no installed distribution serves this scheme or name
    │   ├── DriverBroken            the distribution that serves it cannot be imported
    │   ├── AmbiguousDriver         two distributions claim this scheme or name
    │   └── NotSupported            the configured driver lacks a capability that this call needs
    ├── InvalidSignature            a signature or a workflow cannot be sent as written
    │   └── InvalidArguments        arguments do not fit the task
    ├── SerializationError          a value or a message cannot be encoded or decoded
    │   └── UnknownContentType      no accepted serializer reads this content type
    ├── AlreadySent                 another task holds the key of this unique task
    ├── UnknownMethod               a task, signature or result has no such method; names the one to use
    ├── UnknownTask                 no task of this name is registered
    ├── ServiceError                a driver's service did not do what it was asked
    │   ├── ServiceUnavailable      the service was not reached, or lost before its answer: try again later
    │   ├── AuthenticationFailed    the service refused the credentials
    │   ├── ServiceRefused          the service refused the request (full, read-only, not permitted)
    │   ├── TooLarge                a message or a value is larger than the service takes
    │   └── PublishFailed           some messages of a batch were not published; it names them
    ├── WorkerFailed                a worker has stopped, because one of its threads has failed
    ├── PluginFailed                a plugin has failed in a hook that acts
    └── ResultError                 a task has no result
        ├── UnknownResult           the id is unknown (never sent, expired or forgotten)
        │   └── ResultLost          a backend that works as a cache has dropped what the result needs
        ├── ResultTimeout           the task has not ended within the time-out
        └── TaskFailed              the task has ended without success; carries the task's error
            ├── TaskCancelled
            └── TaskExpired

Drivers raise `ServiceError` and its children only, each chained (``raise … from error``) to the client's own error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drivetrain.contract.failure import Failure

__all__ = [
    "AlreadySent",
    "AmbiguousDriver",
    "AuthenticationFailed",
    "ConfigurationError",
    "DriverBroken",
    "DriverNotFound",
    "DrivetrainError",
    "InvalidArguments",
    "InvalidSignature",
    "NotSupported",
    "PluginFailed",
    "PublishFailed",
    "ResultError",
    "ResultLost",
    "ResultTimeout",
    "SerializationError",
    "ServiceError",
    "ServiceRefused",
    "ServiceUnavailable",
    "TaskCancelled",
    "TaskExpired",
    "TaskFailed",
    "TooLarge",
    "UnknownContentType",
    "UnknownMethod",
    "UnknownResult",
    "UnknownTask",
    "WorkerFailed",
]


class DrivetrainError(Exception):
    """The base class of all errors; never raised itself. Errors cross processes: they can be pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[DrivetrainError], args: tuple[Any, ...], attributes: dict[str, Any]) -> DrivetrainError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(attributes)
    return error


class ConfigurationError(DrivetrainError):
    """A setting or a URL is wrong.

    Attributes:
        faults: a sentence for each fault; all faults are found before the error is raised.
    """

    def __init__(self, message: str, faults: Sequence[str] = ()) -> None:
        self.faults = tuple(faults)
        super().__init__("\n  - ".join((message, *self.faults)))


class DriverNotFound(ConfigurationError):
    """No installed distribution serves this scheme or name. The message names the package that does."""


class DriverBroken(ConfigurationError):
    """The distribution that serves this scheme or name cannot be imported, or makes no such driver."""


class AmbiguousDriver(ConfigurationError):
    """Two installed distributions claim the same scheme or name. The message says how to choose."""


class NotSupported(ConfigurationError):
    """The configured driver lacks a capability that this call needs, and core cannot supply it."""


class InvalidSignature(DrivetrainError):
    """A signature or a workflow cannot be sent as written."""


class InvalidArguments(InvalidSignature, TypeError):
    """Arguments do not fit the task. The message names task, parameter, expected type and value."""


class SerializationError(DrivetrainError):
    """A value cannot be encoded, or bytes cannot be decoded."""


class UnknownContentType(SerializationError):
    """No serializer that this app accepts reads this content type."""


class UnknownMethod(DrivetrainError, AttributeError):
    """A task, a signature or a result has no such method. Another task queue has it; the message names ours."""


class UnknownTask(DrivetrainError):
    """No task of this name is registered with the app.

    Attributes:
        name: the unknown name.
    """

    def __init__(self, name: str, known: Sequence[str] = ()) -> None:
        self.name = name
        listed = ", ".join(sorted(known)[:10]) or "none"
        advice = "import the module that defines it"
        if name.startswith("__main__."):
            advice = "it was defined in an interactive session or a notebook; define it in a module that workers import"
        super().__init__(f"no task named {name!r} is registered (registered: {listed}); {advice}")


class WorkerFailed(DrivetrainError):
    """A worker has stopped because one of its threads has failed. It has released its messages. Start another one."""


class PluginFailed(DrivetrainError):
    """A plugin has failed in ``publish_headers`` or ``around_run``. If it raised an error, that is the ``__cause__``.

    Attributes:
        plugin: the name of the plugin.
        hook: the name of the hook.
    """

    def __init__(self, plugin: str, hook: str, problem: str) -> None:
        self.plugin = plugin
        self.hook = hook
        super().__init__(f"{plugin} failed in its hook {hook}: {problem}")


class ServiceError(DrivetrainError):
    """A driver's service did not do what it was asked."""


class ServiceUnavailable(ServiceError):
    """The service could not be reached, or was lost before its answer.

    The request may or may not have taken effect. Every call of the contract may be repeated.
    """


class AuthenticationFailed(ServiceError):
    """The service refused the credentials. To repeat the call does not help."""


class ServiceRefused(ServiceError):
    """The service refused the request: it is full, read-only, or does not permit it."""


class TooLarge(ServiceError):
    """A message or a value is larger than the service takes.

    Attributes:
        size: its size, in bytes.
        limit: the largest size that the service takes, in bytes.
    """

    def __init__(self, what: str, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(f"{what} has {size} bytes, and the service takes at most {limit}")


class PublishFailed(ServiceError):
    """Some messages of a batch were not published; all others were.

    Attributes:
        failures: the error of each message that was not published, by its id.
    """

    def __init__(self, failures: Mapping[str, Exception]) -> None:
        self.failures = dict(failures)
        some = "; ".join(f"{message_id}: {error}" for message_id, error in list(self.failures.items())[:3])
        super().__init__(f"{len(self.failures)} message(s) of the batch were not published: {some}")


class ResultError(DrivetrainError):
    """A task has no result.

    Attributes:
        task_id: the id of the task.
    """

    def __init__(self, task_id: str, message: str) -> None:
        self.task_id = task_id
        super().__init__(message)


class AlreadySent(DrivetrainError):
    """A unique task was not sent, because another one holds its key.

    Attributes:
        task_id: the id of the task that holds the key.
        key: the key.
    """

    def __init__(self, task_id: str, task: str, key: str) -> None:
        self.task_id = task_id
        self.key = key
        super().__init__(
            f"task {task} was not sent: task {task_id} holds its unique key {key!r}; "
            "wait for that one with app.result(…), or use on_conflict='return'",
        )


class UnknownResult(ResultError):
    """The task id is unknown: the task was never sent, its result has expired, or it was forgotten."""

    def __init__(self, task_id: str, message: str | None = None) -> None:
        super().__init__(
            task_id,
            message
            or f"nothing is known of task {task_id}: it was never sent to this backend, "
            "its result has expired, or it was forgotten",
        )


class ResultLost(UnknownResult):
    """The backend works as a cache, and has dropped what the result needs to make room."""


class ResultTimeout(ResultError, TimeoutError):
    """The task has not ended within the time-out. It continues; ask again."""


class TaskFailed(ResultError):
    """The task ended without success.

    Attributes:
        failure: the error as the worker recorded it: type, message, remote traceback, task and attempt.
    """

    def __init__(self, task_id: str, failure: Failure) -> None:
        self.failure = failure
        super().__init__(task_id, failure.describe(task_id))


class TaskCancelled(TaskFailed):
    """The task was cancelled, or one that it waited for."""


class TaskExpired(TaskFailed):
    """The task was not started before it expired, or one that it waited for."""
