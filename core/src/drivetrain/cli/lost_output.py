"""Standard output that cannot be written, on a full disk or a closed pipe: one error line, and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from drivetrain.cli.exit_codes import Exit

__all__ = ["output_errors_told"]


@contextmanager
def output_errors_told() -> Iterator[None]:
    """End the program with one line on stderr when what is printed inside cannot be written.

    Raises:
        SystemExit: it cannot be written; the command has failed.
        OSError: any other error of the system, as it is.
    """
    try:
        yield
    except OSError as error:
        if not _raised_by_printing(error):
            raise
        _discard_output()
        with suppress(OSError):
            click.echo(f"Error: the output cannot be written: {error.strerror}", err=True)
        sys.exit(Exit.FAILED)


def _raised_by_printing(error: OSError) -> bool:
    """Whether ``error`` comes from `click.echo`, by which everything is printed."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code is click.echo.__code__


def _discard_output() -> None:
    """Let what is left in the buffer go nowhere, or Python fails with it again at its end."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
