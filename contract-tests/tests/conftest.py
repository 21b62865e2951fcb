"""For the tests of the suite: the kill matrix at their end."""

from __future__ import annotations

from kill_matrix import KillMatrix


def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(KillMatrix())
