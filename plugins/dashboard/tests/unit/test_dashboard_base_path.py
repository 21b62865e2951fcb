"""Below a base path: mounted in another application, or behind a proxy that removes a prefix."""

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from drivetrain_dashboard import LocalAuthentication, ProxyAuthentication, Role, asgi
from drivetrain_dashboard.web.links import Links, base_path

SAME_ORIGIN = {"sec-fetch-site": "same-origin"}


@pytest.mark.parametrize(
    ("root", "prefix", "base"),
    [
        ("", "", ""),
        ("/", "/", ""),
        ("/tasks", "", "/tasks"),
        ("", "drivetrain/", "/drivetrain"),
        ("/tasks", "/a/b", "/a/b/tasks"),
        ("", "//evil.example", "/evil.example"),
    ],
)
def test_the_base_is_a_path_of_this_site(root, prefix, base):
    assert base_path(root, prefix) == base


def test_links_have_the_base_and_leave_out_what_is_empty():
    link = Links("/ops")
    assert link("overview") == "/ops/"
    assert link("tasks", q="state:failed task:a&b", cursor="", count=True) == (
        "/ops/tasks?q=state%3Afailed+task%3Aa%26b&count=1"
    )
    assert link("api", page="overview") == "/ops/api/v1/overview"
    assert link("live", page="task", id="1/2") == "/ops/live?page=task&id=1%2F2"
    assert link("static", file="dashboard.css") == "/ops/static/dashboard.css"
    assert link("action", action="queues.pause") == "/ops/do/queues.pause"
    assert (link.is_within("/ops/tasks?q=x"), link.is_within("/other"), link.is_within("//evil")) == (
        True,
        False,
        False,
    )


def test_it_works_when_it_is_mounted(app, make_client):
    client = make_client(Starlette(routes=[Mount("/ops", asgi(app))]))
    page = client.page("/ops/queues")
    assert 'href="/ops/tasks"' in page
    assert 'href="/tasks"' not in page
    answer = client.post("/ops/do/queues.pause", data={"queue": "x", "back": "/ops/queues"}, headers=SAME_ORIGIN)
    assert answer.headers["location"].startswith("/ops/queues?notice=")
    assert client.get("/ops/api/v1/queues").status_code == 200
    assert client.get("/ops/api/v1/nothing").json()["status"] == 404
    assert client.get("/ops/api/v1/openapi.json").json()["servers"] == [{"url": "/ops/api/v1"}]
    assert client.get("/ops/static/dashboard.css").status_code == 200
    assert client.get("/ops/health").text == "ok\n"


def test_a_prefix_is_believed_only_of_a_trusted_proxy(app, make_client):
    sent = {"x-forwarded-user": "ann", "x-forwarded-prefix": "/ops"}
    authentication = ProxyAuthentication(trusted=["10.0.0.0/8"], default_role=Role.OPERATOR)
    application = asgi(app, authentication=authentication, trusted_proxies=["10.0.0.1"])
    assert 'href="/ops/tasks"' in make_client(application, address="10.0.0.1", headers=sent).page("/queues")
    assert 'href="/tasks"' in make_client(application, address="10.0.0.2", headers=sent).page("/queues")


def test_the_origin_is_compared_with_the_host_that_the_browser_sees(app, make_client):
    sent = {"x-forwarded-user": "ann", "x-forwarded-host": "ops.example", "origin": "https://ops.example"}
    authentication = ProxyAuthentication(trusted=["10.0.0.0/8"], default_role=Role.OPERATOR)
    application = asgi(app, authentication=authentication, trusted_proxies=["10.0.0.1"])
    pause = {"queue": "x"}
    trusted, other = (make_client(application, address=f"10.0.0.{end}", headers=sent) for end in (1, 2))
    assert trusted.post("/do/queues.pause", data=pause).status_code == 303
    assert other.post("/do/queues.pause", data=pause).status_code == 403


def test_a_local_viewer_below_a_base_path(app, make_client):
    application = asgi(app, authentication=LocalAuthentication(role=Role.READ_ONLY))
    client = make_client(application, root_path="/ops")
    assert 'href="/ops/tasks"' in client.page("/ops/queues")
