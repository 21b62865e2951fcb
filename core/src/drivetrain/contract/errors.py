"""Every error of drivetrain, in one tree.

    DrivetrainError
    ├── ConfigurationError          a setting or a URL is wrong; nothing was done
    │   ├── DriverNotFound          no installed distribution serves this scheme or name
    │   ├── DriverBroken            the distribution that serves it cannot be imported
    │   ├── AmbiguousDriver         two distributions claim it
    │   └── NotSupported            the configured driver lacks a capability that this call needs
    ├── InvalidSignature            a signature or a workflow cannot be sent as written
    │   └── InvalidArguments        arguments do not fit the task
    ├── SerializationError          a value or a message cannot be encoded or decoded
    │   └── UnknownContentType      no accepted serializer reads this content type
    ├── UnknownTask                 no task of this name is registered
    ├── ServiceError                a driver's service did not do what it was asked
    │   ├── ServiceUnavailable      not reached, or lost on the way: try again later
    │   ├── AuthenticationFailed    reached, and refused who we are
    │   ├── ServiceRefused          reached, and refused what we asked (full, read-only, not permitted)
    │   ├── TooLarge                a message or a value is beyond what the service takes
    │   └── PublishFailed           some messages of a batch were not published; it says which
    ├── WorkerFailed                a worker has stopped, because a thread of it has failed
    └── ResultError                 a task has no result to give
        ├── UnknownResult           nothing is known of this id (never sent, expired or forgotten)
        │   └── ResultLost          what it needs was dropped by a backend that may do so; it will never end
        ├── ResultTimeout           not finished within the time that was given
        └── TaskFailed              it ended without success; carries the task's error
            ├── TaskCancelled
            └── TaskExpired

Drivers raise `ServiceError` and its children only, each chained (``raise … from error``) to the client's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drivetrain.contract.failure import Failure

__all__ = [
    "AmbiguousDriver",
    "AuthenticationFailed",
    "ConfigurationError",
    "DriverBroken",
    "DriverNotFound",
    "DrivetrainError",
    "InvalidArguments",
    "InvalidSignature",
    "NotSupported",
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
    "UnknownResult",
    "UnknownTask",
    "WorkerFailed",
]


class DrivetrainError(Exception):
    """The base of all; never raised itself. Errors cross processes whole: they can be pickled."""

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
        faults: one sentence for each thing that is wrong; all are found before this is raised.
    """

    def __init__(self, message: str, faults: Sequence[str] = ()) -> None:
        self.faults = tuple(faults)
        super().__init__("\n  - ".join((message, *self.faults)))


class DriverNotFound(ConfigurationError):
    """No installed distribution serves this scheme or name; the message says which package does."""


class DriverBroken(ConfigurationError):
    """The distribution that serves this scheme or name could not be imported, or makes no such driver."""


class AmbiguousDriver(ConfigurationError):
    """Two installed distributions claim the same scheme or name; the message says how to choose."""


class NotSupported(ConfigurationError):
    """The configured driver lacks a capability that this call needs, and core cannot supply it."""


class InvalidSignature(DrivetrainError):
    """A signature or a workflow cannot be sent as it is written."""


class InvalidArguments(InvalidSignature, TypeError):
    """Arguments do not fit the task: the message names task, parameter, expected type and value."""


class SerializationError(DrivetrainError):
    """A value cannot be encoded, or bytes cannot be decoded."""


class UnknownContentType(SerializationError):
    """No serializer that this app accepts reads this content type."""


class UnknownTask(DrivetrainError):
    """No task of this name is registered with the app.

    Attributes:
        name: the name that was asked for.
    """

    def __init__(self, name: str, known: Sequence[str] = ()) -> None:
        self.name = name
        listed = ", ".join(sorted(known)[:10]) or "none"
        super().__init__(
            f"no task named {name!r} is registered (registered: {listed}); import the module that defines it"
        )


class WorkerFailed(DrivetrainError):
    """A worker has stopped, because one of its threads has failed: it gave back what it had. Start another worker."""


class ServiceError(DrivetrainError):
    """A driver's service did not do what it was asked."""


class ServiceUnavailable(ServiceError):
    """The service could not be reached, or was lost before it answered.

    What was asked may or may not have been done. Every call of the contract may be made again after this.
    """


class AuthenticationFailed(ServiceError):
    """The service was reached and refused the credentials. Trying again as we are will not help."""


class ServiceRefused(ServiceError):
    """The service was reached and refused the request: full, read-only, or not permitted."""


class TooLarge(ServiceError):
    """A message or a value is larger than the service takes.

    Attributes:
        size: its size, in bytes.
        limit: the largest that is taken, in bytes.
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
    """A task has no result to give.

    Attributes:
        task_id: the task that was asked for.
    """

    def __init__(self, task_id: str, message: str) -> None:
        self.task_id = task_id
        super().__init__(message)


class UnknownResult(ResultError):
    """Nothing is known of this task id: it was never sent, its result has expired, or it was forgotten."""

    def __init__(self, task_id: str, message: str | None = None) -> None:
        super().__init__(
            task_id,
            message
            or f"nothing is known of task {task_id}: it was never sent to this backend, "
            "its result has expired, or it was forgotten",
        )


class ResultLost(UnknownResult):
    """What the result needs is gone: the backend keeps things as a cache does, and has dropped it to make room."""


class ResultTimeout(ResultError, TimeoutError):
    """The task was not finished within the time that was given. It goes on; ask again."""


class TaskFailed(ResultError):
    """The task ended without success.

    Attributes:
        failure: what went wrong, as the worker recorded it: type, message, remote traceback, task and attempt.
    """

    def __init__(self, task_id: str, failure: Failure) -> None:
        self.failure = failure
        super().__init__(task_id, failure.describe(task_id))


class TaskCancelled(TaskFailed):
    """The task, or one that it waited for, was cancelled."""


class TaskExpired(TaskFailed):
    """The task, or one that it waited for, was not started before it expired."""
