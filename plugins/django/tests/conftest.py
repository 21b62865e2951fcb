"""The example project, set up once in the process of the tests, with its files in a directory of their own."""

import os
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent / "integration" / "project"


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """The home of the project: its database is made."""
    home = tmp_path_factory.mktemp("storefront")
    os.environ["STOREFRONT_HOME"] = str(home)
    os.environ["DJANGO_SETTINGS_MODULE"] = "storefront_settings"
    sys.path.insert(0, str(PROJECT))
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", "storefront", run_syncdb=True, verbosity=0)
    call_command("migrate", verbosity=0)
    yield home
    from django.db import connections

    from drivetrain_django import get_app

    get_app().close()
    connections.close_all()
    sys.path.remove(str(PROJECT))


@pytest.fixture
def shop(project):
    """The tasks and models of the project, with an empty database."""
    from storefront import models, tasks

    models.Order.objects.all().delete()
    tasks.Order = models.Order
    return tasks


@pytest.fixture
def time(shop):
    """Virtual time for the app of the project."""
    from drivetrain.testing import VirtualTime
    from drivetrain_django import get_app

    with VirtualTime(get_app()) as time:
        yield time
