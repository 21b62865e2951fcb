"""Runs the worker in another process, and starts it again when a file changes. For development."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from drivetrain.contract import ConfigurationError

__all__ = ["run_with_reload"]

#: How long the worker may take to end after a change, in seconds: longer than it takes to release its tasks.
_STOP_SECONDS = 15


def run_with_reload(arguments: Sequence[str]) -> None:
    """Run the program with these arguments until this process is stopped; start it again after each change.

    It watches the Python files and the TOML and YAML files of the current directory and below. A program that has
    ended, for example because of an error in a file, is started again after the next change.

    Args:
        arguments: of the program ``drivetrain``, without ``--reload``.

    Raises:
        ConfigurationError: watchfiles is not installed.
    """
    try:
        import watchfiles
    except ImportError:
        raise ConfigurationError("--reload needs watchfiles: pip install 'drivetrain[reload]'") from None
    here = Path.cwd()
    click.echo(f"watching {here}", err=True)
    watchfiles.run_process(
        here,
        target=shlex.join([sys.executable, "-m", "drivetrain.cli", *arguments]),
        target_type="command",
        watch_filter=watchfiles.PythonFilter(extra_extensions=[".toml", ".yaml", ".yml"]),
        callback=_announce,
        sigint_timeout=_STOP_SECONDS,
    )


def _announce(changes: set[tuple[Any, str]]) -> None:
    paths = sorted(path for _, path in changes)
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    click.echo(f"{paths[0]}{more} has changed; starting the worker again", err=True)
