"""Wheels, made once for all tests of installing, in whatever process they run."""

import pytest

from installing.environments import wheelhouse


@pytest.fixture(scope="session")
def wheels(tmp_path_factory, worker_id):
    base = tmp_path_factory.getbasetemp()
    return wheelhouse(base if worker_id == "master" else base.parent)
