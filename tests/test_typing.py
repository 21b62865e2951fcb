"""What is wrong in ``tests/typing/wrong.py`` is noticed, each line for the reason that it gives."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MARK = re.compile(r"\s*# type: ignore\[(.*?)]")
ERROR = re.compile(r"wrong\.py:(\d+): error: .*\[([a-z-]+)]$", re.MULTILINE)


def test_every_wrong_line_is_an_error(tmp_path):
    source = (ROOT / "tests" / "typing" / "wrong.py").read_text()
    expected = {
        (number, code.strip())
        for number, line in enumerate(source.splitlines(), start=1)
        if (mark := MARK.search(line))
        for code in mark[1].split(",")
    }
    assert len(expected) > 10
    unmarked = tmp_path / "wrong.py"
    unmarked.write_text(MARK.sub("", source))
    told = mypy(unmarked)
    assert {(int(line), code) for line, code in ERROR.findall(told.stdout)} == expected, told.stdout + told.stderr
    assert told.returncode == 1


def test_correct_code_has_no_type_errors():
    told = mypy(ROOT / "tests" / "typing" / "right.py")
    assert [line for line in told.stdout.splitlines() if "right.py" in line] == []
    assert told.returncode in {0, 1}, told.stderr


def test_examples_have_no_errors_under_the_strictest_rules():
    examples = [*sorted((ROOT / "examples").glob("*.py")), ROOT / "examples" / "stdlib_census" / "tasks.py"]
    assert len(examples) > 7
    told = mypy("--strict", *examples, config="")
    assert (told.returncode, told.stdout) == (0, ""), told.stdout + told.stderr


def mypy(*arguments, config="pyproject.toml"):
    return subprocess.run(
        [sys.executable, "-m", "mypy", f"--config-file={config}", "--no-error-summary", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
