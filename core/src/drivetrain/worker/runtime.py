"""The runtime: drivers and settings that the senders and workers of an app share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from attrs import field, frozen

from drivetrain.contract import Backend, Broker, Clock, Plain, RetryPolicy, TaskEvent
from drivetrain.worker.payloads import Payloads
from drivetrain.worker.registry import Registry
from drivetrain.worker.threads import LateThreads

__all__ = ["Acting", "Observed", "Runtime"]


class Observed(Protocol):
    """The observers of an app."""

    def watches(self, hook: str) -> bool:
        """Whether any observer implements this hook."""
        ...

    def notify(self, hook: str, **arguments: Any) -> None:
        """Call all implementations of this hook; their errors are logged."""
        ...


class Acting(Protocol):
    """The plugins of an app that act on tasks."""

    @property
    def adds_headers(self) -> bool:
        """Whether any plugin adds headers."""
        ...

    @property
    def surrounds_runs(self) -> bool:
        """Whether any plugin has context managers for runs."""
        ...

    def headers(self, event: TaskEvent) -> Mapping[str, str]:
        """The headers of a task with those that the plugins add; may raise PluginFailed."""
        ...

    def around(self, event: TaskEvent) -> AbstractContextManager[None]:
        """The context managers of all plugins around a run; may raise PluginFailed."""
        ...


@frozen(kw_only=True)
class Runtime:
    """The drivers and settings that senders and workers of one app share. Thread-safe."""

    broker: Broker
    backend: Backend
    payloads: Payloads
    registry: Registry
    observers: Observed
    acting: Acting
    #: Whether the app has any plugin. Only then messages carry what plugins want to know and nobody else.
    has_plugins: bool
    clock: Clock
    retry_policy: Callable[[str, Mapping[str, Plain]], RetryPolicy]
    default_queue: str
    #: The working directory when the app was made: child processes start there, so that relative paths stay valid.
    directory: Path
    #: How long results are kept, in seconds; None: without limit.
    retention_seconds: float | None
    #: How long a finished task's record is kept at least, while its message might be delivered again, in seconds.
    redelivery_window_seconds: float
    #: Whether the messages of tasks that end without success are kept for a retry.
    keeps_failed: bool = True
    #: The threads that use the drivers after their worker has stopped.
    late_threads: LateThreads = field(factory=LateThreads, eq=False, repr=False)

    def record_retention_seconds(self, retention: float | None) -> float | None:
        """How long a terminal record is kept before its message is known to be gone; None: without limit."""
        result_seconds = self.result_retention_seconds(retention)
        return None if result_seconds is None else max(result_seconds, self.redelivery_window_seconds)

    def result_retention_seconds(self, retention: float | None) -> float | None:
        """How long a result is kept; None: without limit."""
        return self.retention_seconds if retention is None else retention
