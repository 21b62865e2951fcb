"""What helps while tasks are written: reloading, warnings, completion."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from drivetrain import App
from drivetrain.contract import UnknownTask


def test_a_worker_starts_again_when_a_file_changes(project, start_worker):
    worker = start_worker("--reload")
    shop = project / "shop.py"
    shop.write_text(shop.read_text() + "\n\nmissing_name\n")
    worker.wait_for("shop.py has changed; starting the worker again")
    worker.wait_for("importing it failed")
    shop.write_text(shop.read_text().replace("missing_name", "@app.task\ndef more(x: int) -> int:\n    return x"))
    worker.wait_for("shop.py has changed; starting the worker again")
    worker.wait_to_work()
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0


def test_without_watchfiles_the_error_names_the_extra(run, app, monkeypatch):
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    outcome = run("worker", "shop:app", "--reload")
    assert (outcome.exit_code, "pip install 'drivetrain[reload]'" in outcome.stderr) == (2, True)


def test_a_worker_names_the_tasks_without_annotations(project, app, start_worker):
    shop = project / "shop.py"
    shop.write_text(shop.read_text() + "\n\n@app.task\ndef loose(x, y: int, *more) -> int:\n    return y\n")
    worker = start_worker()
    assert [line for line in worker.lines if "`send` cannot check arguments without annotations" in line]
    assert [line for line in worker.lines if "shop.loose (x, more); annotate them" in line]
    assert not [line for line in worker.lines if "shop.add" in line]


def test_a_task_of_an_interactive_session_says_what_is_wrong(monkeypatch, caplog):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    app = App("memory://")

    def add(x: int) -> int:
        return x

    add.__module__, add.__qualname__ = "__main__", "add"
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    app.task(add)
    app.task(name="__main__.again")(add)
    [warning] = caplog.messages
    assert "task __main__.add is defined in an interactive session or a notebook" in warning
    assert "interactive session or a notebook; define it in a module" in str(UnknownTask("__main__.add"))
    assert "import the module that defines it" in str(UnknownTask("shop.add"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell, tmp_path):
    program = Path(sys.executable).with_name("drivetrain")
    told = subprocess.run(
        [program],
        env={**os.environ, "_DRIVETRAIN_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "_DRIVETRAIN_COMPLETE" in told.stdout, told.stderr
