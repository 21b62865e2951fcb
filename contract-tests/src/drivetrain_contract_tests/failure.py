"""The text of a failing check: the clause, what the driver was asked, what it answered, and what was expected."""

from __future__ import annotations

import inspect
import textwrap
import traceback
from collections.abc import Iterator
from pathlib import Path

from drivetrain_contract_tests.clauses import Check, clauses

__all__ = ["first_of", "reason_of", "text_of"]

_OURS = str(Path(__file__).parent)
_WIDTH = 116


def first_of(error: BaseException) -> BaseException:
    """The first error of a group of errors, and of groups in it; else the error itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def reason_of(error: BaseException, about: str) -> str:
    """What a check has found, in a line.

    Args:
        error: that it has raised.
        about: the first line of its docstring; said where the error says no more than that something is false.
    """
    error = first_of(error)
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if isinstance(error, AssertionError):
        return f"{about} Found: {said}" if said.startswith("assert ") or not said else said
    return f"{type(error).__name__}: {said or 'without a message'}"


def text_of(check: Check, function: object, name: str, error: BaseException, script: str) -> str:
    """The report of a failing check, for its reader in a terminal.

    Args:
        check: what it holds.
        function: the check, for its docstring.
        name: its name.
        error: that it has raised.
        script: what it has asked the driver, as Python; empty: nothing.
    """
    return "\n".join(_parts(check, function, name, first_of(error), script))


def _parts(check: Check, function: object, name: str, error: BaseException, script: str) -> Iterator[str]:
    for number in check.clauses:
        yield textwrap.fill(f"{number}: {clauses()[number]}", _WIDTH, subsequent_indent="    ")
    yield f"\n{name}"
    yield textwrap.indent(inspect.getdoc(function) or "", "    ")
    if script:
        yield "\nWhat the driver was asked, and what it answered (a script that can be run):\n"
        yield textwrap.indent(script, "    ")
    yield "\nWhat was expected, and is not so:\n" if isinstance(error, AssertionError) else "\nWhat was raised:\n"
    yield textwrap.indent(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__, "    ")
    for note in getattr(error, "__notes__", ()):
        yield textwrap.indent(note, "    ")
    yield "\nWhere:\n"
    yield textwrap.indent("\n".join(_where(error)), "    ")


def _where(error: BaseException) -> Iterator[str]:
    """Where a check noticed it; and for an error of the driver, the way that it took through the driver."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(_OURS)]
    if isinstance(error, AssertionError):
        shown = [*[frame for frame in ours if frame.name.startswith("test_")][-1:], *ours[-1:]]
    else:
        shown = frames[frames.index(ours[-1]) :] if ours else frames
    lines = [f"{frame.filename}:{frame.lineno} in {frame.name}: {frame.line}" for frame in shown]
    yield from dict.fromkeys(lines)
    if error.__cause__ is not None:
        yield f"caused by {type(error.__cause__).__name__}: {error.__cause__}"
