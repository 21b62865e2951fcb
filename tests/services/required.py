"""What to do where a service cannot be had: skip loudly, by name; fail where it is required."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

__all__ = ["missing", "program"]

#: Comma-separated names of services that must run: CI sets it, so that it cannot pass by skipping.
REQUIRED_VARIABLE = "REQUIRE_SERVICES"


def missing(service: str, why: str) -> None:
    """Skip the test that needs ``service``, or fail it where the service is required."""
    if service in os.environ.get(REQUIRED_VARIABLE, "").split(","):
        pytest.fail(f"{service} is required here ({REQUIRED_VARIABLE}) and cannot be had: {why}", pytrace=False)
    pytest.skip(f"{service} cannot be had here: {why}")


def program(service: str, name: str, *places: str) -> Path:
    """Where the program ``name`` of ``service`` lies: on PATH, or in one of ``places``. Otherwise `missing`."""
    search = os.pathsep.join((os.environ.get("PATH", os.defpath), *places))
    found = shutil.which(name, path=search)
    if found is None:
        missing(service, f"there is no {name} on PATH")
    assert found is not None
    return Path(found)
