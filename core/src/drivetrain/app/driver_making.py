"""Making drivers: calls the hook of the driver that an entry point names, or of the app's own plugins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from drivetrain.app.driver_options import hide_texts
from drivetrain.app.entry_points import DriverEntries, DriverEntry, Kind
from drivetrain.app.observers import plugin_manager
from drivetrain.contract import (
    Backend,
    Broker,
    DriverBroken,
    DriverNotFound,
    DrivetrainError,
    RetryPolicy,
    Serializer,
    Timetable,
    redact,
)

__all__ = ["DriverMaker", "check_maker"]

_MAKERS = {
    Kind.BROKER: ("make_broker", Broker),
    Kind.BACKEND: ("make_backend", Backend),
    Kind.SERIALIZER: ("make_serializer", Serializer),
    Kind.RETRY_POLICY: ("make_retry_policy", RetryPolicy),
    Kind.TIMETABLE: ("make_timetable", Timetable),
}


class DriverMaker:
    """Makes drivers of all kinds. Thread-safe.

    Args:
        entries: the entry points of installed drivers.
        plugins: the loaded plugins of the app, by their names for messages. Those with maker hooks make drivers that no
            distribution has. A hook wrapper around a maker gets every driver.
    """

    def __init__(self, entries: DriverEntries, plugins: Mapping[str, object]) -> None:
        self._entries = entries
        #: For a kind and a name, the driver of a sound entry point and its hook: to make a plugin manager takes a
        #: hundred times as long as to make a timetable.
        self._sound: dict[DriverEntry, Callable[..., Any]] = {}
        self._plugins = {name: plugin for name, plugin in plugins.items() if _makes_drivers(name, plugin)}

    def make(self, kind: Kind, name: str, arguments: Mapping[str, Any]) -> Any:
        """Make the driver of this kind and name.

        Args:
            kind: any kind but PLUGIN.
            name: the scheme of its URL, or its name.
            arguments: the arguments of its maker hook.

        Raises:
            DriverNotFound: no distribution and no plugin has it.
            DriverBroken: it cannot be imported, its maker failed, or it lacks methods of the contract.
            DrivetrainError: raised by its maker.
        """
        try:
            entry = self._entries.find(kind, name)
        except DriverNotFound:
            made = _call(kind, "a plugin", _hook(kind, self._plugins), arguments)
            if made is None:
                raise
            return made
        return self.make_from(entry, arguments)

    def make_from(self, entry: DriverEntry, arguments: Mapping[str, Any]) -> Any:
        """Make the driver of an entry point; see `make`."""
        if entry not in self._sound:
            driver = entry.load()
            check_maker(entry, driver)
            plugins = {name: plugin for name, plugin in self._plugins.items() if plugin is not driver}
            self._sound[entry] = _hook(entry.kind, {**plugins, str(entry): driver})
        made = _call(entry.kind, str(entry), self._sound[entry], arguments)
        if made is None:
            raise DriverBroken(f"{entry} is broken: its {_MAKERS[entry.kind][0]} returned None")
        return made


def _hook(kind: Kind, plugins: Mapping[str, object]) -> Callable[..., Any]:
    # A manager of its own, so that no other driver is asked for what this one's entry point names.
    hook: Callable[..., Any] = getattr(plugin_manager(plugins).hook, _MAKERS[kind][0])
    return hook


def _call(kind: Kind, title: str, hook: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    maker, protocol = _MAKERS[kind]
    try:
        made = hook(**arguments)
    except DrivetrainError:
        raise
    except Exception as error:
        raise DriverBroken(f"{title} has failed in {maker}: {_without_secret(error, arguments)}") from error
    lacks = [name for name in dir(protocol) if not name.startswith("_") and not hasattr(made, name)]
    if made is not None and lacks:
        raise DriverBroken(f"{title} did not make a {kind}: {type(made).__qualname__} lacks {', '.join(lacks)}")
    return made


def check_maker(entry: DriverEntry, driver: object) -> None:
    """Check that the object of an entry point has the hook that its kind needs.

    Raises:
        DriverBroken: it has not, or does not fit drivetrain's hooks.
    """
    if driver is None:
        raise DriverBroken(f"{entry} is None")
    manager = plugin_manager({str(entry): driver})
    if entry.kind is Kind.PLUGIN:
        return
    maker = _MAKERS[entry.kind][0]
    if not getattr(manager.hook, maker).get_hookimpls():
        raise DriverBroken(f"{entry} has no hook {maker}; mark it with @drivetrain.contract.hookimpl")


def _makes_drivers(name: str, plugin: object) -> bool:
    hook = plugin_manager({name: plugin}).hook
    return any(getattr(hook, maker).get_hookimpls() for maker, _ in _MAKERS.values())


def _without_secret(error: Exception, arguments: Mapping[str, Any]) -> str:
    text, url, context = f"{type(error).__name__}: {error}", arguments.get("url"), arguments.get("context")
    if context is not None:
        text = hide_texts(text, context.options)
    return text.replace(url, redact(url)) if url else text
