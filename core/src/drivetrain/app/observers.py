"""Calls observers. A hook without observers costs nothing, and an error of an observer harms no task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pluggy

from drivetrain.contract import DriverBroken
from drivetrain.contract import hookspecs as specs
from drivetrain.worker.logs import get_logger

__all__ = ["Observers", "plugin_manager"]

logger = get_logger("drivetrain.observers")

_HOOKS = tuple(name for name in vars(specs.ObserverHooks) if not name.startswith("_"))


def plugin_manager(plugins: Mapping[str, object]) -> pluggy.PluginManager:
    """A plugin manager of its own that knows every hook of drivetrain and these plugins.

    Args:
        plugins: plugins by the name that errors call them.

    Raises:
        DriverBroken: a plugin has a hook that drivetrain does not know, or takes arguments that the hook has not.
    """
    manager = pluggy.PluginManager(specs.PROJECT)
    manager.add_hookspecs(specs.DriverHooks)
    manager.add_hookspecs(specs.ObserverHooks)
    for name, plugin in plugins.items():
        try:
            manager.register(plugin, name)
            manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            raise DriverBroken(f"{name} does not fit drivetrain's hooks: {error}") from error
    return manager


class Observers:
    """Calls every observer of a hook, in the order in which the app names them.

    Check `watches` first where the arguments are expensive. An error of an observer is logged with the names of the
    observer and the hook, and the other observers are still called. Thread-safe.
    """

    def __init__(self, plugins: Mapping[str, object]) -> None:
        self._calls: dict[str, list[tuple[str, Callable[..., Any]]]] = {}
        # A manager for each plugin, so that one which raises does not keep pluggy from calling the next.
        for name, plugin in plugins.items():
            manager = plugin_manager({name: plugin})
            for hook in _HOOKS:
                caller = getattr(manager.hook, hook)
                if caller.get_hookimpls():
                    self._calls.setdefault(hook, []).append((name, caller))

    def watches(self, hook: str) -> bool:
        """Whether any observer implements this hook (``task_started``). Costs one dict lookup."""
        return hook in self._calls

    def notify(self, hook: str, **arguments: object) -> None:
        """Call every observer of ``hook``, with arguments as in `ObserverHooks`. Never raises."""
        for name, call in self._calls.get(hook, ()):
            try:
                call(**arguments)
            except Exception:  # an observer must not change the result of a task
                logger.exception("observer %s raised an error in its hook %s; ignoring it", name, hook)
