"""Finding drivers: imports only the entry point that has the scheme of a URL, or the name of a driver.

Each app has its own `Drivers`; two apps in one process share nothing. The plugins of an app may make drivers too:
those that no installed distribution has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve

from drivetrain.app.acting import ActingPlugins
from drivetrain.app.driver_making import DriverMaker
from drivetrain.app.driver_options import DriverOptions, option_name, unused_options
from drivetrain.app.entry_points import DriverEntries, Kind
from drivetrain.app.installed_drivers import InstalledDriver, describe_entry
from drivetrain.app.observers import Observers
from drivetrain.app.plugins import PluginSettings, load_plugins
from drivetrain.contract import (
    Backend,
    Broker,
    ConfigurationError,
    DriverContext,
    Plain,
    PluginContext,
    RetryPolicy,
    ScheduleSpec,
    Serializer,
    Timetable,
    UnknownContentType,
    redact,
)

__all__ = ["Drivers"]

#: Messages bring the parameters of policies, so the number of stored policies is bounded.
_MOST_POLICIES = 256
#: The number of stored timetables: those of a large application.
_MOST_TIMETABLES = 10_000


class Drivers:
    """The drivers and observers of one app. Thread-safe.

    Args:
        context: handed to the makers of brokers and backends.
        choose: for a scheme or name that several distributions have, the distribution to use.
        plugins: the plugins of the app, or only their names and objects.
        options: for the name of a driver, its `DriverContext.options`; see `drivetrain.app.driver_options`.

    Attributes:
        observers: notifies the plugins of events.
        acting: the plugins that add headers or surround runs.

    Raises:
        DriverNotFound: a named plugin is not installed.
        DriverBroken: a plugin cannot be imported, or does not fit drivetrain's hooks.
        AmbiguousDriver: several distributions have a plugin of that name, and none is chosen.
    """

    def __init__(
        self,
        context: DriverContext,
        choose: Mapping[str, str] | None = None,
        plugins: PluginSettings | Sequence[object] = (),
        options: DriverOptions | None = None,
    ) -> None:
        self._context = context
        self._options = options or {}
        self._entries = DriverEntries(choose or {})
        loaded = load_plugins(self._entries, _plugin_settings(plugins, context))
        #: The plugins by their names for messages.
        self.plugins: Mapping[str, object] = loaded
        self.observers = Observers(loaded)
        self.acting = ActingPlugins(loaded)
        self._maker = DriverMaker(self._entries, loaded)
        self._serializers: dict[str, Serializer] = {}
        self._policies: dict[tuple[str, str], RetryPolicy] = {}
        self._timetables: dict[tuple[str, str], Timetable] = {}

    def broker(self, url: str) -> Broker:
        """Make the broker of this URL. Does no I/O.

        Raises:
            ConfigurationError: the URL is wrong, or (its children) no sound driver serves its scheme.
        """
        made: Broker = self._maker.make(Kind.BROKER, _scheme(url), self._arguments(Kind.BROKER, url))
        return made

    def backend(self, url: str) -> Backend:
        """Make the backend of this URL. Does no I/O.

        Raises:
            ConfigurationError: the URL is wrong, or (its children) no sound driver serves its scheme.
        """
        made: Backend = self._maker.make(Kind.BACKEND, _scheme(url), self._arguments(Kind.BACKEND, url))
        return made

    def backend_url(self, broker: str, backend: str | None) -> str:
        """The URL of the backend: ``backend``, or else the broker's where its scheme is a backend too.

        Raises:
            ConfigurationError: no backend is given, and the broker's scheme is none.
        """
        if backend is not None:
            return backend
        if self._entries.has(Kind.BACKEND, _scheme(broker)):
            return broker
        raise ConfigurationError(
            f"{redact(broker)} stores no results: set backend= to a URL that does "
            "(redis://…, sqlite:///…), or to null:// to work without results"
        )

    def check_options(self, broker: str, backend: str | None) -> None:
        """Check that each name in the options is the name of a driver that serves one of these URLs. Imports none.

        Args:
            broker: the URL of the broker.
            backend: the URL of the backend; None: the same as the broker's.

        Raises:
            ConfigurationError: a name is not; the drivers in use are listed.
        """
        if not self._options:
            return
        in_use = [(Kind.BROKER, _scheme(broker)), (Kind.BACKEND, _scheme(backend or broker))]
        taken = {self._option_name(kind, scheme) for kind, scheme in in_use}
        if unused := [name for name in self._options if name not in taken]:
            raise unused_options(unused, in_use)

    def serializer(self, name: str) -> Serializer:
        """The serializer of this name, made once.

        Raises:
            ConfigurationError: (its children) no sound driver serves this name.
        """
        if name not in self._serializers:
            self._serializers[name] = self._maker.make(Kind.SERIALIZER, name, {"name": name})
        return self._serializers[name]

    def serializer_for(self, content_type: str, accepted: Sequence[str]) -> Serializer:
        """The first of the serializers named in ``accepted`` that reads this content type.

        Raises:
            UnknownContentType: none of them does.
            ConfigurationError: (its children) no sound driver serves one of the names.
        """
        for name in accepted:
            serializer = self.serializer(name)
            if serializer.content_type == content_type:
                return serializer
        read = ", ".join(f"{self.serializer(name).content_type} ({name})" for name in accepted) or "none"
        raise UnknownContentType(f"the content type {content_type[:100]!r} is not accepted; accepted: {read}")

    def retry_policy(self, name: str, parameters: Mapping[str, Plain]) -> RetryPolicy:
        """The retry policy of this name with these parameters; the same object for the same parameters.

        Raises:
            InvalidSignature: a parameter is unknown, missing or wrong.
            ConfigurationError: (its children) no sound driver serves this name.
        """
        key = (name, repr(sorted(parameters.items())))
        policy = self._policies.get(key)
        if policy is None:
            policy = self._maker.make(Kind.RETRY_POLICY, name, {"name": name, "parameters": parameters})
            if len(self._policies) >= _MOST_POLICIES:
                self._policies.clear()
            self._policies[key] = policy
        return policy

    def timetable(self, spec: ScheduleSpec) -> Timetable:
        """The timetable of a schedule.

        Raises:
            ConfigurationError: a parameter is unknown, missing or wrong, or (its children) no sound driver has the
                kind.
        """
        key = (spec.kind, repr(sorted(spec.parameters.items())))
        timetable = self._timetables.get(key)
        if timetable is None:
            arguments = {"kind": spec.kind, "parameters": spec.parameters}
            timetable = self._maker.make(Kind.TIMETABLE, spec.kind, arguments)
            if len(self._timetables) >= _MOST_TIMETABLES:
                self._timetables.clear()
            self._timetables[key] = timetable
        return timetable

    def installed(self, *, capabilities: bool = False) -> list[InstalledDriver]:
        """All installed drivers, by kind and name. Imports all of them; their errors are part of the answer.

        Args:
            capabilities: whether to make each broker and backend, to read its capabilities. Does no I/O.
        """
        entries = sorted(self._entries.all, key=lambda entry: (list(Kind).index(entry.kind), entry.name))
        context = self._context if capabilities else None
        return [describe_entry(entry, self._maker, context) for entry in entries]

    def _arguments(self, kind: Kind, url: str) -> dict[str, Any]:
        name = self._option_name(kind, _scheme(url))
        context = self._context if name is None else evolve(self._context, options=self._options[name])
        return {"url": url, "context": context}

    def _option_name(self, kind: Kind, scheme: str) -> str | None:
        return option_name(self._options, scheme, lambda name: self._entries.same_driver(kind, name, scheme))


def _plugin_settings(plugins: PluginSettings | Sequence[object], context: DriverContext) -> PluginSettings:
    if isinstance(plugins, PluginSettings):
        return plugins
    made_with = PluginContext(app=context.namespace, broker="", backend="", clock=context.clock)
    return PluginSettings(plugins=plugins, context=made_with)


def _scheme(url: str) -> str:
    scheme, separator, _ = url.partition("://")
    if not (separator and scheme):
        raise ConfigurationError(f"{redact(url)!r} is not a driver URL; use scheme://…, like sqlite:///work.db")
    return scheme.lower()
