"""The clauses of the contract, read from its prose, and the mark by which a check says which of them it holds."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import TypeVar

from attrs import frozen

__all__ = ["Check", "check_of", "clauses", "holds"]

F = TypeVar("F", bound=Callable[..., object])

_CLAUSE = re.compile(r"^- \*\*([A-Z]\d+)\*\* (.*?)(?=^- \*\*|^#|^On |\Z)", re.MULTILINE | re.DOTALL)


@cache
def clauses() -> dict[str, str]:
    """The text of each clause by its number, in the order of the contract."""
    prose = files("drivetrain_contract_tests").joinpath("contract.md").read_text("utf-8")
    return {number: " ".join(text.split()) for number, text in _CLAUSE.findall(prose)}


@frozen
class Check:
    """What a check says of itself."""

    clauses: tuple[str, ...]
    #: The capability without which it does not apply (a field of the driver's capabilities that is true or not None).
    needs: str | None = None
    #: Whether it stops and starts the service.
    restarts: bool = False


def holds(*numbers: str, needs: str | None = None, restarts: bool = False) -> Callable[[F], F]:
    """Mark a check with the clauses that it holds.

    Args:
        numbers: the clauses (``"B1"``).
        needs: the capability without which it does not apply.
        restarts: whether it stops and starts the service.

    Raises:
        KeyError: the contract has no clause of this number.
    """
    for number in numbers:
        clauses()[number]

    def mark(function: F) -> F:
        function.__contract__ = Check(numbers, needs, restarts)  # type: ignore[attr-defined]
        return function

    return mark


def check_of(function: object) -> Check | None:
    """What a function says of itself, if it is a check."""
    return getattr(function, "__contract__", None)
