"""``make pythons``: the unit tests on every Python that drivetrain supports and that this machine has.

The newest one also measures their coverage, where it can do that cheaply.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

__all__ = ["MINORS", "find", "main"]

ROOT = Path(__file__).parents[2]
#: The minor versions of Python 3 that drivetrain supports.
MINORS = (11, 12, 13, 14)
#: The first minor version that can count lines without slowing them all down (sys.monitoring).
_CHEAP_COVERAGE = 12
_IDENTIFY = "import sys; print(*sys.version_info[:2])"


def main() -> int:
    """Run them; 1 if any has failed."""
    found = find(os.environ)
    failed = []
    for minor in MINORS:
        python = found.get(minor)
        click.echo(f"== Python 3.{minor}: {python or 'not found on this machine; not run'}")
        target = "coverage" if minor == max(found) and minor >= _CHEAP_COVERAGE else "unit"
        if python is not None and not _run(minor, python, target):
            failed.append(f"3.{minor}")
    click.echo(
        f"the unit tests failed on Python {', '.join(failed)}" if failed else "the unit tests passed on all found"
    )
    return 1 if failed else 0


def find(environment: Mapping[str, str]) -> dict[int, Path]:
    """The interpreters of this machine by minor version: the one that runs, those on ``PATH``, and those of pyenv."""
    candidates = [Path(sys.executable)]
    candidates += [
        Path(path)
        for minor in MINORS
        if (path := shutil.which(f"python3.{minor}", path=environment.get("PATH", ""))) is not None
    ]
    if root := environment.get("PYENV_ROOT"):
        candidates += sorted(Path(root, "versions").glob("3.*/bin/python"), reverse=True)
    found: dict[int, Path] = {}
    for candidate in candidates:
        minor = _minor(candidate)
        if minor in MINORS:
            found.setdefault(minor, candidate)
    return found


def _minor(python: Path) -> int | None:
    """The minor version of an interpreter; None if it does not run (a shim of pyenv may not) or is not a Python 3."""
    try:
        done = subprocess.run([python, "-c", _IDENTIFY], capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return None
    parts: Sequence[str] = done.stdout.split()
    return int(parts[1]) if done.returncode == 0 and parts[:1] == ["3"] else None


def _run(minor: int, python: Path, target: str) -> bool:
    """Run a target of the Makefile in a virtual environment of this interpreter; whether they passed."""
    place = [] if python == Path(sys.executable) else [f"VENV=.venv-3.{minor}", f"PYTHON={python}"]
    return subprocess.run(["make", *place, target], cwd=ROOT, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
