"""``drivetrain version``."""

from __future__ import annotations

import platform

import click
import importlib_metadata

from drivetrain.cli.output import echo_json, json_option

__all__ = ["version"]


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Print the versions of drivetrain and Python."""
    versions = {"drivetrain": importlib_metadata.version("drivetrain"), "python": platform.python_version()}
    if as_json:
        echo_json(versions)
    else:
        click.echo(f"drivetrain {versions['drivetrain']}, Python {versions['python']}")
