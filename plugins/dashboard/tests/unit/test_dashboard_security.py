"""Security: who is let in, what each role may do, where requests may come from, and what answers contain."""

import base64
import html
import json
import logging
from functools import partial

import pytest

from drivetrain.contract import ConfigurationError
from drivetrain_dashboard import (
    BasicAuthentication,
    LocalAuthentication,
    ProxyAuthentication,
    Role,
    User,
    asgi,
    hash_password,
)
from drivetrain_dashboard.actions.catalog import ACTIONS
from drivetrain_dashboard.views.catalog import PAGES
from drivetrain_dashboard.views.page import Offer
from drivetrain_dashboard.web.encoding import encode

#: Arguments of each action that do no harm: they name nothing that exists.
ARGUMENTS = {
    "tasks.cancel": {"ids": ["x"]},
    "tasks.retry": {"ids": ["x"]},
    "tasks.run_now": {"ids": ["x"]},
    "queues.pause": {"queue": "x"},
    "queues.resume": {"queue": "x"},
    "queues.purge": {"queue": "x"},
    "schedules.pause": {"schedule": "x"},
    "schedules.resume": {"schedule": "x"},
    "schedules.trigger": {"schedule": "x"},
    "schedules.backfill": {"schedule": "x", "start": "2h", "end": "1h"},
    "schedules.remove": {"schedule": "x"},
    "limits.set": {"name": "x", "limit": 1},
    "limits.reset": {"name": "x"},
    "dead_letters.replay": {"queue": "x", "ids": ["x"]},
    "dead_letters.drop": {"queue": "x", "ids": ["x"]},
    "operations.stop": {"id": "x"},
    "workers.stop": {"worker": "x"},
}
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}
#: An action that a name is enough for, and a form of it.
PAUSE = partial("/do/{}".format, "queues.pause")


def basic(name, password):
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@pytest.fixture(scope="module")
def users():
    hashed = hash_password("secret")
    return {role.value: User(password_hash=hashed, role=role) for role in Role}


@pytest.fixture
def client_of(app, make_client):
    """Makes a client whose user has a role."""
    return lambda role, **options: make_client(asgi(app, authentication=LocalAuthentication(role=role), **options))


def both(client, action):
    """The statuses of the answers to an action as a form, and by JSON."""
    arguments = ARGUMENTS[action]
    form = client.post(f"/do/{action}", data={**arguments, "confirmed": "1"}, headers=SAME_ORIGIN)
    return form, client.post(f"/api/v1/actions/{action}", json=arguments)


# Roles


def test_each_action_is_tested():
    assert set(ARGUMENTS) == set(ACTIONS)


@pytest.mark.parametrize("action", ACTIONS)
def test_for_a_read_only_viewer_actions_do_not_exist(client_of, action):
    assert [answer.status_code for answer in both(client_of(Role.READ_ONLY), action)] == [404, 404]


@pytest.mark.parametrize("action", ACTIONS)
def test_a_read_only_dashboard_has_no_actions_for_anybody(client_of, action):
    client = client_of(Role.ADMIN, read_only=True)
    assert [answer.status_code for answer in both(client, action)] == [404, 404]
    assert not any(path.startswith("/actions") for path in client.read("/openapi.json")["paths"])


@pytest.mark.parametrize("action", ACTIONS)
def test_an_operator_may_do_what_needs_no_admin(client_of, action):
    client = client_of(Role.OPERATOR)
    _, answer = both(client, action)
    assert (answer.status_code == 403) is (ACTIONS[action].role is Role.ADMIN)
    if answer.status_code == 403:
        assert answer.json()["error"] == "It needs the role admin, and yours is operator."


@pytest.mark.parametrize("action", ACTIONS)
def test_an_admin_may_do_everything(client_of, action):
    form, answer = both(client_of(Role.ADMIN), action)
    assert form.status_code == 303
    assert answer.status_code in {200, 404, 422}  # some find nothing of this name


def test_what_destroys_needs_an_admin():
    admin = {name for name, kind in ACTIONS.items() if kind.role is Role.ADMIN}
    assert {"queues.purge", "dead_letters.drop", "schedules.remove", "limits.set"} <= admin
    assert not any(kind.role is Role.READ_ONLY for kind in ACTIONS.values())


def test_pages_say_why_an_action_cannot_be_done(client_of):
    offers = {role: client_of(role).read("/queues")["offers"]["queues.purge"]["refusal"] for role in Role}
    assert offers == {
        Role.READ_ONLY: "Your role is read-only.",
        Role.OPERATOR: "It needs the role admin, and yours is operator.",
        Role.ADMIN: "",
    }


def test_a_hook_decides_by_user_action_and_object(app, make_client):
    asked = []

    def authorize(viewer, action, subject):
        asked.append((viewer.name, action, subject))
        return subject != "secret"

    client = make_client(asgi(app, authorize=authorize))
    assert client.post("/api/v1/actions/queues.pause", json={"queue": "open"}).status_code == 200
    assert client.post("/api/v1/actions/queues.pause", json={"queue": "secret"}).status_code == 403
    assert client.act("tasks.cancel", 403, ids=["a", "secret"])["error"] == "You may not do it here."
    assert ("local", "queues.pause", "secret") in asked
    assert list(app.operations.paused(["open", "secret"])) == ["open"]


def test_a_hook_hides_pages_and_arguments(app, make_client, worked):
    hidden = {("view", "limits"), ("task.arguments", worked["failed"])}
    client = make_client(asgi(app, authorize=lambda _viewer, action, subject: (action, subject) not in hidden))
    client.page("/limits", status=403)
    client.read("/limits", status=403)
    assert client.get("/live?page=limits").status_code == 403
    assert "/limits" not in client.page("/")
    client.read(f"/task?id={worked['failed']}")
    client.read(f"/task?id={worked['failed']}&arguments=true", status=403)


def test_a_read_only_viewer_sees_no_arguments(client_of, worked):
    client_of(Role.READ_ONLY).read(f"/task?id={worked['failed']}&arguments=true", status=403)


# Who is let in


def test_without_authentication_only_this_machine_is_answered(app, make_client):
    application = asgi(app)
    make_client(application).page("/")
    make_client(application, address="::1", host="[::1]:9770").page("/")
    for other in (
        {"address": "10.0.0.7"},
        {"host": "dashboard.example"},  # a page whose name points to 127.0.0.1
        {"headers": {"x-forwarded-for": "10.0.0.7"}},
        {"headers": {"forwarded": "for=10.0.0.7"}},
    ):
        answer = make_client(application, **other).get("/")
        assert answer.status_code == 403
        assert "Configure one: asgi(app, authentication=" in answer.text
        assert make_client(application, **other).get("/api/v1/overview").json()["status"] == 403


def test_health_needs_no_authentication_and_says_nothing(app, make_client):
    answer = make_client(asgi(app), address="10.0.0.7").get("/health")
    assert (answer.status_code, answer.text) == (200, "ok\n")


def test_everything_else_needs_authentication(app, make_client, users):
    client = make_client(asgi(app, authentication=BasicAuthentication(users)), address="10.0.0.7", host="d.example")
    paths = [kind.path for kind in PAGES.values()]
    for path in [
        *paths,
        *(f"/api/v1{path}" for path in paths),
        "/api/v1/openapi.json",
        "/live?page=overview",
        "/static/x",
    ]:
        answer = client.get(path)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"].startswith("Basic realm=")
    for action in ACTIONS:
        assert {answer.status_code for answer in both(client, action)} == {401}


def test_names_and_passwords(app, make_client, users):
    client = make_client(asgi(app, authentication=BasicAuthentication(users)), address="10.0.0.7", host="d.example")
    for _ in range(2):  # the second time, the credentials are remembered
        assert client.get("/", headers=basic("admin", "secret")).status_code == 200
    wrong = [
        basic("admin", "Secret"),
        basic("admin", ""),
        basic("nobody", "secret"),
        {"authorization": "Bearer secret"},
        {"authorization": "Basic ?"},
        {"authorization": "Basic " + base64.b64encode(b"admin").decode()},
        {"authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()},
    ]
    assert {client.get("/", headers=one).status_code for one in wrong} == {401}
    headers = {**basic("read-only", "secret"), **SAME_ORIGIN}
    assert client.post("/do/queues.pause", data={"queue": "x"}, headers=headers).status_code == 404


def test_passwords_are_hashed_and_not_shown(users):
    one, other = hash_password("secret"), hash_password("secret")
    assert one != other
    assert "secret" not in one
    assert "scrypt" not in repr(users["admin"])
    with pytest.raises(ConfigurationError, match="the password is empty"):
        hash_password("")
    with pytest.raises(ConfigurationError, match="a password hash is wrong"):
        User(password_hash="secret")


def test_a_proxy_says_who_it_is(app, make_client):
    authentication = ProxyAuthentication(trusted=["10.0.0.0/8"], user_header="X-User", roles={"ann": Role.ADMIN})
    application = asgi(app, authentication=authentication)
    client = make_client(application, address="10.1.2.3", host="d.example")
    pause = partial(client.post, "/api/v1/actions/queues.pause", json={"queue": "x"})
    assert pause(headers={"x-user": "ann"}).status_code == 200
    assert pause(headers={"x-user": "bob"}).status_code == 404
    assert client.get("/").status_code == 401
    assert app.operations.paused(["x"])["x"].by == "ann"
    stranger = make_client(application, address="192.168.0.1", host="d.example")
    assert stranger.get("/", headers={"x-user": "ann"}).status_code == 403


def test_a_proxy_that_sends_two_names_is_not_believed(app, make_client):
    client = make_client(asgi(app, authentication=ProxyAuthentication(trusted=["10.0.0.1"])), address="10.0.0.1")
    twice = [("X-Forwarded-User", "ann"), ("X-Forwarded-User", "root")]
    assert client.get("/", headers=twice).status_code == 401


def test_a_proxy_says_the_role(app, make_client):
    authentication = ProxyAuthentication(trusted=["unix"], role_header="X-Role", default_role=None)
    client = make_client(asgi(app, authentication=authentication), address="")
    user = {"x-forwarded-user": "ann"}
    assert client.get("/", headers={**user, "x-role": "operator"}).status_code == 200
    assert client.get("/", headers={**user, "x-role": "root"}).status_code == 403
    assert client.get("/", headers=user).status_code == 403


def test_wrong_configuration_is_refused():
    with pytest.raises(ConfigurationError, match="has no users"):
        BasicAuthentication({})
    with pytest.raises(ConfigurationError, match="without a colon"):
        BasicAuthentication({"a:b": User(password_hash=hash_password("x"))})
    with pytest.raises(ConfigurationError, match="'proxy' is not an address of a proxy"):
        ProxyAuthentication(trusted=["proxy"])


# Where requests come from


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "same-origin"}, 303),
        ({"origin": "http://localhost"}, 303),
        ({"origin": "http://localhost:80"}, 303),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": "http://localhost"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://localhost.evil.example"}, 403),
        ({"origin": "http://localhost:8000"}, 403),
        ({"origin": "null"}, 403),
        ({}, 403),
        ({"content-type": "application/json", "origin": "https://evil.example"}, 403),
    ],
)
def test_forms_of_other_sites_are_refused(app, client, headers, status):
    headers = {"content-type": "application/x-www-form-urlencoded", **headers}
    assert client.post("/do/queues.pause", content="queue=x", headers=headers).status_code == status
    assert bool(app.operations.paused(["x"])) is (status == 303)


def test_json_of_a_program_needs_no_origin_and_of_another_site_is_refused(client):
    address, body = "/api/v1/actions/queues.pause", {"queue": "x"}
    assert client.post(address, json=body).status_code == 200
    assert client.post(address, json=body, headers={"origin": "https://evil.example"}).status_code == 403
    assert client.post(address, json=body, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    text = {"content-type": "text/plain", "sec-fetch-site": "same-origin"}
    assert client.post(address, content=json.dumps(body), headers=text).status_code == 415


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("action", ["queues.purge", "tasks.retry"])
def test_actions_are_done_by_post_only(client, action, method):
    for path in (f"/do/{action}?queue=x&ids=x", f"/api/v1/actions/{action}?queue=x&ids=x"):
        assert client.request(method, path, headers=SAME_ORIGIN).status_code in {404, 405}


# What answers contain


def test_each_answer_has_a_policy_with_a_nonce_of_its_own(client, worked):
    nonces = set()
    for path in ("/", "/tasks", "/nothing", "/api/v1/overview", "/health", "/static/nothing"):
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == ("no-cache" if path.startswith("/static/") else "no-store")
        assert "access-control-allow-origin" not in answer.headers
        nonces.add(policy.partition("'nonce-")[2].partition("'")[0])
    assert len(nonces) == 6


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; alert(1); //",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "\u202eevil\x00\x1b[31m\r\nSet-Cookie: a=b",
    "a" * 900,
]


@pytest.fixture(params=HOSTILE, ids=range(len(HOSTILE)))
def hostile(request, app):
    """A text that is the name of a task and of a queue, the argument and the failure of a task."""
    text = request.param

    @app.task(name=text, queue=text)
    def harmful(value: str) -> None:
        raise ValueError(value)

    return text


def test_hostile_texts_are_escaped_on_each_page(app, client, hostile):
    failed = app.signature(hostile, hostile).send()
    with app.worker(name=hostile, queues=[hostile]):
        assert failed.wait(30)
        for kind in PAGES.values():
            answer = client.get(
                kind.path, params={"id": failed.id} if kind.path in {"/task", "/workflow", "/operation"} else {}
            )
            assert answer.status_code == 200, kind.name
            for tag in ("<script>alert", "<img", "onerror=alert(1)>\n"):
                assert tag not in answer.text
    waiting = app.signature(hostile, hostile).send()
    client.page(f"/task?id={waiting.id}&arguments=true")
    client.submit("queues.pause", queue=hostile, why="<script>alert(1)</script>")
    for kind in PAGES.values():
        text = client.get(
            kind.path, params={"id": waiting.id} if kind.path in {"/task", "/workflow", "/operation"} else {}
        ).text
        assert "<script>alert" not in text


def test_hostile_texts_are_whole_in_json(app, client, hostile):
    failed = app.signature(hostile, hostile).send()
    with app.worker(queues=[hostile]):
        assert failed.wait(30)
    page = client.read(f"/task?id={failed.id}&arguments=true")
    assert page["task"] == page["queue"] == page["failure"]["message"] == hostile
    assert client.get(f"/api/v1/task?id={failed.id}").headers["content-type"] == "application/json"


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.isascii() and len(text) < 1000])
def test_hostile_parameters_are_escaped(client, text):
    for path, name in (
        ("/tasks", "q"),
        ("/task", "id"),
        ("/queues", "queue"),
        ("/dead-letters", "reason"),
        ("/tasks", "x"),
    ):
        answer = client.get(path, params={name: text})
        assert "<script>alert" not in answer.text
        assert "<img" not in answer.text
        assert "set-cookie" not in answer.headers
    question = client.post("/do/queues.purge", data={"queue": text}, headers=SAME_ORIGIN).text
    assert "<script>alert" not in question
    assert html.escape(text[:10]) in question or "&" in question


def test_half_a_surrogate_pair_is_escaped():
    assert json.loads(encode(Offer(action="a", label="\ud800 lone")))["label"] == "\\ud800 lone"


# The audit


def test_each_action_is_in_the_audit(app, make_client, caplog, worked):
    client = make_client(asgi(app, authentication=LocalAuthentication(name="ann", role=Role.OPERATOR)))
    with caplog.at_level(logging.INFO, logger="drivetrain.dashboard.audit"):
        client.act("queues.pause", queue="default", why="deploy")
        client.act("queues.purge", 403, queue="default")
        client.act("schedules.trigger", 404, schedule="nothing")
        client.read(f"/task?id={worked['failed']}&arguments=true")
    found = [record for record in caplog.records if record.name == "drivetrain.dashboard.audit"]
    fields = [(one.audit_user, one.audit_action, one.audit_object, one.audit_verdict) for one in found]
    assert fields == [
        ("ann", "queues.pause", "default", "done"),
        ("ann", "queues.purge", "default", "refused"),
        ("ann", "schedules.trigger", "nothing", "failed"),
        ("ann", "task.arguments", worked["failed"], "done"),
    ]
    assert [one.levelname for one in found] == ["INFO", "WARNING", "WARNING", "INFO"]
    assert all(one.audit_address == "127.0.0.1" and one.audit_role == "operator" for one in found)
    json.dumps([{name: value for name, value in vars(one).items() if name.startswith("audit_")} for one in found])


def test_a_hostile_name_cannot_forge_a_line_of_the_audit(app, make_client, caplog):
    client = make_client(asgi(app))
    with caplog.at_level(logging.INFO, logger="drivetrain.dashboard.audit"):
        client.act("queues.pause", queue="x\nINFO queues.purge done")
    [record] = [one for one in caplog.records if one.name == "drivetrain.dashboard.audit"]
    assert "\n" not in record.getMessage()


# Bodies


def test_a_body_is_bounded(client):
    answer = client.post("/do/tasks.cancel", content=b"ids=" + b"x" * 300_000, headers=SAME_ORIGIN)
    assert answer.status_code == 413
    assert client.act("tasks.cancel", 413, ids=["x" * 1000] * 300)
    assert client.act("tasks.cancel", 422, ids=["x"] * 1001)


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"queue": 1}', b'{"queue": "x", "more": 1}', b"\xff", b"[" * 100_000, b""]
)
def test_a_wrong_body_is_refused(client, body):
    answer = client.post("/api/v1/actions/queues.pause", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("The body is wrong")


@pytest.mark.parametrize("form", [b"queue", b"queue=x&more=1", b"\xff=1", b"queue=", b"&".join([b"a=1"] * 3000)])
def test_a_wrong_form_is_refused(client, form):
    headers = {"content-type": "application/x-www-form-urlencoded", **SAME_ORIGIN}
    assert client.post("/do/queues.pause", content=form, headers=headers).status_code == 422
