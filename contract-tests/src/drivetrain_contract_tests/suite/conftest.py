"""The services at the URLs that were given."""

from __future__ import annotations

import pytest

from drivetrain_contract_tests.service import Service


def _service(config: pytest.Config, kind: str) -> Service:
    url = config.getoption(f"--contract-{kind}")
    if url is None:
        raise pytest.UsageError(f"--contract-{kind} is not given")
    return Service(lambda namespace: url.replace("{namespace}", namespace))


@pytest.fixture(scope="session")
def broker_service(request: pytest.FixtureRequest) -> Service:
    """The broker under test."""
    return _service(request.config, "broker")


@pytest.fixture(scope="session")
def backend_service(request: pytest.FixtureRequest) -> Service:
    """The backend under test."""
    return _service(request.config, "backend")
