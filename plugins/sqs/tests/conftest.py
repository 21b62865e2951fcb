"""What the tests of this driver share: the servers, one of each for a session, and how much is tried.

Every call of these servers takes ten milliseconds or more, and most checks wait for their ticks of a second. In the
profile ``quick``, which `make test` asks for, a few checks of each kind are run, on moto; all others are skipped, by
name and with the reason. In the other profiles both servers and all checks are run, with batches of 300 messages.
"""

from pathlib import Path

import pytest
from attrs import evolve

from matrix.places import LESS
from services.sqs import LocalStackServer, MotoServer

#: The checks of each certification that the profile ``quick`` runs: what needs the least time for the most clauses.
SHORT = {
    "test_sqs_on_moto": {
        "test_no_check_is_left_out",
        "test_what_was_published_is_received_later",
        "test_every_body_arrives_byte_for_byte",
        "test_any_text_names_a_header",
        "test_a_batch_for_several_queues",
        "test_a_larger_message_is_refused_with_all_of_its_batch",
        "test_what_is_held_is_nobody_elses",
        "test_earlier_queues_first",
        "test_a_publish_wakes_a_receive_at_once",
        "test_deliveries_are_counted",
        "test_what_is_acknowledged_is_gone",
        "test_extend_answers_for_each",
        "test_what_is_released_comes_back_at_once",
        "test_a_late_acknowledgement_changes_nothing",
        "test_no_message_comes_before_its_time",
        "test_a_short_delay_does_not_wait_behind_a_long_one",
        "test_the_dead_are_kept_as_they_were_with_reason_and_time",
        "test_replay_makes_those_ready_that_were_asked_for",
        "test_sizes_of_every_place",
        "test_purge_drops_that_place_of_that_queue_only",
        "test_close_wakes_a_receive",
        "test_two_namespaces_do_not_meet",
        "test_a_child_uses_a_broker_of_its_own",
    },
    "test_sqs_workflows_on_moto": {
        "test_no_check_is_left_out",
        "test_a_retry_is_the_next_attempt_after_its_delay",
        "test_a_delay_beyond_the_longest_of_the_broker_is_kept",
        "test_what_cannot_be_run_goes_to_the_dead_letters",
        "test_members_that_end_together_complete_their_chord_once",
    },
    "test_sqs_fifo_on_localstack": set(),
}
#: Making the virtual environments of both servers is part of the first test that needs them.
FIRST_SECONDS = 600


def pytest_collection_modifyitems(config, items):
    quick = config.getoption("--contract-profile") == "quick"
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(FIRST_SECONDS))
        short = SHORT.get(item.path.stem)
        if quick and short is not None and item.originalname not in short:
            item.add_marker(
                pytest.mark.skip(reason="takes long on SQS's imitations: run by make test CONTRACT=default")
            )


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
    if hasattr(request.cls, "profile"):
        quick = request.config.getoption("--contract-profile") == "quick"
        # The driver sends ten messages a call, so a batch of 300 tries all that a batch of thousands would.
        less = LESS["sqs"] if quick else {"batch": LESS["sqs"]["batch"]}
        request.cls.profile = evolve(request.cls.profile, **less)
