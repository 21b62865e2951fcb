"""Connecting to a real RabbitMQ: hosts, virtual hosts, TLS, and the errors of a refused connection."""

import socket
import threading

import pytest

from drivetrain.contract import (
    AuthenticationFailed,
    ServiceError,
    ServiceRefused,
    ServiceUnavailable,
)
from services.processes import free_port
from support.messages import message

HOLD = 60.0
PATIENCE = 60.0


def test_a_wrong_password_is_reported(rabbit, make):
    broker = make(rabbit.url(user="guest:hunter2"))
    with pytest.raises(AuthenticationFailed, match="user name or password") as caught:
        broker.ping()
    assert caught.value.__cause__ is not None
    assert "hunter2" not in str(caught.value)


def test_a_missing_virtual_host_is_reported(rabbit, make):
    with pytest.raises(ServiceRefused, match="vhost nowhere not found"):
        make(rabbit.url("nowhere")).publish([message()])


def test_tls_carries_large_messages_both_ways_at_once(rabbit, make, certificates):
    """Four threads publish while another one receives: what OpenSSL keeps is used by one at a time."""
    broker = make(rabbit.tls_url(), f"&ca_file={certificates}/ca.crt")
    sent = [message(f"{number}", body=bytes([number]) * 300_000) for number in range(40)]
    broker.ping()
    threads = [threading.Thread(target=broker.publish, args=(sent[start::4],)) for start in range(4)]
    for each in threads:
        each.start()
    came = {}
    while len(came) < 40:
        taken = broker.receive(["q"], limit=10, wait_seconds=20, hold_seconds=HOLD)
        assert taken
        came |= {each.message.id: each.message.body for each in taken}
        broker.acknowledge(taken)
    for each in threads:
        each.join(PATIENCE)
    assert came == {each.id: each.body for each in sent}


def test_an_untrusted_certificate_is_reported(rabbit, make):
    with pytest.raises(ServiceRefused, match="ca_file"):
        make(rabbit.tls_url()).ping()


def test_virtual_hosts_do_not_meet(rabbit, make, namespace):
    there, here = make(rabbit.add_vhost(f"v {namespace}")), make(rabbit.url())
    there.publish([message("there")])
    assert not here.receive(["q"], limit=1, wait_seconds=0.1, hold_seconds=HOLD)
    assert [each.message.id for each in there.receive(["q"], limit=2, wait_seconds=5, hold_seconds=HOLD)] == ["there"]


def test_hosts_are_tried_in_turn(rabbit, make):
    """The first that answers is used; and when none does, the error names all of them."""
    unused, url = f"127.0.0.1:{free_port()}", rabbit.url()
    broker = make(url.replace("@", f"@{unused},"))
    broker.publish([message()])
    assert broker.receive(["q"], limit=1, wait_seconds=5, hold_seconds=HOLD)
    with pytest.raises(ServiceUnavailable) as caught:
        make(f"amqp://{unused},127.0.0.2:{unused.rpartition(':')[2]}").ping()
    assert unused in str(caught.value)
    assert "127.0.0.2" in str(caught.value)


def test_a_service_that_speaks_something_else_is_an_error(make):
    with socket.create_server(("127.0.0.1", 0)) as server:
        broker = make(f"amqp://127.0.0.1:{server.getsockname()[1]}", "&connect_timeout_seconds=5")

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(8)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        answering = threading.Thread(target=answer)
        answering.start()
        with pytest.raises(ServiceError):
            broker.ping()
        answering.join(PATIENCE)
