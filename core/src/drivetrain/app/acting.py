"""Calls plugins that act: headers to send, and context managers around the runs of tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any

from drivetrain.app.observers import hook_callers
from drivetrain.contract import InvalidSignature, PluginFailed, TaskEvent, evolve
from drivetrain.worker.logs import get_logger
from drivetrain.workflow.options import Options

__all__ = ["ActingPlugins"]

logger = get_logger("drivetrain.plugins")


class ActingPlugins:
    """The plugins of an app that act on tasks, in the order in which the app names them. Thread-safe.

    Attributes:
        adds_headers: whether any plugin implements ``publish_headers``.
        surrounds_runs: whether any plugin implements ``around_run``.
    """

    def __init__(self, plugins: Mapping[str, object]) -> None:
        self._headers = hook_callers(plugins, "publish_headers")
        self._surroundings = hook_callers(plugins, "around_run")
        self.adds_headers = bool(self._headers)
        self.surrounds_runs = bool(self._surroundings)

    def headers(self, event: TaskEvent) -> Mapping[str, str]:
        """The headers of a task that is about to be sent, with those that the plugins add.

        Raises:
            PluginFailed: a plugin has raised an error, or has returned headers that cannot be sent.
        """
        for plugin, call in self._headers:
            for added in _call(plugin, "publish_headers", partial(call, event=event)):
                _check_headers(plugin, added)
                event = evolve(event, headers=MappingProxyType({**event.headers, **added}))
        return event.headers

    @contextmanager
    def around(self, event: TaskEvent) -> Iterator[None]:
        """The context managers of all plugins around a run, the first plugin's outermost.

        Raises:
            PluginFailed: a plugin has raised an error, or has returned something else than a context manager.
        """
        with ExitStack() as stack:
            for plugin, call in self._surroundings:
                for manager in _call(plugin, "around_run", partial(call, event=event)):
                    stack.enter_context(_Surrounding(plugin, manager))
            yield


class _Surrounding:
    """The context manager of a plugin; its errors are raised as `PluginFailed`. It suppresses no error."""

    def __init__(self, plugin: str, manager: Any) -> None:
        if not isinstance(manager, AbstractContextManager):
            raise PluginFailed(plugin, "around_run", f"it returned {manager!r}, which is not a context manager")
        self._plugin = plugin
        self._manager = manager

    def __enter__(self) -> None:
        _call(self._plugin, "around_run", self._manager.__enter__)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._manager.__exit__(kind, error, trace)
        except Exception as raised:
            if error is None:
                raise _failed(self._plugin, "around_run", raised) from raised
            if raised is not error:  # the task's own error says more, and decides whether it is retried
                logger.exception("%s raised an error at the end of its hook around_run; ignoring it", self._plugin)


def _call(plugin: str, hook: str, function: Callable[[], Any]) -> Any:
    try:
        return function()
    except Exception as error:
        raise _failed(plugin, hook, error) from error


def _failed(plugin: str, hook: str, error: Exception) -> PluginFailed:
    return PluginFailed(plugin, hook, f"{type(error).__name__}: {error}")


def _check_headers(plugin: str, added: Any) -> None:
    if not isinstance(added, Mapping):
        raise PluginFailed(plugin, "publish_headers", f"it returned {added!r}, which is not a mapping of headers")
    try:
        Options(headers=added)
    except InvalidSignature as error:
        raise _failed(plugin, "publish_headers", error) from error
