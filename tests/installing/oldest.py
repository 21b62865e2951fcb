"""``make oldest``: each driver's own tests with the oldest client libraries that its ``pyproject.toml`` allows.

The newest are what ``make test`` uses: ``requirements-dev.txt`` pins them. Core is tried too, by the name ``core``,
with the oldest of all that it depends on.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tomllib
import venv
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".venv-oldest"
#: What a driver has in common with core, whose bounds are tried with core.
_SHARED = {"attrs", "drivetrain"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the members that are named; 1 if any has failed."""
    parser = ArgumentParser(prog="make oldest ARGS=…", description=__doc__)
    parser.add_argument("members", nargs="*", choices=[[], *_members()], metavar="MEMBER", help=", ".join(_members()))
    parser.add_argument("-k", dest="only", default="", help="as pytest has it")
    asked = parser.parse_args(arguments)
    failed = [member for member in asked.members or _members() if not _sound(member, asked.only)]
    click.echo(f"failed with their oldest libraries: {', '.join(failed)}" if failed else "all have passed")
    return 1 if failed else 0


def lowest(requirements: Sequence[str], but: set[str]) -> Iterator[str]:
    """The lowest version that each requirement allows, as a requirement: ``redis>=5.0`` gives ``redis==5.0``.

    Raises:
        ValueError: a requirement has no lower bound, so nobody knows what it promises.
    """
    for required in map(Requirement, requirements):
        if required.name in but:
            continue
        bounds = [each.version for each in required.specifier if each.operator in {">=", "==", "~="}]
        if len(bounds) != 1:
            raise ValueError(f"{required} has no lower bound")
        yield f"{required.name}=={bounds[0]}"


def _members() -> list[str]:
    return ["core", *sorted(path.parent.name for path in (ROOT / "plugins").glob("*/pyproject.toml"))]


def _place(member: str) -> Path:
    return ROOT / "core" if member == "core" else ROOT / "plugins" / member


def _requirements(member: str) -> list[str]:
    project = tomllib.loads((_place(member) / "pyproject.toml").read_text("utf-8"))["project"]
    return list(lowest(project["dependencies"], set() if member == "core" else _SHARED))


def _sound(member: str, only: str) -> bool:
    wanted = _requirements(member)
    click.echo(f"== {member}: {', '.join(wanted)}")
    python = _environment(HOME / member, wanted)
    tests = [str(_place(member) / "tests"), "-q", "-n", "2", "-p", "no:cacheprovider", "--contract-profile", "quick"]
    return subprocess.run([python, "-m", "pytest", *tests, "-k", only], cwd=ROOT, check=False).returncode == 0


def _environment(home: Path, wanted: Sequence[str]) -> Path:
    """Its Python: what is wanted lies before everything that the project's own environment has."""
    venv.create(home, with_pip=False, clear=True, symlinks=True)
    HOME.joinpath(".gitignore").write_text("*\n")
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", python]
    subprocess.run([*pip, "install", *wanted], check=True)
    [packages] = home.glob("lib/python3*/site-packages")
    # Only now, so that pip does not take what is there for installed already.
    packages.joinpath("beside.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    return python


if __name__ == "__main__":
    sys.exit(main())
