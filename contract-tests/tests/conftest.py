"""For the tests of the suite: the kill matrix at their end, and apps that are made quickly."""

from __future__ import annotations

from functools import cache

import pytest

from drivetrain.app import installed
from kill_matrix import KillMatrix


def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(KillMatrix())


@pytest.fixture(scope="session", autouse=True)
def _installed_once():
    """What is installed does not change meanwhile, and reading it takes most of the time of making an app."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(installed, "_installed", cache(installed._installed))
        yield
