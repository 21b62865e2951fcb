"""Sets Django up, for workers, commands and child processes: ``drivetrain worker drivetrain_django.boot:app``.

It needs the variable ``DJANGO_SETTINGS_MODULE``. ``manage.py drivetrain …`` does all of that by itself.
"""

from __future__ import annotations

import django

from drivetrain_django.application import get_app

__all__ = ["app"]

django.setup()

#: The app of the project, with the tasks of all installed apps.
app = get_app()
