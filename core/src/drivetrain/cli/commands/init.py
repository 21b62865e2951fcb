"""``drivetrain init``."""

from __future__ import annotations

from pathlib import Path

import click

from drivetrain.cli.new_project import FILES

__all__ = ["init"]


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=Path())
def init(directory: Path) -> None:
    """Write a small project that works: an app with tasks, and tests. Nothing that exists is changed.

    DIRECTORY is made if it does not exist; without it, the project is written to the current directory.
    """
    if existing := [name for name in FILES if (directory / name).exists()]:
        raise click.UsageError(f"{', '.join(existing)} exists already in {directory}; name another directory")
    for name, text in FILES.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        click.echo(f"wrote {path}")
    click.echo(f"""
Now, in {directory.resolve()}:

    drivetrain worker tasks:app          # in one terminal; with --reload it follows your changes
    python tasks.py                      # in another one
    pytest                               # needs no worker: pip install pytest""")
