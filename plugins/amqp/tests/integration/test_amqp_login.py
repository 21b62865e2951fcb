"""Connecting and logging in: what the URL says, and what an application passes in ``driver_options``."""

import base64
import hashlib
import hmac
import json
import math
import os
import socket
import ssl
import time
import uuid

import pika
import pytest
from pika.credentials import ExternalCredentials

from drivetrain import App
from drivetrain.contract import AuthenticationFailed, DriverContext, Message, ServiceRefused, ServiceUnavailable
from drivetrain_amqp import AccessToken, connection_manager, make_broker

PATIENCE = 60.0
_TOKEN_KEY = b"tokenkey"
_PLUGINS = "[rabbitmq_auth_backend_oauth2,rabbitmq_auth_mechanism_ssl]."
_SETTINGS = """
auth_backends.1 = internal
auth_backends.2 = rabbit_auth_backend_oauth2
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = EXTERNAL
ssl_cert_login_from = common_name
"""
_OAUTH = (
    '{rabbitmq_auth_backend_oauth2,[{resource_server_id,<<"rabbitmq">>},{key_config,[{default_key,<<"k">>},'
    '{signing_keys,#{<<"k">> => {map,#{<<"kty">> => <<"MAC">>,<<"alg">> => <<"HS256">>,'
    '<<"value">> => <<"tokenkey">>}}}}]}]}'
)


def _accept_tokens_and_certificates(directory):
    settings, advanced = directory / "rabbitmq.conf", directory / "advanced.config"
    settings.write_text(settings.read_text().replace("verify = verify_none", "verify = verify_peer") + _SETTINGS)
    advanced.write_text(advanced.read_text().removesuffix("].") + f",{_OAUTH}].")
    (directory / "enabled_plugins").write_text(_PLUGINS)


@pytest.fixture(scope="module")
def secured(start_rabbit):
    """A RabbitMQ that takes passwords, access tokens, and client certificates."""
    server = start_rabbit(_accept_tokens_and_certificates)
    server.control("add_user", "worker", "not-used")
    server.control("set_permissions", "worker", ".*", ".*", ".*")
    return server


@pytest.fixture
def make():
    made = []

    def make_one(url, **options):
        made.append(make_broker(url, DriverContext(namespace=f"n{uuid.uuid4().hex[:10]}", options=options)))
        return made[-1]

    yield make_one
    for broker in made:
        broker.close()


def works(broker, queue="q"):
    broker.publish([Message(id="m", queue=queue, body=b"body")])
    (delivery,) = broker.receive([queue], limit=1, wait_seconds=20, hold_seconds=60)
    broker.acknowledge([delivery])
    return True


def eventually(what, otherwise):
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.01)


def _connections(server):
    return server.control("list_connections", "--no-table-headers", "client_properties")


def _users(server):
    return server.control("list_connections", "--no-table-headers", "user").split()


def test_a_connection_is_named_after_app_process_and_purpose(rabbit, make):
    name = f"n{uuid.uuid4().hex[:10]}"
    works(make(rabbit.url(options=f"namespace={name}")))
    listed = _connections(rabbit)
    for purpose in ("publish", "receive"):
        assert f"{name}@{socket.gethostname()}:{os.getpid()} {purpose}" in listed


def test_an_application_adds_client_properties(rabbit, make):
    works(make(rabbit.url(), client_properties={"connection_name": "mine", "team": "billing"}))
    listed = _connections(rabbit)
    assert '"mine"' in listed
    assert '"billing"' in listed
    assert "drivetrain-amqp" in listed


def test_an_app_passes_driver_options(rabbit, tmp_path):
    options = {"amqp": {"client_properties": {"connection_name": "by the app"}}}
    with App(rabbit.url(), backend=f"sqlite:///{tmp_path}/r.db", driver_options=options) as app:
        app.runtime.broker.ping()
        assert "by the app" in _connections(rabbit)


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: [one]], ids=["one", "list"])
def test_pikas_parameters_say_how_to_connect(rabbit, make, wrap):
    assert works(make("amqp://", parameters=wrap(pika.URLParameters(rabbit.url()))))


def test_several_parameters_are_tried_in_turn(rabbit, make):
    unused = pika.ConnectionParameters("127.0.0.1", 1)
    assert works(make("amqp://", parameters=[unused, pika.ConnectionParameters("127.0.0.1", rabbit.port)]))


def test_credentials_replace_those_of_the_url(rabbit, make):
    url = rabbit.url(user="guest:wrong")
    with pytest.raises(AuthenticationFailed):
        make(url).ping()
    assert works(make(url, credentials=pika.PlainCredentials("guest", "guest")))


def test_ssl_options_replace_the_files_of_the_url(rabbit, make, certificates):
    context = ssl.create_default_context(cafile=certificates / "ca.crt")
    assert works(make(rabbit.tls_url(), ssl_options=pika.SSLOptions(context)))


def test_a_url_may_turn_the_check_of_the_certificate_off(rabbit, make):
    assert works(make(f"{rabbit.tls_url()}?verify=false"))


# EXTERNAL: client certificates


def test_a_certificate_logs_in_without_a_password(secured, make, certificates):
    files = f"ca_file={certificates}/ca.crt&cert_file={certificates}/client.crt&key_file={certificates}/client.key"
    assert works(make(f"{secured.tls_url().replace('guest:guest', 'worker:')}?{files}"))
    assert "worker" in _users(secured)


def test_external_credentials_log_in_by_the_certificate_of_ssl_options(secured, make, certificates):
    context = ssl.create_default_context(cafile=certificates / "ca.crt")
    context.load_cert_chain(certificates / "client.crt", certificates / "client.key")
    broker = make(secured.tls_url(), ssl_options=pika.SSLOptions(context), credentials=ExternalCredentials())
    assert works(broker)
    assert "worker" in _users(secured)


def test_a_mechanism_that_rabbitmq_does_not_offer_is_an_error(rabbit, make):
    with pytest.raises(AuthenticationFailed, match=r"EXTERNAL.*auth_mechanisms"):
        make(rabbit.url(), credentials=ExternalCredentials()).ping()


# OAuth 2: access tokens


def _token(lifetime_seconds):
    claims = {
        "aud": ["rabbitmq"],
        "scope": [f"rabbitmq.{right}:*/*" for right in ("configure", "write", "read")],
        "exp": math.ceil(time.time() + lifetime_seconds),  # RabbitMQ ignores a fraction
        "client_id": "tokens",
        "jti": uuid.uuid4().hex,
    }
    parts = [_base64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT", "kid": "k"}, claims)]
    signature = hmac.digest(_TOKEN_KEY, ".".join(parts).encode(), hashlib.sha256)
    return ".".join([*parts, _base64(signature)])


def _base64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Source:
    """A token source that counts its calls, and raises in some of them."""

    def __init__(self, seconds, *, said_seconds=None, failing=()):
        self.seconds, self.said_seconds, self.failing = seconds, said_seconds or seconds, failing
        self.calls = 0

    def __call__(self):
        self.calls += 1
        if self.calls in self.failing:
            raise RuntimeError("hunter2")
        return AccessToken(_token(self.seconds), self.said_seconds)


def test_a_token_logs_in_and_the_next_one_comes_before_it_expires(secured, make):
    source = Source(seconds=4)
    broker = make(secured.url(), token=source)
    assert works(broker)
    connections = [broker._publishing.open_connection(), broker._receiving.open_connection()]
    eventually(lambda: source.calls >= 8, "the driver asked for no further tokens")  # the third refresh of both
    assert works(broker, queue="made when the first token has expired")
    assert [broker._publishing.open_connection(), broker._receiving.open_connection()] == connections
    assert all(each.error is None for each in connections), "a connection was lost"


def test_an_expired_token_is_refused_and_a_new_connection_gets_a_new_one(secured, make):
    """The lifetime that the application states is wrong: so this also shows that RabbitMQ checks the token again."""
    source = Source(seconds=1, said_seconds=3600)
    broker = make(secured.url(), token=source)
    broker.ping()
    eventually(lambda: _is_refused(broker), "RabbitMQ accepts a token after its end")
    broker.close()
    source.seconds = 3600
    assert works(broker)


def _is_refused(broker):
    try:
        broker.publish([Message(id="m", queue=uuid.uuid4().hex, body=b"")])
    except ServiceRefused as error:
        return "denies access" in str(error)
    return False


def test_a_refused_token_is_an_authentication_error_that_does_not_show_it(secured, make):
    secret = _token(60)[:-4] + "AAAA"
    with pytest.raises(AuthenticationFailed, match="access token") as caught:
        make(secured.url(), token=lambda: AccessToken(secret, 60)).ping()
    assert secret not in str(caught.value)
    assert secret not in repr(AccessToken(secret, 60))


def test_a_token_source_that_fails_is_an_error_to_try_again_after(secured, make):
    broker = make(secured.url(), token=Source(seconds=3600, failing={1}))
    with pytest.raises(ServiceUnavailable, match="RuntimeError") as caught:
        broker.ping()
    assert "hunter2" not in str(caught.value)
    broker.ping()


def test_a_refresh_that_fails_is_logged_and_tried_again(secured, make, monkeypatch, caplog):
    monkeypatch.setattr(connection_manager, "_TOKEN_RETRY_SECONDS", 0.1)
    source = Source(seconds=3600, said_seconds=0.1, failing={2})
    broker = make(secured.url(), token=source)
    broker.ping()
    eventually(lambda: source.calls > 2, "the driver did not try again")
    assert "trying again in 0.1 seconds" in caplog.text
    assert broker._receiving.open_connection().error is None
