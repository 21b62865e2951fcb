"""Standard output that cannot be written, on a full disk or a closed pipe: one error line, and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from drivetrain.cli.exit_codes import Exit

__all__ = ["report_output_errors"]


@contextmanager
def report_output_errors() -> Iterator[None]:
    """End the program with one line on stderr when its output cannot be written.

    Raises:
        SystemExit: it cannot be written; the command has failed.
        OSError: any other error of the system, unchanged.
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
    """Whether ``error`` comes from `click.echo`, which prints all output."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code is click.echo.__code__


def _discard_output() -> None:
    """Discard what is still in the buffer. Otherwise Python fails with it again when it exits."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
