"""Checks before a command drops something: the queue exists, and the user confirms."""

from __future__ import annotations

import sys
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import click

from drivetrain.app.application import App
from drivetrain.cli.exit_codes import Exit

__all__ = ["check_queue", "confirm", "not_found", "yes_option"]

yes_option: Callable[[Any], Any] = click.option("--yes", is_flag=True, help="Do not ask.")


def not_found(context: click.Context, message: str) -> None:
    """End the command with the exit code NOT_FOUND."""
    click.echo(f"Error: {message}", err=True)
    context.exit(Exit.NOT_FOUND)


def check_queue(context: click.Context, app: App, queue: str) -> None:
    """End the command if the queue certainly does not exist, so that a typing error does not look like success."""
    if not app.runtime.broker.capabilities.lists_queues:
        return
    known = app.operations.queues()
    if queue not in known:
        near = get_close_matches(queue, known, n=2)
        hint = f"; did you mean {' or '.join(near)}?" if near else f" (known: {', '.join(known) or 'none'})"
        not_found(context, f"there is no queue {queue!r}{hint}")


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation at the terminal, unless ``yes`` was given; refuse where there is no terminal.

    Raises:
        UsageError: there is no terminal.
        Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to confirm on; use --yes to confirm")
    click.confirm(question, abort=True, err=True)
