"""What the tests of this driver share: the servers, one of each for a session, and how much is tried.

Every call of these servers takes ten milliseconds or more. In the profile ``quick``, which `make test` asks for, one
server and few examples must do; in the others both servers and all checks are run.
"""

from pathlib import Path

import pytest
from attrs import evolve

from drivetrain_contract_tests.profiles import PROFILES
from services.sqs import LocalStackServer, MotoServer

#: What takes long, and is left to the profiles that try more: modules, or single checks of one.
LONG = {
    "test_sqs_on_moto": (),
    "test_sqs_fifo_on_localstack": (),
    "test_sqs_workflows": (
        "test_a_body_that_is_too_large_for_the_broker_arrives",
        "test_a_call_that_fails_changes_nothing",
        "test_a_restart_loses_nothing",
        "test_a_retention_of_zero_changes_nothing_and_leaves_nothing",
        "test_a_worker_process_that_is_killed_loses_nothing",
        "test_a_worker_that_dies_between_two_steps_loses_nothing",
        "test_random_workflows_give_what_the_reference_gives",
        "test_replies_that_are_lost_again_and_again_change_nothing",
    ),
}
#: Making the virtual environments of both servers is part of the first test that needs them.
FIRST_SECONDS = 600


def pytest_collection_modifyitems(config, items):
    mine = [item for item in items if item.path.parent == Path(__file__).parent]
    for item in mine:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(FIRST_SECONDS))
    if config.getoption("--contract-profile") == "quick":
        left_out = [item for item in mine if _is_long(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _is_long(item):
    checks = LONG.get(item.path.stem)
    return checks is not None and (not checks or item.originalname in checks)


@pytest.fixture(scope="session", autouse=True)
def aws_configuration():
    """No configuration of the machine's, and no asking of metadata services."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", "/dev/null")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS", "AWS_REGION", "AWS_DEFAULT_REGION"):
            patch.delenv(name, raising=False)
        yield


def _running(server):
    server.run()
    yield server
    server.end()


@pytest.fixture(scope="session")
def moto(tmp_path_factory):
    yield from _running(MotoServer(tmp_path_factory.mktemp("moto")))


@pytest.fixture(scope="session")
def localstack(tmp_path_factory):
    yield from _running(LocalStackServer(tmp_path_factory.mktemp("localstack")))


@pytest.fixture(autouse=True)
def small_profile(request):
    if request.config.getoption("--contract-profile") == "quick" and hasattr(request.cls, "profile"):
        seed = request.cls.profile.seed
        request.cls.profile = evolve(PROFILES["quick"], examples=5, steps=15, races=2, large=200, seed=seed)
