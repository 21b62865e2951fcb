"""The ``driver_options`` of an app: objects for its drivers that no URL can hold, such as a credential provider.

They are keyed by the name of a driver: any URL scheme that the driver serves. So options for ``redis`` reach the Redis
driver of a ``rediss://`` URL too. Options under the very scheme of a URL are preferred. Pure; never shows a value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeGuard

from drivetrain.contract import ConfigurationError

__all__ = ["DriverOptions", "check_shape", "hide_texts", "option_name", "unused_options"]

#: For the name of a driver, its options by name.
DriverOptions: TypeAlias = Mapping[str, Mapping[str, Any]]


def check_shape(options: object) -> None:
    """Check that ``options`` is a table of tables.

    Raises:
        ConfigurationError: it is not; shows types only.
    """
    example = 'pass a dict for each driver, like driver_options={"redis": {"credential_provider": provider}}'
    if not _is_table(options):
        raise ConfigurationError(f"driver_options is of type {type(options).__name__}; {example}")
    for name, table in options.items():
        if not _is_table(table):
            raise ConfigurationError(f"driver_options[{name!r}] is of type {type(table).__name__}; {example}")


def option_name(options: DriverOptions, scheme: str, same_driver: Callable[[str], bool]) -> str | None:
    """The name in ``options`` that the driver of a URL takes; None: there are no options for it.

    Args:
        options: the options of all drivers.
        scheme: the scheme of the URL.
        same_driver: whether the driver of the URL serves another scheme too.
    """
    if scheme in options:
        return scheme
    return next(filter(same_driver, options), None)


def unused_options(names: Sequence[str], in_use: Sequence[tuple[str, str]]) -> ConfigurationError:
    """The error of names in ``driver_options`` that name none of the app's drivers.

    Args:
        names: these names.
        in_use: kind and URL scheme of each driver of the app.
    """
    listed = ", ".join(f"{scheme!r} ({kind})" for kind, scheme in in_use)
    return ConfigurationError(
        f"driver_options names {', '.join(map(repr, names))}, but the app uses no such driver; in use: {listed}"
    )


def hide_texts(text: str, options: Mapping[str, Any]) -> str:
    """``text`` without the values of options that are texts, since they may be secrets."""
    for value in options.values():
        if isinstance(value, str) and value:
            text = text.replace(value, "***")
    return text


def _is_table(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)
