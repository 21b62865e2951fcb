"""Fixtures of pytest for the tests of an application: no server, no sleep.

Use it in ``conftest.py``, and name the app in the configuration of pytest:

    pytest_plugins = ["drivetrain.pytest"]     # conftest.py
    drivetrain_app = shop.tasks:app            # pytest.ini, or a string in [tool.pytest.ini_options]

Then each test that asks for one of these fixtures gets new, empty ``memory://`` drivers:

- `drivetrain_app`: the app. What is sent waits; nothing runs.
- `drivetrain_sent`: what was sent, to assert on.
- `virtual_time`: runs tasks when the test says so, in virtual time.
- `drivetrain_worker`: a real worker, in threads of this process.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator

import pytest

from drivetrain.app.application import App
from drivetrain.testing import SentTasks, VirtualTime
from drivetrain.worker.worker import Worker

__all__ = [
    "drivetrain_app",
    "drivetrain_sent",
    "drivetrain_target",
    "drivetrain_worker",
    "pytest_addoption",
    "virtual_time",
]

_OPTION = "drivetrain_app"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of the configuration that names the app."""
    parser.addini(_OPTION, "The drivetrain app that the fixtures of drivetrain.pytest test, as module:app.")


@pytest.fixture(scope="session")
def drivetrain_target(pytestconfig: pytest.Config) -> App:
    """The app to test: that of the option ``drivetrain_app``. Override it where tests use several apps."""
    reference = pytestconfig.getini(_OPTION)
    if not reference:
        raise pytest.UsageError(
            "no drivetrain app to test: set drivetrain_app = module:app in the configuration of pytest, or override "
            "the fixture drivetrain_target"
        )
    app = pkgutil.resolve_name(reference)
    if not isinstance(app, App):
        raise pytest.UsageError(f"drivetrain_app = {reference} names a {type(app).__name__}; name a drivetrain.App")
    return app


@pytest.fixture
def _drivetrain_recorder(drivetrain_target: App) -> SentTasks:
    return SentTasks(lambda: drivetrain_target.runtime)


@pytest.fixture
def drivetrain_app(drivetrain_target: App, _drivetrain_recorder: SentTasks) -> Iterator[App]:
    """The app, on new ``memory://`` drivers. Without `virtual_time` or `drivetrain_worker` nothing runs."""
    with drivetrain_target.using("memory://", plugins=[_drivetrain_recorder]):
        yield drivetrain_target


@pytest.fixture
def drivetrain_sent(drivetrain_app: App, _drivetrain_recorder: SentTasks) -> SentTasks:  # noqa: ARG001 - it records
    """What the app has sent in this test, in order."""
    return _drivetrain_recorder


@pytest.fixture
def virtual_time(drivetrain_app: App) -> Iterator[VirtualTime]:
    """The app in virtual time: ``virtual_time.run_ready()``, ``virtual_time.run_for(days=30)``."""
    with VirtualTime(drivetrain_app) as time:
        yield time


@pytest.fixture
def drivetrain_worker(request: pytest.FixtureRequest, drivetrain_app: App) -> Iterator[Worker]:
    """A worker that runs what is sent, in threads of this process; ``result.get(timeout=…)`` waits for it."""
    if "virtual_time" in request.fixturenames:
        raise pytest.UsageError("a test uses drivetrain_worker or virtual_time, not both: virtual time has a worker")
    with drivetrain_app.worker() as worker:
        yield worker
