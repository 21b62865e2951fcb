"""The hook specs of drivetrain: makers make drivers, observers follow tasks and workers, and two hooks act on tasks.

A driver is a module (or an object) with one maker. An entry point names it. A maker is only called for the scheme or
name of its entry point, so it need not check whether the URL is its own.

A plugin is named by an entry point of ``drivetrain.plugins`` or passed to ``App(plugins=[…])``. It implements any of
the other hooks, or ``make_plugin``, which makes the object that does. An observer should return at once and must not
raise: its errors are logged and otherwise ignored. The error of a hook that acts is the error of the task. All
arguments are read-only: to set a header raises a TypeError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import pluggy
from attrs import field, frozen
from msgspec import Struct

from drivetrain.contract.clock import Clock, SystemClock
from drivetrain.contract.namespaces import DEFAULT_NAMESPACE
from drivetrain.contract.states import State

if TYPE_CHECKING:
    from drivetrain.contract.backend import Backend
    from drivetrain.contract.broker import Broker
    from drivetrain.contract.failure import Failure
    from drivetrain.contract.messages import Message
    from drivetrain.contract.retry import RetryPolicy
    from drivetrain.contract.serializer import Plain, Serializer
    from drivetrain.contract.timetables import Timetable

__all__ = [
    "PROJECT",
    "ActingHooks",
    "DriverContext",
    "DriverHooks",
    "Interruption",
    "LimitWait",
    "ObserverHooks",
    "PluginContext",
    "PluginHooks",
    "Settlement",
    "SupervisorPart",
    "TaskEvent",
    "hookimpl",
]

#: The name of the pluggy project.
PROJECT = "drivetrain"

hookspec = pluggy.HookspecMarker(PROJECT)
#: Marks an implementation of a hook.
hookimpl = pluggy.HookimplMarker(PROJECT)


def _current_directory() -> Path:
    try:
        return Path.cwd()
    except OSError:  # the directory was removed: no relative path leads anywhere
        return Path()


def _read_only(options: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(options))


@frozen(kw_only=True)
class DriverContext:
    """What an app passes to the maker of a driver.

    Attributes:
        clock: the clock of the app. A driver reads the time from it alone.
        namespace: the app's name, any text. It separates this app's data from that of other apps in one service, unless
            the URL has the option ``namespace``. `service_name` makes a name for the service from it.
        directory: where relative paths in a URL begin: the current directory when the app was made. Each process makes
            its drivers later, and may have changed its directory.
        options: the app's ``driver_options`` for this driver: objects that no URL can hold, by name. Read-only. A
            driver refuses an unknown name with a ConfigurationError and shows no value: it may be a secret.
    """

    clock: Clock = field(factory=SystemClock)
    namespace: str = DEFAULT_NAMESPACE
    directory: Path = field(factory=_current_directory)
    options: Mapping[str, Any] = field(factory=dict, converter=_read_only, repr=False, hash=False)


@frozen(kw_only=True)
class PluginContext:
    """What an app passes to the maker of a plugin.

    Attributes:
        app: the name of the app.
        broker: the URL of the broker, without user, password and the values of its options.
        backend: the URL of the backend, in the same way.
        clock: the clock of the app.
        options: the app's ``plugin_options`` for this plugin, by name. Read-only. A plugin refuses an unknown name with
            a ConfigurationError.
    """

    app: str
    broker: str
    backend: str
    clock: Clock = field(factory=SystemClock)
    options: Mapping[str, Any] = field(factory=dict, converter=_read_only, repr=False, hash=False)


class SupervisorPart(Protocol):
    """The part of a plugin that runs in the supervisor of a worker, which does not import the app.

    It is pickled. So its class is in the package of the plugin, and it holds plain values only.
    """

    def start(self, reports: Callable[[], Sequence[tuple[int, bytes]]]) -> Callable[[], None]:
        """Start in the supervisor, without blocking. An error is logged, and the worker works without the part.

        Args:
            reports: asks all worker processes for their ``worker_report``, for one second at most. For each process
                that answers: its number, from 1, and the report. A process that replaces a crashed one has its number.
                Thread-safe.

        Returns:
            A function that stops it. The supervisor calls it when all worker processes have ended.
        """
        ...


class Interruption(StrEnum):
    """Why a run ends without a result of its own.

    Attributes:
        CANCELLED: the task was cancelled while it ran.
        LEASE_LOST: another worker has taken the task over or ended it, or its record is gone.
        RELEASED: the worker stopped, and the run had not ended within the grace period.
        CRASHED: the child process of the run has died.
    """

    CANCELLED = "cancelled"
    LEASE_LOST = "lease_lost"
    RELEASED = "released"
    CRASHED = "crashed"


class Settlement(StrEnum):
    """How a worker settles a delivery.

    Attributes:
        ACKNOWLEDGE: the message is removed.
        RELEASE: the message is ready again, now or after a delay.
        DEAD_LETTER: the message is moved to the dead letters.
    """

    ACKNOWLEDGE = "acknowledge"
    RELEASE = "release"
    DEAD_LETTER = "dead_letter"


class LimitWait(Struct, frozen=True):
    """A wait of an attempt for a limit of its task.

    Attributes:
        limit: the name of the limit, as in the code; never its key, of which there may be any number.
        seconds: how long the attempt waited for it.
    """

    limit: str
    seconds: float


class TaskEvent(Struct, frozen=True, kw_only=True):
    """The task of a hook.

    All times are Unix seconds. Each is by the clock of the process that did it.

    Attributes:
        task_id: the id of the task.
        task: the name of the task.
        attempt: the attempt, 0 or more; the first is 0.
        queue: the queue of its message.
        headers: the headers with which it was sent. Read-only.
        worker: the name of the worker; empty in a sender.
        workflow: the same text for all tasks of a workflow: the id of its first task or group. Empty for a task that is
            a workflow by itself.
        published_at: when the message of this attempt was published; None: not yet, or the publisher has no plugin.
        due_at: the time before which this attempt must not start; None: at once.
        received_at: when this worker received the message; None: no worker has.
        started_at: when this worker started the attempt; None: it has not.
        ended_at: when the function returned or raised; None: it has not, or it was not run.
        limit_waits: the limits for which this attempt has waited before its start, in order.
        state: what became of the attempt: a terminal state or RETRY; None: it has not ended.
    """

    task_id: str
    task: str
    attempt: int
    queue: str
    headers: Mapping[str, str]
    worker: str = ""
    workflow: str = ""
    published_at: float | None = None
    due_at: float | None = None
    received_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    limit_waits: Sequence[LimitWait] = ()
    state: State | None = None


class DriverHooks:
    """Makers of drivers. The first result wins."""

    @hookspec(firstresult=True)
    def make_broker(self, url: str, context: DriverContext) -> Broker | None:
        """Make the broker of this URL. Does no I/O.

        Raises:
            ConfigurationError: the URL is wrong; the error names every fault and shows no secret.
        """

    @hookspec(firstresult=True)
    def make_backend(self, url: str, context: DriverContext) -> Backend | None:
        """Make the backend of this URL. Does no I/O.

        Raises:
            ConfigurationError: the URL is wrong; the error names every fault and shows no secret.
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

    @hookspec(firstresult=True)
    def make_timetable(self, kind: str, parameters: Mapping[str, Plain]) -> Timetable | None:
        """Make the timetable of a schedule that has this kind and these parameters.

        Raises:
            ConfigurationError: a parameter is unknown, missing or wrong.
        """


class PluginHooks:
    """The maker of a plugin, and its part in the supervisor of a worker."""

    @hookspec(firstresult=True)
    def make_plugin(self, context: PluginContext) -> object | None:
        """Make the plugin of one app: an object with any of the other hooks. Does no I/O.

        Called when the app is made, and again for `App.using`. A plugin without this hook is used as it is, by all
        apps of the process that name it.

        Raises:
            ConfigurationError: an option is unknown or wrong; the error names every fault.
        """

    @hookspec(firstresult=True)
    def supervisor_part(self) -> SupervisorPart | None:
        """The part of this plugin that runs in the supervisor. None: no part.

        Called once in each worker process of ``drivetrain worker``, before ``worker_started``. The supervisor starts
        the part of the first worker process. Not called where a worker runs without a supervisor.
        """

    @hookspec(firstresult=True)
    def worker_report(self) -> bytes | None:
        """What this worker process reports to the supervisor part of the same plugin. Called in a thread of its own."""


class ActingHooks:
    """Hooks that act on tasks. All implementations are called, in the order in which the app names the plugins.

    An error in them is the error of the task or of the sender: a `PluginFailed`, which names the plugin.
    """

    @hookspec
    def publish_headers(self, event: TaskEvent) -> Mapping[str, str] | None:
        """Headers to add to a task that is about to be sent; they replace headers of the same names. None: none.

        Called in the thread and context of the sender, once for each task of a workflow, callbacks included. A task
        keeps its headers: each of its messages has them, those of retries too. An error refuses the workflow.

        ``event``: its `headers` are those that the sender and earlier plugins have given.
        """

    @hookspec
    def around_run(self, event: TaskEvent) -> AbstractContextManager[object] | None:
        """A context manager in which the function of a task runs. None: none for this task.

        It is entered and left in the thread, the coroutine or the child process of the function, in the same context:
        what it sets in context variables is seen by the function, and by no other task. It sees the function's error,
        and cannot suppress it. The time limit of the task does not count for it.

        For a batch it is called for each row, and the context managers are entered one inside the other.
        """


class ObserverHooks:
    """Events in the life of a task and of a worker. All implementations are called."""

    @hookspec
    def before_publish(self, messages: Sequence[Message]) -> None:
        """A sender or a worker is about to publish messages."""

    @hookspec
    def after_publish(self, messages: Sequence[Message], queues: Mapping[str, int], seconds: float) -> None:
        """The broker has the messages.

        ``queues``: how many of them each queue has. To count them so costs less than to read the messages.
        ``seconds``: how long publishing took, retries while the service was unavailable included.
        """

    @hookspec
    def publish_failed(
        self, messages: Sequence[Message], queues: Mapping[str, int], error: BaseException, seconds: float
    ) -> None:
        """Messages of ``before_publish`` were not published, or not for sure; in place of ``after_publish``.

        ``error`` is a `PublishFailed` where the broker has some of them; it lists the others.
        """

    @hookspec
    def messages_received(self, messages: Sequence[Message], queues: Mapping[str, int], seconds: float) -> None:
        """A worker has received messages: one call for each batch, before they are read.

        ``queues``: how many of them each queue has.
        ``seconds``: how long receiving took, waiting included.
        """

    @hookspec
    def task_received(self, event: TaskEvent) -> None:
        """A worker has received a readable message of a task."""

    @hookspec
    def task_started(self, event: TaskEvent) -> None:
        """A worker has recorded the start of an attempt and is about to run it."""

    @hookspec
    def limited_tasks_started(self, events: Sequence[TaskEvent]) -> None:
        """A worker has recorded the starts of attempts that have waited for limits: one call for each batch.

        `TaskEvent.limit_waits` says for which limits, and how long.
        """

    @hookspec
    def task_raised(self, event: TaskEvent, error: BaseException, retrying: bool) -> None:
        """An attempt has raised. Called in the thread or child process that ran it, for error reports.

        ``retrying``: whether another attempt follows. Do not store ``error``: it keeps the frames of the task alive.
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
    def tasks_ended(self, events: Sequence[TaskEvent]) -> None:
        """The ends of attempts are recorded: one call for each batch, for metrics.

        It has the tasks of ``task_succeeded``, ``task_failed``, ``task_retrying``, ``task_cancelled`` and
        ``task_expired``. `TaskEvent.state` says which.
        """

    @hookspec
    def run_interrupted(self, event: TaskEvent, reason: Interruption) -> None:
        """A run ends without a result of its own. In a thread, its function may go on; its result does not count.

        Called in the worker, also for a run in a child process. Such a process is dead, or is being killed.
        """

    @hookspec
    def result_discarded(self, event: TaskEvent, recorded: State) -> None:
        """A worker has discarded the result of a run, because the run no longer owned its task: it was fenced.

        ``recorded``: the state of the task in the backend.
        """

    @hookspec
    def messages_settled(
        self, messages: Sequence[Message], queues: Mapping[str, int], settlement: Settlement, seconds: float
    ) -> None:
        """A worker has settled deliveries of these messages: one call for each batch.

        ``queues``: how many of them each queue has.
        ``seconds``: how long that took, retries while the service was unavailable included.
        """

    @hookspec
    def worker_started(self, worker: str, queues: Sequence[str], status: Callable[[], Any]) -> None:
        """A worker is about to receive its first message.

        ``status``: returns what the worker does now, as `drivetrain.worker.status.WorkerStatus`. It costs no call of a
        service. Thread-safe; it may be called until ``worker_stopped``.
        """

    @hookspec
    def worker_stopping(self, worker: str) -> None:
        """A worker receives no more messages, and finishes what runs."""

    @hookspec
    def worker_stopped(self, worker: str) -> None:
        """A worker has ended: it runs and settles nothing more."""

    @hookspec
    def worker_step(self, step: str, task_ids: Sequence[str]) -> None:
        """A worker has done one step of handling the deliveries of these tasks.

        ``step`` is ``received``, ``started``, ``ran``, ``recorded``, ``followed_up`` or ``acknowledged``.
        """
