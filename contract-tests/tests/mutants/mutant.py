"""A deliberately broken driver, and what must catch it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import frozen

from drivetrain_contract_tests import PROFILES
from drivetrain_contract_tests.contract import Contract

__all__ = ["Mutant", "catchers"]


@frozen(kw_only=True)
class Mutant:
    """A driver that breaks one clause, in a way that real systems do."""

    #: What it does, in a few words.
    name: str
    #: The clause that it breaks.
    clause: str
    #: The contract whose checks must catch it.
    contract: type[Contract]
    #: Gives what reaches it: a `Service`, a serializer, or a `PolicyUnderTest`. Called anew for each run.
    service: Callable[[], Any]


def catchers(contract: type[Contract], service: Any, clause: str | None = None) -> dict[str, str]:
    """The checks of ``contract`` (of one clause, or all) that fail on ``service``, and with what."""
    caught: dict[str, str] = {}
    for name, (_, check) in contract.checks().items():
        if clause is None or clause in check.clauses:
            try:
                contract.run_check(name, service, PROFILES["quick"])
            except pytest.skip.Exception:
                continue
            except (Exception, pytest.fail.Exception) as error:
                caught[name] = f"{type(error).__name__}: {error}"
    return caught
