"""Finding drivers: the entry point that a URL's scheme or a name points at is imported, and nothing else.

Each app has its own `Drivers`; two apps in one process share nothing. The plugins that an app names may make drivers
too: they are asked for what no installed distribution claims, and hook wrappers around a maker see every driver made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from attrs import evolve, frozen

from drivetrain.app.contract_report import ContractReport
from drivetrain.app.driver_options import DriverOptions, hide_texts, option_name, unused_options
from drivetrain.app.entry_points import DriverEntries, DriverEntry, Kind
from drivetrain.app.observers import Observers, plugin_manager
from drivetrain.contract import (
    Backend,
    BackendCapabilities,
    Broker,
    BrokerCapabilities,
    ConfigurationError,
    DriverBroken,
    DriverContext,
    DriverNotFound,
    DrivetrainError,
    Plain,
    RetryPolicy,
    Serializer,
    UnknownContentType,
    redact,
)

__all__ = ["Drivers", "InstalledDriver", "Kind"]

T = TypeVar("T")

_MAKERS = {
    Kind.BROKER: ("make_broker", Broker),
    Kind.BACKEND: ("make_backend", Backend),
    Kind.SERIALIZER: ("make_serializer", Serializer),
    Kind.RETRY_POLICY: ("make_retry_policy", RetryPolicy),
}

#: Parameters of policies come with messages, so the number of policies kept is bounded.
_POLICIES_KEPT = 256


@frozen(kw_only=True)
class InstalledDriver:
    """A driver that is installed, as ``drivetrain drivers`` shows it."""

    kind: Kind
    #: The URL scheme, or the name of the serializer, policy or plugin.
    name: str
    distribution: str
    version: str
    #: Whether it can be imported and fits drivetrain's hooks.
    importable: bool
    #: What is wrong with it, or why its capabilities are not known; empty: nothing.
    error: str = ""
    #: Of a broker or backend, when asked for.
    capabilities: BrokerCapabilities | BackendCapabilities | None = None
    #: What the contract tests have said of it, where its distribution ships their report.
    contract_report: ContractReport | None = None


class Drivers:
    """The drivers and observers of one app. Thread-safe.

    Args:
        context: handed to the makers of brokers and backends.
        choose: for a scheme or name that several distributions claim, the distribution to take.
        plugins: observers: names of entry points in ``drivetrain.plugins``, or objects with hooks.
        options: for the name of a driver, its `DriverContext.options`; see `drivetrain.app.driver_options`.

    Attributes:
        observers: tells the plugins what happens.

    Raises:
        DriverNotFound: a named plugin is not installed.
        DriverBroken: a plugin cannot be imported, or does not fit drivetrain's hooks.
        AmbiguousDriver: several distributions have a plugin of that name, and none is chosen.
    """

    def __init__(
        self,
        context: DriverContext,
        choose: Mapping[str, str] | None = None,
        plugins: Sequence[object] = (),
        options: DriverOptions | None = None,
    ) -> None:
        self._context = context
        self._options = options or {}
        self._entries = DriverEntries(choose or {})
        loaded = self._load_plugins(plugins)
        self.observers = Observers(loaded)
        self._makers = {name: plugin for name, plugin in loaded.items() if _makes_drivers(name, plugin)}
        self._serializers: dict[str, Serializer] = {}
        self._policies: dict[tuple[str, str], RetryPolicy] = {}

    def broker(self, url: str) -> Broker:
        """Make the broker of this URL. Does no I/O.

        Raises:
            ConfigurationError: the URL is wrong, or (its children) no sound driver serves its scheme.
        """
        made: Broker = self._make(Kind.BROKER, _scheme(url), self._arguments(Kind.BROKER, url))
        return made

    def backend(self, url: str) -> Backend:
        """Make the backend of this URL. Does no I/O.

        Raises:
            ConfigurationError: the URL is wrong, or (its children) no sound driver serves its scheme.
        """
        made: Backend = self._make(Kind.BACKEND, _scheme(url), self._arguments(Kind.BACKEND, url))
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
            self._serializers[name] = self._make(Kind.SERIALIZER, name, {"name": name})
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
            policy = self._make(Kind.RETRY_POLICY, name, {"name": name, "parameters": parameters})
            if len(self._policies) >= _POLICIES_KEPT:
                self._policies.clear()
            self._policies[key] = policy
        return policy

    def installed(self, *, capabilities: bool = False) -> list[InstalledDriver]:
        """Everything that is installed, by kind and name. Imports all of it; never raises on its account.

        Args:
            capabilities: whether to make each broker and backend, to read its capabilities. Does no I/O.
        """
        entries = sorted(self._entries.all, key=lambda entry: (list(Kind).index(entry.kind), entry.name))
        return [self._inspect(entry, capabilities) for entry in entries]

    def _load_plugins(self, plugins: Sequence[object]) -> dict[str, object]:
        loaded: dict[str, object] = {}
        for given in plugins:
            if isinstance(given, str):
                entry = self._entries.find(Kind.PLUGIN, given)
                name, plugin = str(entry), entry.load()
            else:
                name, plugin = f"the plugin {getattr(given, '__name__', type(given).__qualname__)}", given
            if any(plugin is other for other in loaded.values()):
                continue
            loaded[name if name not in loaded else f"{name} ({len(loaded) + 1})"] = plugin
        return loaded

    def _arguments(self, kind: Kind, url: str) -> dict[str, Any]:
        name = self._option_name(kind, _scheme(url))
        context = self._context if name is None else evolve(self._context, options=self._options[name])
        return {"url": url, "context": context}

    def _option_name(self, kind: Kind, scheme: str) -> str | None:
        return option_name(self._options, scheme, lambda name: self._entries.same_driver(kind, name, scheme))

    def _make(self, kind: Kind, name: str, arguments: Mapping[str, Any]) -> Any:
        try:
            entry = self._entries.find(kind, name)
        except DriverNotFound:
            made = self._call(kind, "a plugin", self._makers, arguments)
            if made is None:
                raise
            return made
        return self._make_from_entry(entry, arguments)

    def _make_from_entry(self, entry: DriverEntry, arguments: Mapping[str, Any]) -> Any:
        driver = entry.load()
        _check_maker(entry, driver)
        plugins = {name: plugin for name, plugin in self._makers.items() if plugin is not driver}
        made = self._call(entry.kind, str(entry), {**plugins, str(entry): driver}, arguments)
        if made is None:
            raise DriverBroken(f"{entry} is broken: its {_MAKERS[entry.kind][0]} returned None")
        return made

    def _call(self, kind: Kind, title: str, plugins: Mapping[str, object], arguments: Mapping[str, Any]) -> Any:
        maker, protocol = _MAKERS[kind]
        try:
            # A manager of its own, so that no other driver is asked for what this one's entry point names.
            made = getattr(plugin_manager(plugins).hook, maker)(**arguments)
        except DrivetrainError:
            raise
        except Exception as error:
            raise DriverBroken(f"{title} has failed in {maker}: {_without_secret(error, arguments)}") from error
        lacks = [name for name in dir(protocol) if not name.startswith("_") and not hasattr(made, name)]
        if made is not None and lacks:
            raise DriverBroken(f"{title} did not make a {kind}: {type(made).__qualname__} lacks {', '.join(lacks)}")
        return made

    def _inspect(self, entry: DriverEntry, capabilities: bool) -> InstalledDriver:
        fields: dict[str, Any] = {"importable": True, "contract_report": entry.contract_report()}
        try:
            driver = entry.load()
            _check_maker(entry, driver)
        except ConfigurationError as error:
            fields.update(importable=False, error=str(error))
        else:
            if capabilities and entry.kind in {Kind.BROKER, Kind.BACKEND}:
                fields.update(self._capabilities(entry))
        return InstalledDriver(
            kind=entry.kind, name=entry.name, distribution=entry.distribution, version=entry.version, **fields
        )

    def _capabilities(self, entry: DriverEntry) -> dict[str, Any]:
        errors = []
        # Making a driver does no I/O, so any URL that it takes will do; some want a host, a path or both.
        for rest in ("", "localhost", "/drivetrain", "localhost/drivetrain"):
            url = f"{entry.name}://{rest}"
            try:
                made = self._make_from_entry(entry, {"url": url, "context": self._context})
                found = {"capabilities": made.capabilities}
                made.close()
            except Exception as error:  # noqa: BLE001 - a third-party driver may raise anything; the error is shown
                errors.append(f"{url}: {error}")
            else:
                return found
        return {"error": errors[0]}


def _scheme(url: str) -> str:
    scheme, separator, _ = url.partition("://")
    if not (separator and scheme):
        raise ConfigurationError(f"{redact(url)!r} is not a driver URL; use scheme://…, like sqlite:///work.db")
    return scheme.lower()


def _makes_drivers(name: str, plugin: object) -> bool:
    hook = plugin_manager({name: plugin}).hook
    return any(getattr(hook, maker).get_hookimpls() for maker, _ in _MAKERS.values())


def _check_maker(entry: DriverEntry, driver: object) -> None:
    if driver is None:
        raise DriverBroken(f"{entry} is None")
    manager = plugin_manager({str(entry): driver})
    if entry.kind is Kind.PLUGIN:
        return
    maker = _MAKERS[entry.kind][0]
    if not getattr(manager.hook, maker).get_hookimpls():
        raise DriverBroken(f"{entry} has no hook {maker}; mark it with @drivetrain.contract.hookimpl")


def _without_secret(error: Exception, arguments: Mapping[str, Any]) -> str:
    text, url, context = f"{type(error).__name__}: {error}", arguments.get("url"), arguments.get("context")
    if context is not None:
        text = hide_texts(text, context.options)
    return text.replace(url, redact(url)) if url else text
