"""``make release``: checks that everything of a release is there and fits together, then builds it into ``dist/``."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from certify.run import DRIVERS, place_of
from releasing.version import members, version

__all__ = ["changelog_faults", "main", "report_faults", "version_faults"]

ROOT = Path(__file__).parents[2]
_DATED = r"^## {version} - \d{{4}}-\d{{2}}-\d{{2}}$"


def main() -> int:
    """Check and build; 1 if anything is missing."""
    wanted = version()
    faults = [*_tree_faults(), *version_faults(_projects(), wanted)]
    faults += changelog_faults((ROOT / "CHANGELOG.md").read_text("utf-8"), wanted)
    for member in DRIVERS:
        path = place_of(member)
        report = json.loads(path.read_text("utf-8")) if path.exists() else None
        faults += report_faults(member, report, wanted)
    if faults:
        click.echo("\n".join([f"{wanted} cannot be released:", *(f"- {fault}" for fault in faults)]), err=True)
        return 1
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    return subprocess.run(["make", "build"], cwd=ROOT, check=False).returncode


def _projects() -> dict[str, Mapping[str, Any]]:
    """By path: the project table of every member."""
    return {path.relative_to(ROOT).as_posix(): tomllib.loads(path.read_text("utf-8"))["project"] for path in members()}


def _tree_faults() -> Iterator[str]:
    done = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True)
    if done.stdout:
        yield f"these files are not committed:\n{done.stdout.rstrip()}"


def version_faults(projects: Mapping[str, Mapping[str, Any]], wanted: str) -> Iterator[str]:
    """What is wrong with the versions of the members, and with their pins of core."""
    for path, project in projects.items():
        if project["version"] != wanted:
            yield f"{path} has version {project['version']}, and VERSION says {wanted}; run make version"
        for required in project.get("dependencies", ()):
            if required.startswith("drivetrain==") and required != f"drivetrain=={wanted}":
                yield f"{path} requires {required}, and VERSION says {wanted}; run make version"


def changelog_faults(text: str, wanted: str) -> Iterator[str]:
    """What is wrong with the changelog."""
    if re.search(r"^## Unreleased", text, re.MULTILINE):
        yield f"CHANGELOG.md has a section Unreleased; name it '{wanted} - YYYY-MM-DD'"
    if not re.search(_DATED.format(version=re.escape(wanted)), text, re.MULTILINE):
        yield f"CHANGELOG.md has no section '## {wanted} - YYYY-MM-DD'"


def report_faults(member: str, report: Mapping[str, Any] | None, wanted: str) -> Iterator[str]:
    """What is wrong with the contract report of a driver; None: there is none."""
    if report is None:
        yield f"{member} has no contract report; run make certify"
        return
    if report["suite"]["version"] != wanted:
        yield f"the contract report of {member} is of suite {report['suite']['version']}; run make certify"
    for contract in report["contracts"]:
        if contract["driver"]["version"] != wanted:
            yield f"the contract report of {member} is of version {contract['driver']['version']}; run make certify"


if __name__ == "__main__":
    sys.exit(main())
