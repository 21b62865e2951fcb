"""What commands print, and what they do when it cannot be printed."""

import json
import os
import subprocess
import sys

import pytest

from drivetrain.cli import main

URL = "sqlite:///work.db"
#: More digits than Python writes by itself.
HUGE = 10**5000

COMMANDS = [
    ("--help",),
    ("inspect", "--help"),
    ("version",),
    ("version", "--json"),
    ("drivers",),
    ("drivers", "--json"),
    ("describe", "shop:app"),
    ("describe", "--json", "shop:app"),
    ("inspect", "--app", "shop:app"),
    ("inspect", "--app", "shop:app", "--json"),
    ("result", "--app", "shop:app", "ID"),
    ("result", "--app", "shop:app", "ID", "--json"),
    ("cancel", "--app", "shop:app", "ID"),
    ("cancel", "--app", "shop:app", "ID", "--json"),
    ("purge", "--app", "shop:app", "--yes", "default"),
    ("dead", "list", "--app", "shop:app", "default"),
    ("dead", "replay", "--app", "shop:app", "default"),
    ("dead", "drop", "--app", "shop:app", "--yes", "default", "--json"),
]


class Full:
    """A disk without room."""

    reason = "No space left on device"

    def __enter__(self):
        self.file = open("/dev/full", "w")  # noqa: PTH123
        return self.file

    def __exit__(self, *_):
        self.file.close()


class Broken(Full):
    """A pipe that nobody reads."""

    reason = "Broken pipe"

    def __enter__(self):
        reading, writing = os.pipe()
        os.close(reading)
        self.file = os.fdopen(writing, "w")
        return self.file


@pytest.mark.parametrize("kind", [Full, Broken])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_output_that_cannot_be_written_is_one_line(shop, monkeypatch, capfd, kind, command):
    task_id = shop.add.send(1, 2).id
    with kind() as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        with pytest.raises(SystemExit) as ended:
            main([task_id if word == "ID" else word for word in command])
    assert ended.value.code == 1
    assert capfd.readouterr().err == f"Error: the output cannot be written: {kind.reason}\n"


@pytest.mark.parametrize("command", [("version",), ("drivers", "--json"), ("--help",)], ids=" ".join)
def test_a_process_ends_with_that_line_too(command):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        ended = subprocess.run(
            [sys.executable, "-m", "drivetrain.cli", *command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert (ended.returncode, ended.stderr) == (1, "Error: the output cannot be written: No space left on device\n")


def test_another_error_of_the_system_is_not_taken_for_one_of_the_output(shop, run, monkeypatch):
    def fail(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("drivetrain.app.operations.Operations.sizes", fail)
    assert isinstance(run("--app", "shop:app", "inspect").exception, PermissionError)


class TestHugeNumbers:
    @pytest.fixture
    def huge(self, shop, other_app):
        """A task that has given a huge number, and one that waits with such as arguments."""
        power = shop.app.task(name="shop.power")(lambda power: 10**power)
        handle = power.send(5000)
        with shop.app.worker():
            handle.wait(30)
        other_app.send(other_app.signature("shop.add", HUGE, y={HUGE: [HUGE]}))
        return handle

    def test_as_a_result(self, huge, run):
        before = sys.get_int_max_str_digits()
        assert run("--broker", URL, "result", huge.id).stdout.rstrip().endswith("1" + "0" * 5000)
        assert sys.get_int_max_str_digits() == before

    def test_as_a_result_in_json(self, huge, run):
        told = run("--broker", URL, "result", huge.id, "--json").stdout
        assert '"result": 1' + "0" * 5000 in told

    def test_as_arguments(self, huge, run):
        assert run("--broker", URL, "inspect", "--args").exit_code == 0
        told = run("--broker", URL, "inspect", "--args", "--json").stdout
        assert '"1' + "0" * 5000 + '": [' in told

    def test_as_arguments_of_a_dead_letter(self, shop, run):
        handle = shop.app.send(shop.app.signature("shop.gone", HUGE))
        with shop.app.worker(version_mismatch_seconds=0):
            handle.wait(30)
        assert run("--broker", URL, "dead", "list", "default", "--args").exit_code == 0
        told = run("--broker", URL, "dead", "list", "default", "--args", "--json").stdout
        assert "1" + "0" * 5000 in told


def test_a_document_is_json(run_json):
    assert json.dumps(run_json("version")[1])
