"""``make matrix``: runs pairs one after the other, keeps what each has shown, prints the table and writes the page.

A pair's outcome is kept as soon as the pair has ended: what was stopped half-way goes on with ``--missing``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from matrix.page import PAGE, table, text
from matrix.pairs import Pair, named, pairs
from matrix.results import Matrix, from_report, lacking

_UNDER_TEST = Path(__file__).with_name("contract_of_pair.py")
_ROOT = Path(__file__).parents[2]
#: For one check: on a machine that does other things as well, a slow service may take minutes.
_CHECK_SECONDS = 1_800


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; 1 if any pair was not sound."""
    parser = ArgumentParser(prog="make matrix ARGS=…", description=__doc__)
    parser.add_argument("pairs", nargs="*", metavar="BROKER+BACKEND", help="such as redis+mongodb; none: all")
    parser.add_argument("--missing", action="store_true", help="only pairs without a sound result")
    parser.add_argument("--page", action="store_true", help="run nothing: print the table and write the page")
    parser.add_argument("--profile", default="quick", choices=("quick", "default", "thorough"))
    asked = parser.parse_args(arguments)
    try:
        chosen = [named(name) for name in asked.pairs] or pairs()
    except ValueError as error:
        parser.error(str(error))
    matrix = Matrix.read()
    wanted = [pair for pair in chosen if not asked.missing or pair in lacking(matrix)]
    unsound = [pair for pair in ([] if asked.page else wanted) if not _run(pair, asked.profile)]
    matrix = Matrix.read()
    PAGE.write_text(text(matrix), "utf-8")
    click.echo("\n".join(table(matrix)))
    return 1 if unsound else 0


def _run(pair: Pair, profile: str) -> bool:
    """Run a pair and keep what it has shown; whether it was sound."""
    click.echo(f"== {pair}")
    with TemporaryDirectory(prefix="drivetrain-matrix-") as directory:
        report = Path(directory, "report.json")
        told = [f"--contract-profile={profile}", f"--contract-report={report}", f"--timeout={_CHECK_SECONDS}"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", str(_UNDER_TEST), "-q", "-n", "0", "-p", "no:cacheprovider", *told],
            cwd=_ROOT,
            env={**os.environ, "MATRIX_PAIR": str(pair), "HYPOTHESIS_STORAGE_DIRECTORY": directory},
            check=False,
        )
        document = json.loads(report.read_text("utf-8")) if report.exists() else {"contracts": []}
    if not document["contracts"]:
        click.echo(f"{pair}: there is no sound result; pytest has ended with {done.returncode}", err=True)
        return False
    shown, declared = from_report(document)
    Matrix.read().with_pair(pair, shown, declared).write()
    return shown.sound and not done.returncode


if __name__ == "__main__":
    sys.exit(main())
