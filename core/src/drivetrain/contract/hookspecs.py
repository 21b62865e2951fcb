"""The hook specs of drivetrain. Makers find drivers; observers watch the life of a task and of a worker.

A driver is a module (or object) with one maker, named by an entry point; a maker is only asked for what its entry
point names, so it need not look whether the URL is its own. An observer is named by an entry point of
``drivetrain.plugins`` or handed to ``App(plugins=[…])``, and implements the hooks that it cares for. Observers must not
raise and should return at once: what they raise is logged and otherwise ignored. They change nothing: what they get is
read-only, so that setting a header raises a TypeError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pluggy
from attrs import field, frozen

from drivetrain.contract.clock import Clock, SystemClock
from drivetrain.contract.namespaces import DEFAULT_NAMESPACE

if TYPE_CHECKING:
    from drivetrain.contract.backend import Backend
    from drivetrain.contract.broker import Broker
    from drivetrain.contract.failure import Failure
    from drivetrain.contract.messages import Message
    from drivetrain.contract.retry import RetryPolicy
    from drivetrain.contract.serializer import Plain, Serializer

__all__ = ["PROJECT", "DriverContext", "DriverHooks", "ObserverHooks", "TaskEvent", "hookimpl"]

#: The name of the pluggy project.
PROJECT = "drivetrain"

hookspec = pluggy.HookspecMarker(PROJECT)
#: Marks an implementation of a hook.
hookimpl = pluggy.HookimplMarker(PROJECT)


def _current_directory() -> Path:
    try:
        return Path.cwd()
    except OSError:  # it was removed: nothing can be found by a relative path
        return Path()


def _read_only(options: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(options))


@frozen(kw_only=True)
class DriverContext:
    """What an app hands to the maker of a driver."""

    clock: Clock = field(factory=SystemClock)
    #: The app's name: the namespace of all that the driver keeps in its service, where the URL names none as its option
    #: ``namespace``. Any text; `service_name` gives its name in the service.
    namespace: str = DEFAULT_NAMESPACE
    #: Where relative paths in a URL begin: the current directory when the app was made. Drivers are made later, in each
    #: process, which may have changed its directory.
    directory: Path = field(factory=_current_directory)
    #: What the app passes to this driver as ``driver_options``: objects that no URL can hold, by name. Read-only. A
    #: driver refuses a name that it does not know with a ConfigurationError, and shows no value: it may be a secret.
    options: Mapping[str, Any] = field(factory=dict, converter=_read_only, repr=False, hash=False)


@frozen(kw_only=True)
class TaskEvent:
    """Which task an observer's hook is about."""

    task_id: str
    #: The name of the task.
    task: str
    attempt: int
    queue: str
    #: The headers of its message. Read-only.
    headers: Mapping[str, str]
    #: The name of the worker; empty on the sender's side.
    worker: str = ""


class DriverHooks:
    """Makers of drivers. The first result wins."""

    @hookspec(firstresult=True)
    def make_broker(self, url: str, context: DriverContext) -> Broker | None:
        """Make the broker of this URL. Does no I/O.

        Raises:
            ConfigurationError: the URL is wrong; every fault is named at once, secrets are not.
        """

    @hookspec(firstresult=True)
    def make_backend(self, url: str, context: DriverContext) -> Backend | None:
        """Make the backend of this URL. Does no I/O.

        Raises:
            ConfigurationError: the URL is wrong; every fault is named at once, secrets are not.
        """

    @hookspec(firstresult=True)
    def make_serializer(self, name: str) -> Serializer | None:
        """Make the serializer of this name."""

    @hookspec(firstresult=True)
    def make_retry_policy(self, name: str, parameters: Mapping[str, Plain]) -> RetryPolicy | None:
        """Make the retry policy of this name.

        Raises:
            InvalidSignature: a parameter is unknown, missing or wrong.
        """


class ObserverHooks:
    """The life of a task and of a worker. All implementations are called."""

    @hookspec
    def before_publish(self, messages: Sequence[Message]) -> None:
        """Messages are about to be handed to the broker, by a sender or by a worker."""

    @hookspec
    def after_publish(self, messages: Sequence[Message]) -> None:
        """The broker has the messages."""

    @hookspec
    def task_received(self, event: TaskEvent) -> None:
        """A worker has received a readable message of a task."""

    @hookspec
    def task_started(self, event: TaskEvent) -> None:
        """A worker has recorded the start of an attempt and is about to run it."""

    @hookspec
    def task_raised(self, event: TaskEvent, error: BaseException, retrying: bool) -> None:
        """An attempt has ended with an exception; called in the thread or child process that ran it, for error reports.

        ``retrying``: whether another attempt follows. Do not keep ``error``: it keeps the frames of the task alive.
        """

    @hookspec
    def task_retrying(self, event: TaskEvent, failure: Failure, delay_seconds: float) -> None:
        """An attempt has failed, its retry is recorded and about to be published."""

    @hookspec
    def task_succeeded(self, event: TaskEvent, run_seconds: float) -> None:
        """The success of a task is recorded."""

    @hookspec
    def task_failed(self, event: TaskEvent, failure: Failure) -> None:
        """The final failure of a task is recorded."""

    @hookspec
    def task_cancelled(self, event: TaskEvent) -> None:
        """A worker has found that the task was cancelled, and dropped it."""

    @hookspec
    def task_expired(self, event: TaskEvent) -> None:
        """A worker has found that the task had expired, recorded that, and dropped it."""

    @hookspec
    def worker_started(self, worker: str, queues: Sequence[str]) -> None:
        """A worker is about to receive its first message."""

    @hookspec
    def worker_stopping(self, worker: str) -> None:
        """A worker takes nothing new from now on, and finishes what runs."""

    @hookspec
    def worker_step(self, step: str, task_ids: Sequence[str]) -> None:
        """A worker has done a step of handling deliveries, for these tasks, and is about to do the next.

        ``step`` is ``received``, ``started``, ``ran``, ``recorded``, ``followed_up`` or ``acknowledged``.
        """
