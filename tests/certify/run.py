"""``make certify``: holds each driver to the contract on a real server, and puts the report where its wheel ships it.

`drivetrain drivers` then shows the report to users of the wheel. It is part of a release: its commit holds the reports,
which would describe other code in between. If a clause fails, no report is written.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

ROOT = Path(__file__).parents[2]
_UNDER_TEST = Path(__file__).with_name("contract_of_driver.py")
_BROKER, _BACKEND = ("TestBroker",), ("TestBackend", "TestValues", "TestLocks")
#: No configuration of the machine's, and no asking of metadata services.
_NO_AWS = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
#: For one check: on a machine that does other things as well, a slow service may take minutes.
_CHECK_SECONDS = 1_800

#: Member: which contracts each of its schemes is held to. A scheme that differs in how it connects is tested elsewhere.
DRIVERS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "core": {"memory": _BROKER + _BACKEND, "sqlite": _BROKER + _BACKEND},
    "plugins/amqp": {"amqp": _BROKER},
    "plugins/memcache": {"memcache": _BACKEND},
    "plugins/mongo": {"mongodb": _BACKEND},
    "plugins/redis": {"redis": _BROKER + _BACKEND},
    "plugins/sqs": {"sqs": _BROKER},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Certify the members that are named; 1 if any has failed."""
    names = {Path(member).name: member for member in DRIVERS}
    parser = ArgumentParser(prog="make certify ARGS=…", description=__doc__)
    parser.add_argument("members", nargs="*", choices=[[], *names], metavar="MEMBER", help=", ".join(names))
    parser.add_argument("--profile", default="default", choices=("quick", "default", "thorough"))
    asked = parser.parse_args(arguments)
    failed = [name for name in asked.members or names if not _certified(names[name], asked.profile)]
    click.echo(f"not certified: {', '.join(failed)}" if failed else "all are certified")
    return 1 if failed else 0


def place_of(member: str) -> Path:
    """Where a member's wheel ships its report: inside its package."""
    package = "drivetrain" if member == "core" else f"drivetrain_{Path(member).name}"
    return ROOT / member / "src" / package / "contract-report.json"


def merged(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One report of several runs, which have tested different drivers of one distribution."""
    return {**reports[0], "contracts": [contract for report in reports for contract in report["contracts"]]}


def _certified(member: str, profile: str) -> bool:
    reports = [_report(scheme, kinds, profile) for scheme, kinds in DRIVERS[member].items()]
    sound = [report for report in reports if report is not None]
    if len(sound) < len(reports):
        return False
    place = place_of(member)
    place.write_text(json.dumps(merged(sound), indent=1, ensure_ascii=False, sort_keys=True) + "\n", "utf-8")
    click.echo(f"{place.relative_to(ROOT)} is written")
    return True


def _report(scheme: str, kinds: Sequence[str], profile: str) -> dict[str, Any] | None:
    """The result of one run; None if the run was not sound."""
    click.echo(f"== {scheme}")
    with TemporaryDirectory(prefix="drivetrain-certify-") as directory:
        report = Path(directory, "report.json")
        told = [f"--contract-profile={profile}", f"--contract-report={report}", f"--timeout={_CHECK_SECONDS}"]
        tests = [f"{_UNDER_TEST}::{kind}" for kind in kinds]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *tests, "-q", "-n", "0", "-p", "no:cacheprovider", *told],
            cwd=ROOT,
            env={**os.environ, **_NO_AWS, "CERTIFY_SCHEME": scheme},
            check=False,
        )
        if done.returncode or not report.exists():
            return None
        found: dict[str, Any] = json.loads(report.read_text("utf-8"))
        return found if len(found["contracts"]) == len(kinds) else None


if __name__ == "__main__":
    sys.exit(main())
