"""``drivetrain dashboard``."""

from __future__ import annotations

import click

from drivetrain.cli.app_options import app_options

__all__ = ["dashboard"]


@click.command()
@app_options
def dashboard() -> None:
    """Serve the dashboard of an app."""
