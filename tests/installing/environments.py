"""Wheels of every member of the workspace and of the toys, and empty virtual environments that hold some of them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from installing.oldest import lowest

__all__ = ["OLDEST", "PINNED", "Environment", "clean", "made_environment", "wheelhouse"]

ROOT = Path(__file__).parents[2]
#: Files of the wheelhouse that say which versions of other people's packages: those of ``requirements-dev.txt``, or the
#: oldest that any member allows.
PINNED, OLDEST = "pinned.txt", "oldest.txt"
#: What the pages of integrations install besides drivetrain.
_OF_INTEGRATIONS = ("fastapi", "httpx", "pydantic", "pytest")
#: How long making the environments of all drivers may take, in seconds. Later tests reuse them.
_SECONDS = 500


@frozen
class Environment:
    """A virtual environment without pip."""

    home: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.home / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Where its distributions lie."""
        [found] = self.home.glob("lib/python3*/site-packages")
        return found

    def run(self, *arguments: str | Path, directory: Path, fails: bool = False) -> subprocess.CompletedProcess[str]:
        """Run its Python in a directory; whether it should fail is said beforehand."""
        done = _run(self.python, *arguments, directory=directory)
        assert bool(done.returncode) is fails, f"{arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done


def clean() -> dict[str, str]:
    """The environment without what would let another installation of drivetrain shine through."""
    return {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "DRIVETRAIN_"))}


def wheelhouse(shared: Path) -> Path:
    """A directory of wheels: the members', the toys', and what all need, in the versions of ``requirements-dev.txt``.

    Args:
        shared: a directory that all processes of this run of pytest share.
    """
    house = shared / "wheels"
    with _locked(shared / "wheels.lock"):
        if not house.exists():
            made = shared / "wheels-being-made"
            for project in _projects():
                _checked(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", made, project)
            own = sorted(made.glob("*.whl"))
            # By its newest versions alone, nobody could tell tomorrow what was tested today.
            (made / PINNED).write_text((ROOT / "requirements-dev.txt").read_text("utf-8"))
            (made / OLDEST).write_text("".join(f"{each}\n" for each in sorted(set(_oldest()))))
            wanted = (*own, *_OF_INTEGRATIONS)
            _pip("download", "--only-binary", ":all:", "--dest", made, "--constraint", made / PINNED, *wanted)
            _pip("download", "--only-binary", ":all:", "--dest", made, "--requirement", made / OLDEST)
            made.rename(house)
    return house


def made_environment(home: Path, house: Path, packages: Sequence[str], versions: str = PINNED) -> Environment:
    """A new one that holds these packages and what they say that they need; nothing comes from elsewhere.

    Args:
        home: where it is made.
        house: the `wheelhouse`.
        packages: as pip takes them.
        versions: of what they need: `PINNED`, or `OLDEST`.
    """
    venv.create(home, with_pip=False, symlinks=True)
    environment = Environment(home)
    offline = ("--no-index", "--find-links", house, "--no-compile")
    _pip("--python", environment.python, "install", *offline, "--constraint", house / versions, *packages)
    return environment


def _projects() -> Iterator[Path]:
    """The members of the workspace, and the examples of third parties' drivers."""
    yield from (ROOT / "core", ROOT / "contract-tests")
    for place in ("plugins", "examples"):
        yield from sorted(path.parent for path in (ROOT / place).glob("*/pyproject.toml"))


def _oldest() -> Iterator[str]:
    for member in (ROOT / "core", *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))):
        told = tomllib.loads((member / "pyproject.toml").read_text("utf-8"))["project"]
        yield from lowest(told["dependencies"], {"drivetrain"})


def _pip(*arguments: str | Path) -> None:
    _checked(sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments)


def _checked(*command: str | Path) -> None:
    done = _run(*command)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def _run(*command: str | Path, directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)),
        cwd=directory,
        env=clean(),
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
