"""``make oldest``: each driver's own tests with the oldest client libraries that its ``pyproject.toml`` allows.

The newest are what ``make test`` uses: ``requirements-dev.txt`` pins them. Core is tried too, by the name ``core``,
with the oldest of all that it depends on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".venv-oldest"
#: What a driver has in common with core, whose bounds are tried with core.
_SHARED = {"attrs", "click", "drivetrain", "msgspec"}
#: Run by the Python of the tests: that it finds these very versions, and not those of the project's environment.
_IN_FORCE = """
import sys
from importlib.metadata import version
from packaging.version import Version
for name, _, wanted in (each.partition("==") for each in sys.argv[1:]):
    assert Version(version(name)) == Version(wanted), f"{name} is {version(name)}, not {wanted}"
"""


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
    document = tomllib.loads((_place(member) / "pyproject.toml").read_text("utf-8"))
    required = lowest(document["project"]["dependencies"], set() if member == "core" else _SHARED)
    # What only its tests need, where the newest does not work with the oldest of the others.
    also = document.get("tool", {}).get("drivetrain", {}).get("oldest", {}).get("also", [])
    return [*required, *also]


def _sound(member: str, only: str) -> bool:
    wanted = _requirements(member)
    click.echo(f"== {member}: {', '.join(wanted)}")
    tests = [str(_place(member) / "tests"), "-q", "-n", "2", "-p", "no:cacheprovider", "--contract-profile", "quick"]
    # What an old library does that a new Python or a newer library warns of is not ours to mend.
    lenient = ["-W", "ignore::DeprecationWarning", "-W", "ignore::PendingDeprecationWarning"]
    environment = {**os.environ, "PYTHONPATH": str(_libraries(HOME / member, wanted))}
    subprocess.run([sys.executable, "-c", _IN_FORCE, *wanted], env=environment, check=True)
    pytest = [sys.executable, "-m", "pytest", *tests, *lenient, "-k", only]
    return subprocess.run(pytest, cwd=ROOT, env=environment, check=False).returncode == 0


def _libraries(home: Path, wanted: Sequence[str]) -> Path:
    """A directory that holds what is wanted: first on the path, it hides what the project's own environment has.

    So all else is as in any run of the tests: the same Python, and the same servers. It is kept until something else
    is wanted of it.
    """
    stamp, told = home / "wanted.txt", "".join(f"{each}\n" for each in wanted)
    if not stamp.exists() or stamp.read_text("utf-8") != told:
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        HOME.joinpath(".gitignore").write_text("*\n")
        # With ``--target``, pip complains of all that is beside it; what it has to say matters where it has failed.
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, "install", "--target", home, *wanted], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{', '.join(wanted)} cannot be installed:\n{done.stderr}")
        stamp.write_text(told)
    return home


if __name__ == "__main__":
    sys.exit(main())
