"""Every example runs, and says what it should. The demo too, on a part of its files."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

SAYS = {
    "coroutines.py": ["five: [0, 2, 4, 6, 8]", "one: 42"],
    "cpu_bound.py": ["2262 primes below 20000, counted in child processes"],
    "crawler.py": ["broken: /rust", "read: /", "read: /chains", "read: /links", "read: /spokes", "read: /wheels"],
    "error_reports.py": [
        "failed: no customer",
        "failed: the bank does not answer",
        "reported: error_reports.charge user {'id': 'Ada'} breadcrumbs ['charging Ada'] in attempt 1",
        "reported: error_reports.forget user None breadcrumbs [] in attempt 0",
    ],
    "log_lines.py": [
        "",
        "-: closing",
        "log_lines.sell: selling Emma",
        '{"attempt": 0, "book": "Emma", "event": "sold", "task": "log_lines.sell"}',
        '{"event": "closed"}',
    ],
    "nightly.py": [
        "closed the books at 2026-03-27 02:30",
        "closed the books at 2026-03-29 03:00",
        "closed the books at 2026-03-30 02:30",
        "nights: 4 - the schedule is active",
        "the next night is 2026-03-27 02:30:00+01:00",
    ],
    "replay.py": [
        "failed: builtins.KeyError 'chain'",
        "left: 0",
        "please pay 50",
        "put aside: replay.price chain 2",
        "replayed: 1",
    ],
    "retries.py": [
        "failed: archive did not answer in attempt 4",
        "fetched: news, in attempt 2",
        "reported: builtins.ConnectionError in attempt 4: archive did not answer in attempt 4",
    ],
    "web.py": [
        "before a worker runs: {'state': 'PENDING'}",
        'followed to the end: data: {"state": "SUCCESS"}',
        "no such task: 404",
        "no such text: 422",
        "then: {'state': 'FAILURE', 'error': 'there are no words'}",
        "then: {'state': 'SUCCESS', 'counts': {'boots': 2, 'and': 1}}",
        "words of texts that succeeded: 3",
    ],
    "word_count.py": ["2 chain", "3 turns", "4 the", "left out: builtins.UnicodeDecodeError"],
}


def run(*command, cwd, **environment):
    kept = {name: text for name, text in os.environ.items() if not name.startswith("DRIVETRAIN_")}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**kept, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_example_is_here():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_an_example_says_what_it_should(name, tmp_path):
    said = run(str(EXAMPLES / name), cwd=tmp_path, TMPDIR=str(tmp_path))
    assert sorted(said.splitlines()) == SAYS[name]  # what tasks say comes in any order


def test_the_tests_of_the_tested_shop_pass(tmp_path):
    shop = shutil.copytree(EXAMPLES / "tested_shop", tmp_path / "shop")
    assert "6 passed" in run("-m", "pytest", "-p", "no:cacheprovider", cwd=shop)


def test_the_demo_adds_up(tmp_path):
    said = run("-m", "stdlib_census.demo", "--limit", "300", cwd=EXAMPLES, TMPDIR=str(tmp_path))
    assert said.startswith("300 files of Python")
    assert "one worker was killed with SIGKILL" in said
    assert "The plain loop finds the same." in said
    assert re.search(
        r"^301 tasks ran, \d+ were redelivered, 0 were lost, 0 ran twice after finishing\.$", said, re.MULTILINE
    )
    assert list(tmp_path.glob("drivetrain-demo-*")) == [], "it has left something behind"
