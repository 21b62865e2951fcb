"""Calls observers. A hook without observers costs nothing, and an error of an observer does not affect a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pluggy

from drivetrain.contract import DriverBroken
from drivetrain.contract import hookspecs as specs
from drivetrain.worker.logs import get_logger

__all__ = ["Observers", "hook_callers", "plugin_manager"]

logger = get_logger("drivetrain.observers")

_HOOKS = tuple(name for name in vars(specs.ObserverHooks) if not name.startswith("_"))


def plugin_manager(plugins: Mapping[str, object]) -> pluggy.PluginManager:
    """A plugin manager of its own that knows every hook of drivetrain and these plugins.

    Args:
        plugins: plugins by the name that errors call them.

    Raises:
        DriverBroken: drivetrain does not know a hook of a plugin, or one of its arguments.
    """
    manager = pluggy.PluginManager(specs.PROJECT)
    manager.add_hookspecs(specs.DriverHooks)
    manager.add_hookspecs(specs.PluginHooks)
    manager.add_hookspecs(specs.ActingHooks)
    manager.add_hookspecs(specs.ObserverHooks)
    for name, plugin in plugins.items():
        try:
            manager.register(plugin, name)
            manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            raise DriverBroken(f"{name} does not fit drivetrain's hooks: {error}") from error
    return manager


def hook_callers(plugins: Mapping[str, object], hook: str) -> list[tuple[str, Callable[..., Any]]]:
    """For each plugin that implements ``hook``: its name, and the function that calls the hook.

    Each plugin has a manager of its own, so that an error in one does not keep pluggy from calling the next.
    """
    callers = [(name, getattr(plugin_manager({name: plugin}).hook, hook)) for name, plugin in plugins.items()]
    return [(name, caller) for name, caller in callers if caller.get_hookimpls()]


class Observers:
    """Calls every observer of a hook, in the order in which the app names them.

    Check `watches` first where the arguments are expensive. An error of an observer is logged with the names of the
    observer and the hook, and the other observers are still called. Thread-safe.
    """

    def __init__(self, plugins: Mapping[str, object]) -> None:
        found = {hook: hook_callers(plugins, hook) for hook in _HOOKS}
        self._calls = {hook: callers for hook, callers in found.items() if callers}

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
