"""The configuration of this package as a Django app: finds the tasks of all installed apps, and checks the settings."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.utils.module_loading import autodiscover_modules

from drivetrain import ConfigurationError
from drivetrain_django.application import get_app
from drivetrain_django.options import read_options

__all__ = ["DrivetrainConfig"]


class DrivetrainConfig(AppConfig):
    """The Django app ``drivetrain_django``."""

    name = "drivetrain_django"
    label = "drivetrain_django"
    verbose_name = "Drivetrain"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import the module ``tasks`` of each installed app, and those that the setting ``IMPORTS`` names."""
        checks.register(check_settings)
        options = read_options()
        if options.autodiscover:
            autodiscover_modules("tasks")
        for module in options.imports:
            import_module(module)


def check_settings(app_configs: object, **_more: Any) -> Sequence[checks.CheckMessage]:  # noqa: ARG001 - named by Django
    """The faults of the setting ``DRIVETRAIN``, for ``manage.py check``."""
    try:
        get_app()
    except ConfigurationError as error:
        return [checks.Error(str(error), hint="Correct DRIVETRAIN in the settings.", id="drivetrain.E001")]
    return []
