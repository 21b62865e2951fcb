"""The management plugin: its counts, and the errors for its absence, its refusal and other answers."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import quote

import pytest

from drivetrain.contract import AuthenticationFailed, ServiceRefused, ServiceUnavailable
from drivetrain_amqp.admin import Management
from drivetrain_amqp.options import Options
from services.processes import free_port

_ANSWERS = {
    "/api/queues/%2F/app~q?columns=messages_unacknowledged": (200, b'{"messages_unacknowledged": 3}'),
    "/api/queues/%2F/new?columns=messages_unacknowledged": (200, b"{}"),
    "/api/queues/%2F/nonsense?columns=messages_unacknowledged": (200, b"<html>"),
    "/api/queues/%2F/secret?columns=messages_unacknowledged": (401, b""),
    "/api/queues/%2F/broken?columns=messages_unacknowledged": (500, b""),
}


class _Plugin(BaseHTTPRequestHandler):
    authorizations = []

    def do_GET(self):
        self.authorizations.append(self.headers["Authorization"])
        code, body = _ANSWERS.get(self.path, (404, b""))
        self.send_response(code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Not on standard error."""


@pytest.fixture
def plugin():
    with HTTPServer(("127.0.0.1", 0), _Plugin) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield _management(server.server_address[1])
        server.shutdown()
        serving.join()


def _management(port, user="me:hunter2@"):
    url = quote(f"http://{user}127.0.0.1:{port}/", safe="")
    return Management(Options.parse(f"amqp://guest:other@h?management_url={url}"))


def test_messages_in_flight_are_counted(plugin):
    assert [plugin.in_flight(name) for name in ("app~q", "new", "unknown")] == [3, 0, 0]
    assert _Plugin.authorizations[-1] == "Basic bWU6aHVudGVyMg=="


@pytest.mark.parametrize(
    ("name", "kind"),
    [("nonsense", ServiceRefused), ("secret", AuthenticationFailed), ("broken", ServiceUnavailable)],
)
def test_another_answer_is_a_drivetrain_error(plugin, name, kind):
    with pytest.raises(kind) as caught:
        plugin.in_flight(name)
    assert caught.value.__cause__ is not None
    assert "hunter2" not in str(caught.value)


def test_its_absence_is_a_drivetrain_error():
    with pytest.raises(ServiceUnavailable, match="management plugin"):
        _management(free_port()).in_flight("q")
