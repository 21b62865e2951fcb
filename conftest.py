"""For all tests: a report crosses processes whatever a test has logged; and what takes long is left to longer runs."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says nothing on a busy machine.
settings.register_profile("unhurried", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Escape lone surrogates, which tests of hostile values log and pytest-xdist cannot send."""
    return _sendable((yield))


def _sendable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_sendable(key): _sendable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_sendable(item) for item in value)
    return value


@pytest.fixture(scope="session")
def at_length(request: pytest.FixtureRequest) -> None:
    """For what takes minutes: run by ``make test CONTRACT=default``, and skipped, by name, in the profile ``quick``."""
    if request.config.getoption("--contract-profile") == "quick":
        pytest.skip("takes long: run by make test CONTRACT=default")
