"""What the documents tell to type is typed: commands of `drivetrain` are run, the others are looked up; JSON is read.

Python blocks of docs/ and the README are run by tests/test_docs.py; those of the other READMEs here.
"""

import json
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from drivetrain import App, every
from drivetrain.app.schedule_settings import declarations
from drivetrain.cli import main

ROOT = Path(__file__).resolve().parents[2]
READMES = [*ROOT.glob("plugins/*/README.md"), ROOT / "contract-tests" / "README.md"]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *READMES, *(ROOT / "docs").rglob("*.md")]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = {"", "sh", "shell", "console", "bash"}
PROGRAMS = {"drivetrain", "drivetrain-contract", "make", "pip", "pytest", "python"}


def commands():
    """Every line that begins with a program, in indented blocks and in fences of no other language; once each."""
    found = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fenced = [line for language, code in FENCE.findall(text) if language in SHELL for line in code.splitlines()]
        indented = re.findall(r"^ {4}(\S.*)$", FENCE.sub("", text), re.MULTILINE)
        for line in (*fenced, *indented):
            words = shlex.split(line, comments=True) if line.split()[:1] and line.split()[0] in PROGRAMS else []
            if words:
                found.setdefault(" ".join(words), words)
    return found


COMMANDS = commands()


def of(program):
    return [pytest.param(words, id=line) for line, words in COMMANDS.items() if words[0] == program]


def test_there_are_commands_of_every_kind():
    assert {words[0] for words in COMMANDS.values()} == PROGRAMS


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A project as the pages assume it: ``shop.tasks:app`` and ``tasks:app``, with a task ``ID`` that was put aside."""
    (tmp_path / "shop").mkdir()
    source = (
        "from drivetrain import App\n"
        f"app = App('sqlite:///{tmp_path}/work.db', version_mismatch_seconds=0)\n"
        "@app.task\ndef add(x: int, y: int) -> int:\n    return x + y\n"
    )
    for place in ("shop/tasks.py", "tasks.py"):
        (tmp_path / place).write_text(source)
    with App(f"sqlite:///{tmp_path}/work.db", version_mismatch_seconds=0) as app:
        app.send(app.signature("nobody.knows").set(task_id="ID"))
        for schedule in ("close-books", "report-for-7"):
            app.schedules.put(schedule, app.signature("tasks.add", 1, 2), every(minutes=30))
        app.worker().drain()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("DRIVETRAIN_BROKER", f"sqlite:///{tmp_path}/work.db")
    return tmp_path


@pytest.mark.parametrize("words", of("drivetrain"))
def test_a_command_of_drivetrain_does_what_the_page_says(words, shop):
    if words[1] == "worker":
        return run_worker(words, shop)
    if words[1] == "dashboard":
        return check_dashboard(words)
    asks = {("dead", "drop"), ("schedules", "backfill"), ("schedules", "remove")}
    acts = words[1] == "bulk" and words[2] in {"cancel", "retry", "run-now", "replay", "drop"}
    needs_yes = words[1] == "purge" or tuple(words[1:3]) in asks or acts
    done = CliRunner().invoke(main, [*words[1:], *(["--yes"] if needs_yes else [])])
    # The task ID has failed; what is asked for its result or to be cancelled says so, with 1. It is not lost: 3.
    # The live view of top needs a terminal, and there is none here: 2.
    # ID is no operation on many tasks: 3.
    # No worker serves on this machine: 1. So there is none to stop: 3.
    codes = {
        "health": 1 if "--here" in words else 0,
        "bulk": 3 if words[2:3] in (["show"], ["stop"]) else 0,
        "result": 1,
        "cancel": 1,
        "rescue": 3 if "--end" in words else 0,
        "top": 2,
        "workers": 3 if "stop" in words else 0,
    }
    assert done.exit_code == codes.get(words[1], 0), done.output
    assert done.output.strip()
    return None


def check_dashboard(words):
    """Its options exist. That it serves, and writes users, the tests of its package show."""
    text = CliRunner().invoke(main, ["dashboard", "--help"]).output
    assert [word for word in words if word.startswith("--") and word not in text] == []


def run_worker(words, shop):
    worker = subprocess.Popen(
        [Path(sys.executable).with_name(words[0]), *words[1:]], cwd=shop, stderr=subprocess.PIPE, text=True
    )
    try:
        said = iter(worker.stderr.readline, "")
        assert any("receives from" in line for line in said), "it has not begun"
        worker.send_signal(signal.SIGTERM)
        worker.stderr.read()
        assert worker.wait(timeout=60) == 0
    finally:
        worker.kill()
        worker.wait()
        worker.stderr.close()


@pytest.mark.parametrize("words", of("make"))
def test_a_target_of_make_is_there(words):
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert words[1] in targets


@pytest.mark.parametrize("words", of("pip"))
def test_what_is_to_be_installed_is_ours(words):
    ours = {
        tomllib.loads(path.read_text(encoding="utf-8"))["project"]["name"]
        for path in (
            ROOT / "core" / "pyproject.toml",
            *ROOT.glob("*/pyproject.toml"),
            *ROOT.glob("plugins/*/pyproject.toml"),
        )
        if "project" in tomllib.loads(path.read_text(encoding="utf-8"))
    }
    assert words[1] == "install"
    wanted = {word.partition("[")[0] for word in words[2:] if not word.startswith("-")} - {"."}
    assert wanted <= ours


@pytest.mark.parametrize("words", of("pytest"))
def test_options_of_pytest_are_those_of_the_suite(words, request):
    for option in (word for word in words if word.startswith("--")):
        assert request.config.getoption(option, default=pytest) is not pytest, f"there is no {option}"


@pytest.fixture(scope="module")
def help_of_the_suite():
    program = Path(sys.executable).with_name("drivetrain-contract")
    return subprocess.run([program, "--help"], capture_output=True, text=True, check=True, timeout=110).stdout


@pytest.mark.parametrize("words", of("drivetrain-contract"))
def test_options_of_the_contract_command_are_there(words, help_of_the_suite):
    """That it certifies what it is given, contract-tests/tests/unit/test_frame.py shows."""
    assert [word for word in words if word.startswith("--") and word not in help_of_the_suite] == []


@pytest.mark.parametrize("words", of("python"))
def test_a_program_that_would_be_run_is_reported(words):
    """``tasks.py`` of the README is run by tests/test_docs.py; the others are of the repository."""
    assert words[1] == "tasks.py" or (ROOT / words[1]).exists()


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.parent.name)
def test_the_python_blocks_of_a_readme_run(page):
    blocks = [code for language, code in FENCE.findall(page.read_text(encoding="utf-8")) if language == "python"]
    assert blocks
    space = {"__name__": "readme"}
    try:
        for code in blocks:
            exec(compile(code, str(page), "exec"), space)
        for app in [one for one in space.values() if isinstance(one, App)]:
            assert app.runtime.broker is not None
    finally:
        for app in [one for one in space.values() if isinstance(one, App)]:
            app.close()


def test_blocks_are_of_languages_that_are_run_or_read():
    """TOML is that of the toy's `pyproject.toml`, which tests/installing compares and builds, and of schedules."""
    blocks = [(page, *block) for page in PAGES for block in FENCE.findall(page.read_text(encoding="utf-8"))]
    assert {language for _, language, _ in blocks} - SHELL == {"python", "json", "toml"}
    for _, _, text in (block for block in blocks if block[1] == "json"):
        json.loads(text)
    assert {page.name for page, language, _ in blocks if language == "toml"} == {"guide.md", "write-a-driver.md"}


def test_the_schedules_of_the_guide_can_be_declared_by_settings():
    (text,) = (text for language, text in FENCE.findall((ROOT / "docs" / "guide.md").read_text()) if language == "toml")
    declared = declarations(tomllib.loads(text)["schedule"], App("memory://").signature)
    assert {one.id for one in declared} == {"close-books", "heartbeat"}
