"""The options that choose the app of a command, before or after the command's name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
from attrs import define, field, fields

from drivetrain.app.application import App
from drivetrain.app.settings import Settings
from drivetrain.cli.app_loading import load_app
from drivetrain.contract import ConfigurationError

__all__ = ["APP_VARIABLE", "AppOptions", "app_options", "options_of", "verbose_option"]

C = TypeVar("C", bound=Callable[..., Any])

APP_VARIABLE = "DRIVETRAIN_APP"
_DEFAULT_BROKER = fields(Settings).broker.default
#: Options that conflict with --app, since an app has these settings of its own.
_DRIVER_SETTINGS = ("config", "broker", "backend", "namespace")


@define
class AppOptions:
    """The values of the options."""

    app: str | None = None
    config: str | None = None
    #: URLs hold passwords.
    broker: str | None = field(default=None, repr=False)
    backend: str | None = field(default=None, repr=False)
    #: The namespace of the queues and results, where no app is loaded.
    namespace: str | None = None
    verbose: bool = False
    _opened: App | None = field(default=None, repr=False, init=False)

    def reference(self) -> str | None:
        """The reference of the app; the command line overrides the environment.

        Raises:
            UsageError: an app is given together with drivers.
        """
        conflicting = [f"--{name}" for name in _DRIVER_SETTINGS if getattr(self, name) is not None]
        if conflicting and self.app is not None:
            raise click.UsageError(f"the app {self.app} has settings of its own; leave {' and '.join(conflicting)} out")
        return None if conflicting else self.app or os.environ.get(APP_VARIABLE) or None

    def open_app(self) -> App:
        """The given app, or an app without tasks for the given drivers.

        Raises:
            ConfigurationError: it cannot be loaded, its settings are wrong, or neither app nor broker is given.
        """
        reference = self.reference()
        self._opened = load_app(reference) if reference else self._bare_app()
        return self._opened

    def secrets(self) -> Iterator[str]:
        """The URLs that messages must not show unredacted."""
        settings = None if self._opened is None else self._opened.settings
        configured = [settings.broker, settings.backend] if settings else []
        variables = [os.environ.get("DRIVETRAIN_BROKER"), os.environ.get("DRIVETRAIN_BACKEND")]
        return (url for url in (self.broker, self.backend, *configured, *variables) if url)

    def _bare_app(self) -> App:
        settings: dict[str, Any] = {} if self.namespace is None else {"name": self.namespace}
        app = App(self.broker, self.backend, config=self.config, **settings)
        # The default is a file in the current directory. A command that reads must not create it.
        if app.settings.broker == _DEFAULT_BROKER and not Path(_DEFAULT_BROKER.removeprefix("sqlite:///")).exists():
            raise ConfigurationError(
                "no app and no broker given: use --app module:app, --broker URL or --config FILE, or set "
                f"{APP_VARIABLE} or DRIVETRAIN_BROKER (there is no {_DEFAULT_BROKER.removeprefix('sqlite:///')} here)"
            )
        return app


def options_of(context: click.Context) -> AppOptions:
    """The options of this call of the program."""
    return context.ensure_object(AppOptions)


def _remember(context: click.Context, parameter: click.Parameter, value: object) -> None:
    if value and parameter.name:
        setattr(options_of(context), parameter.name, value)


def _option(*names: str, **attributes: Any) -> Callable[[C], C]:
    return click.option(*names, expose_value=False, callback=_remember, **attributes)


verbose_option: Callable[[Any], Any] = _option("--verbose", is_flag=True, help="Show tracebacks of errors.")

_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    _option("--app", metavar="MODULE:APP", help=f"The app to work with; or set {APP_VARIABLE}."),
    _option("--config", metavar="FILE", help="Without an app: a TOML or YAML file with settings."),
    _option("--broker", metavar="URL", help="Without an app: the broker; DRIVETRAIN_BROKER hides it better."),
    _option("--backend", metavar="URL", help="Without an app: the backend; DRIVETRAIN_BACKEND hides it better."),
    _option("--namespace", metavar="NAME", help="Without an app: the namespace, an app's name; or DRIVETRAIN_NAME."),
    verbose_option,
)


def app_options(command: C) -> C:
    """Add the options that choose the app."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
