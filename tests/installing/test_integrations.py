"""The programs of integrations, from wheels, in environments that hold nothing but what their pages install."""

import os
import shutil
from pathlib import Path

import pytest

from installing.environments import made_environment

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

pytestmark = [
    pytest.mark.skipif("DRIVETRAIN_TEST_OFFLINE" in os.environ, reason="DRIVETRAIN_TEST_OFFLINE is set"),
    pytest.mark.timeout(600),  # the first one makes all wheels
]


def test_the_web_application(wheels, tmp_path):
    environment = made_environment(tmp_path / "venv", wheels, ["drivetrain[pydantic]", "fastapi", "httpx"])
    shutil.copy(EXAMPLES / "web.py", tmp_path)
    said = environment.run("web.py", directory=tmp_path).stdout.splitlines()
    assert said[0] == "before a worker runs: {'state': 'PENDING'}"
    assert said[3:5] == ['followed to the end: data: {"state": "SUCCESS"}', "words of texts that succeeded: 3"]


def test_the_tested_shop(wheels, tmp_path):
    environment = made_environment(tmp_path / "venv", wheels, ["drivetrain", "pytest"])
    shop = shutil.copytree(EXAMPLES / "tested_shop", tmp_path / "shop")
    assert "6 passed" in environment.run("-m", "pytest", "-p", "no:cacheprovider", directory=shop).stdout
