"""The command line, ``drivetrain``: workers, and what an operator does."""

from drivetrain.cli.program import main

__all__ = ["main"]
