"""``drivetrain dashboard``: what it refuses, the users that it writes, and that it serves."""

import re
import signal
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from importlib import metadata

import importlib_metadata
import pytest
from click.testing import CliRunner

from drivetrain.cli.program import main
from drivetrain.contract import ConfigurationError
from drivetrain_dashboard.web.users_file import read_users

APP = """
from drivetrain import App

app = App("sqlite:///work.db", name="shop")
"""


def run(*arguments, text=None):
    return CliRunner().invoke(main, ["dashboard", *arguments], input=text)


def test_it_is_a_command_of_drivetrain():
    assert "dashboard" in CliRunner().invoke(main, ["--help"]).output
    assert "--read-only" in run("--help").output


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "shop.example", "::"])
def test_without_authentication_it_is_not_shown_to_the_network(host):
    done = run("--broker", "memory://", "--host", host)
    assert done.exit_code == 2
    assert f"--host {host} would show the dashboard to the network, without authentication" in done.output


def test_users_are_written_replaced_and_read(tmp_path):
    users = tmp_path / "users"
    for name, role in (("ann", "operator"), ("bob", "read-only"), ("ann", "admin")):
        done = run("--users", str(users), "--add-user", name, "--role", role, text="secret\nsecret\n")
        assert done.exit_code == 0, done.output
        assert "secret" not in done.output
    assert stat.S_IMODE(users.stat().st_mode) == 0o600
    assert {name: user.role.value for name, user in read_users(users).items()} == {"ann": "admin", "bob": "read-only"}
    assert read_users(users)["ann"].has_password("secret")
    assert "secret" not in users.read_text()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "has no users"),
        ("ann:admin\n", "line 1 has 2 parts"),
        ("# users\nann:boss:scrypt$a$b\n", "line 2 has the role 'boss'"),
        ("ann:admin:secret\n", "a password hash is wrong"),
        ("ann:admin:scrypt$aaaa$aaaa\nann:admin:scrypt$aaaa$aaaa\n", "there is a user 'ann' already"),
    ],
)
def test_a_wrong_file_of_users_is_refused(tmp_path, text, error):
    (tmp_path / "users").write_text(text)
    with pytest.raises(ConfigurationError, match=re.escape(error)):
        read_users(tmp_path / "users")
    assert run("--broker", "memory://", "--users", str(tmp_path / "users")).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--add-user", "ann"], "--add-user needs --users FILE"),
        (["--user-header", "X-User"], "--user-header needs --trusted-proxy ADDRESS"),
        (["--user-header", "X-User", "--users", "x"], "exclude each other"),
        (["--user-header", "X-User", "--trusted-proxy", "proxy"], "'proxy' is not an address of a proxy"),
        (["--users", "/nothing"], "cannot read the users of the dashboard"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments, error):
    done = run("--broker", "memory://", *arguments)
    assert done.exit_code == 2
    assert error in done.output


def test_it_serves_until_it_is_stopped(tmp_path):
    (tmp_path / "shop.py").write_text(APP)
    program = [sys.executable, "-m", "drivetrain.cli", "dashboard", "shop:app", "--port", "0", "--log-format", "json"]
    with subprocess.Popen(program, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())[0]
            with urllib.request.urlopen(f"{address}api/v1/overview", timeout=30) as answer:
                assert b'"app":"shop"' in answer.read()
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(urllib.request.Request(address, headers={"Host": "evil.example"}), timeout=30)
        finally:
            process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    assert "Traceback" not in log


def test_a_port_that_is_in_use_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("--broker", "memory://", "--port", port)
    assert done.exit_code == 2
    assert f"cannot listen on 127.0.0.1:{port}" in done.output


# Commands of packages


@pytest.fixture
def entry_points(monkeypatch):
    """Makes ``drivetrain`` find these commands of packages."""

    def find(**values):
        group = "drivetrain.commands"
        points = [importlib_metadata.EntryPoint(name, value, group) for name, value in values.items()]
        monkeypatch.setattr(importlib_metadata, "entry_points", lambda **_: points)

    return find


def test_a_command_of_a_missing_package_says_what_to_install(entry_points):
    entry_points()
    done = run()
    assert done.exit_code == 2
    assert "the command 'dashboard' needs a package: pip install drivetrain-dashboard" in done.output
    assert "No such command 'dashbord'" in CliRunner().invoke(main, ["dashbord"]).output


def test_a_command_that_cannot_be_imported_does_not_break_the_others(entry_points):
    entry_points(broken="nothing.here:command", wrong="json:dumps", version="json:dumps")
    assert CliRunner().invoke(main, ["--help"]).exit_code == 0
    assert metadata.version("drivetrain") in CliRunner().invoke(main, ["version"]).output
    done = CliRunner().invoke(main, ["broken", "--any", "option"])
    assert done.exit_code == 2
    assert (
        "the command 'broken' of its package does not work: it cannot be imported (nothing.here:command)" in done.output
    )
    assert "json:dumps is not a click command" in CliRunner().invoke(main, ["wrong"]).output
