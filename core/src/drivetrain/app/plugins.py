"""The plugins of an app: loads those that it names, and makes those that have a maker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from attrs import evolve, field, frozen

from drivetrain.app.entry_points import DriverEntries, Kind
from drivetrain.app.observers import plugin_manager
from drivetrain.contract import ConfigurationError, DriverBroken, DrivetrainError, PluginContext

__all__ = ["PluginSettings", "load_plugins"]


@frozen(kw_only=True)
class PluginSettings:
    """The plugins that an app names, and what they are made with."""

    #: Names of entry points in ``drivetrain.plugins``, or objects with hooks.
    plugins: Sequence[object] = ()
    #: Options of plugins, by the name of their entry point.
    options: Mapping[str, Mapping[str, Any]] = field(factory=dict)
    #: What the makers of plugins get, without options.
    context: PluginContext


def load_plugins(entries: DriverEntries, settings: PluginSettings) -> dict[str, object]:
    """The plugins by the names that errors call them, each once.

    Raises:
        DriverNotFound: a named plugin is not installed.
        DriverBroken: a plugin cannot be imported or made, or does not fit drivetrain's hooks.
        AmbiguousDriver: several distributions have a plugin of that name, and none is chosen.
        ConfigurationError: an option of a plugin is wrong, or options are given for a plugin that is not installed.
    """
    _check_option_names(entries, settings)
    loaded: dict[str, object] = {}
    made: dict[str, object] = {}
    for given in settings.plugins:
        options: Mapping[str, Any] = {}
        if isinstance(given, str):
            entry = entries.find(Kind.PLUGIN, given)
            name, plugin, options = str(entry), entry.load(), settings.options.get(given, {})
        else:
            name, plugin = f"the plugin {getattr(given, '__name__', type(given).__qualname__)}", given
        if any(plugin is other for other in loaded.values()):
            continue
        name = name if name not in loaded else f"{name} ({len(loaded) + 1})"
        loaded[name] = plugin
        made[name] = _made(name, plugin, evolve(settings.context, options=options))
    return made


def _made(name: str, plugin: object, context: PluginContext) -> object:
    maker = plugin_manager({name: plugin}).hook.make_plugin
    if not maker.get_hookimpls():
        if context.options:
            raise ConfigurationError(f"plugin_options has options for {name}, which takes none")
        return plugin
    try:
        made = maker(context=context)
    except DrivetrainError:
        raise
    except Exception as error:
        raise DriverBroken(f"{name} failed in its hook make_plugin: {type(error).__name__}: {error}") from error
    return plugin if made is None else made


def _check_option_names(entries: DriverEntries, settings: PluginSettings) -> None:
    installed = sorted({entry.name for entry in entries.all if entry.kind is Kind.PLUGIN})
    for name in settings.options:
        if name not in installed:
            near = get_close_matches(name, installed, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f" (installed: {', '.join(installed) or 'none'})"
            raise ConfigurationError(f"plugin_options names {name!r}, and no installed plugin has that name{hint}")
