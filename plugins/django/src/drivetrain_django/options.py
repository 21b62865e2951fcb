"""The setting ``DRIVETRAIN`` of a Django project: what it may hold, and the arguments of the app that it stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, fields, frozen
from django.conf import settings
from django.utils.module_loading import import_string

from drivetrain import ConfigurationError, Settings

__all__ = ["DjangoOptions", "read_options"]

#: Keys that name an object of the project by its dotted path, and become arguments of the app.
_OBJECTS = ("ROUTE",)
#: Keys that this package itself uses.
_OWN = ("AUTODISCOVER", "DASHBOARD_URL", "IMPORTS")


@frozen(kw_only=True)
class DjangoOptions:
    """The setting ``DRIVETRAIN``, checked."""

    #: The arguments of the app.
    arguments: Mapping[str, Any] = field(factory=dict, repr=False)
    #: Whether the module ``tasks`` of each installed app is imported.
    autodiscover: bool = True
    #: Further modules with tasks.
    imports: tuple[str, ...] = ()
    #: Where the dashboard is, for a link in the admin; empty: nowhere.
    dashboard_url: str = ""


def read_options() -> DjangoOptions:
    """The setting ``DRIVETRAIN`` of the project.

    Raises:
        ConfigurationError: a key is unknown or wrong. The app checks the values of its own settings.
    """
    given = getattr(settings, "DRIVETRAIN", {})
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"DRIVETRAIN is of type {type(given).__name__}; it must be a dict of settings")
    known = {*_OBJECTS, *_OWN, "CONFIG", "DRIVER_OPTIONS", *(one.name.upper() for one in fields(Settings))}
    if unknown := sorted(set(given) - known):
        raise ConfigurationError(
            f"DRIVETRAIN has unknown keys: {', '.join(unknown)}; known are {', '.join(sorted(known))}"
        )
    arguments = {name.lower(): value for name, value in given.items() if name not in _OWN}
    for name in _OBJECTS:
        if isinstance(path := given.get(name), str):
            arguments[name.lower()] = _imported(name, path)
    imports = given.get("IMPORTS", ())
    if isinstance(imports, str) or not isinstance(imports, Sequence):
        raise ConfigurationError(f"DRIVETRAIN['IMPORTS'] is {imports!r}; it must be a list of modules")
    return DjangoOptions(
        arguments=arguments,
        autodiscover=bool(given.get("AUTODISCOVER", True)),
        imports=tuple(imports),
        dashboard_url=str(given.get("DASHBOARD_URL", "")),
    )


def _imported(name: str, path: str) -> Any:
    try:
        return import_string(path)
    except ImportError as error:
        raise ConfigurationError(f"DRIVETRAIN[{name!r}] is {path!r}, which cannot be imported: {error}") from error
