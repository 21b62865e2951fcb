"""A worker under systemd: it says when it is ready, that it lives, and when it stops."""

import os
import signal
import socket

import pytest

from drivetrain.cli.systemd import Systemd

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")


@pytest.fixture
def listener(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(60)
        yield listener


def wait_for(listener, wanted):
    seen = []
    while not any(wanted in one for one in seen):
        seen.append(listener.recv(4096).decode())
    return seen


def test_a_worker_notifies_systemd(listener, app, start_worker, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", listener.getsockname())
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    worker = start_worker("--processes", "2")
    seen = wait_for(listener, "READY=1")
    assert seen[-1] == "READY=1\nSTATUS=2 worker processes run"
    assert set(wait_for(listener, "WATCHDOG=1")) == {"WATCHDOG=1"}
    worker.signal(signal.SIGTERM)
    assert wait_for(listener, "STOPPING=1")[-1].startswith("STOPPING=1\nSTATUS=")
    assert worker.ended() == 0


def test_an_abstract_address(tmp_path):
    name = f"drivetrain-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.settimeout(60)
        Systemd({"NOTIFY_SOCKET": f"@{name}"}).ready("all is well")
        assert listener.recv(4096) == b"READY=1\nSTATUS=all is well"


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_how_often_it_is_alive(environment, seconds):
    assert Systemd(environment).alive_seconds == seconds


def test_a_socket_that_is_gone_does_not_stop_the_worker(tmp_path, caplog):
    Systemd({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("")
    assert "cannot notify systemd" in caplog.text
