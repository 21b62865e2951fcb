"""``make version VERSION=0.2.0``: the one version of all distributions, kept in the file ``VERSION``.

Each ``pyproject.toml`` repeats it, since a source archive must be able to build itself. This writes the copies, and a
test holds them to the file.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from packaging.version import InvalidVersion, Version

__all__ = ["members", "set_version", "version", "with_version"]

ROOT = Path(__file__).parents[2]
_OWN = re.compile(r'^version = ".*"$', re.MULTILINE)
_PIN = re.compile(r'(?<="drivetrain==)[^"]+(?=")')


def main() -> int:
    """Set the version that is given."""
    try:
        (asked,) = sys.argv[1:]
        wanted = str(Version(asked))
    except (ValueError, InvalidVersion):
        click.echo("write: make version VERSION=0.2.0", err=True)
        return 2
    set_version(wanted)
    click.echo(f"the version is {wanted}")
    return 0


def version() -> str:
    """The version of all distributions."""
    return (ROOT / "VERSION").read_text("utf-8").strip()


def members() -> Iterator[Path]:
    """The ``pyproject.toml`` of every distribution that is released."""
    yield ROOT / "core" / "pyproject.toml"
    yield ROOT / "contract-tests" / "pyproject.toml"
    yield from sorted((ROOT / "plugins").glob("*/pyproject.toml"))


def with_version(text: str, wanted: str) -> str:
    """A ``pyproject.toml`` with its version, and its pin of core, set to ``wanted``."""
    return _PIN.sub(wanted, _OWN.sub(f'version = "{wanted}"', text, count=1))


def set_version(wanted: str) -> None:
    """Write the version to ``VERSION`` and to every member."""
    (ROOT / "VERSION").write_text(f"{wanted}\n", "utf-8")
    for path in members():
        path.write_text(with_version(path.read_text("utf-8"), wanted), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
