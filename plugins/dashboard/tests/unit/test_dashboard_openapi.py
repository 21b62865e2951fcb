"""The OpenAPI document describes what ``/api/v1`` does: schemathesis sends what fits it, and what does not."""

import json
import warnings

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import one_of

from drivetrain import chain
from drivetrain_dashboard import LocalAuthentication, Role, asgi
from drivetrain_dashboard.actions.catalog import ACTIONS
from drivetrain_dashboard.api.document import document
from drivetrain_dashboard.views.catalog import PAGES
from drivetrain_dashboard.web.encoding import encode

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the library, when it is imported
    import schemathesis
    from schemathesis.specs.openapi.checks import positive_data_acceptance

DOCUMENT = document(base="/api/v1", with_actions=True)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = {one.ok().definition.raw["operationId"]: one.ok() for one in SCHEMA.get_all_operations()}
#: How many requests are sent to each page and action, by the profile of the tests.
EXAMPLES = {"quick": 2, "default": 100, "thorough": 500}
GOOD, BAD = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE


def test_all_pages_and_actions_are_described():
    paths = DOCUMENT["paths"].values()
    assert {one["get"]["operationId"] for one in paths if "get" in one} == set(PAGES)
    assert {one["post"]["operationId"] for one in paths if "post" in one} == set(ACTIONS)
    assert set(OPERATIONS) == {*PAGES, *ACTIONS}


def test_each_field_is_described_by_a_type():
    schemas = DOCUMENT["components"]["schemas"]
    assert {"OverviewPage", "TaskRow", "WorkflowStep", "TaskSelection", "ApiError"} <= set(schemas)
    assert all(schema.get("description") for schema in schemas.values())
    assert "Optional" not in json.dumps(schemas)


def test_the_document_is_served_and_leaves_out_what_the_viewer_may_not_do(app, make_client):
    assert make_client(asgi(app)).read("/openapi.json") == json.loads(encode(DOCUMENT))
    reader = make_client(asgi(app, authentication=LocalAuthentication(role=Role.READ_ONLY)))
    assert not any(path.startswith("/actions/") for path in reader.read("/openapi.json")["paths"])


@pytest.fixture(scope="module")
def fuzzed(new_app, make_client):
    """A browser of a dashboard whose app has a few tasks. No worker runs: fuzzing needs none."""
    with new_app() as app:
        app.signature("add", 1, 2).send()
        chain(app.signature("add", 1, 2), app.signature("add", 3)).send()
        yield make_client(asgi(app, poll_seconds=0.0))


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_sent_is_answered_as_described(request, fuzzed, name):
    operation, most = OPERATIONS[name], EXAMPLES[request.config.getoption("--contract-profile")]
    has_parameters = bool(operation.query) or bool(operation.body)

    @settings(
        max_examples=most,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        one_of(*(operation.as_strategy(generation_mode=mode) for mode in ([GOOD, BAD] if has_parameters else [GOOD])))
    )
    def send(case):
        sent = case.as_transport_kwargs(base_url="http://localhost/api/v1")
        del sent["cookies"]
        if isinstance(sent.get("data"), bytes):
            sent["content"] = sent.pop("data")
        answer = fuzzed.request(**sent)
        # A schema cannot say which queues exist, or which arguments exclude each other.
        case.validate_response(answer, excluded_checks=[positive_data_acceptance])

    send()
