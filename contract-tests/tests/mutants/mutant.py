"""A deliberately broken driver, and what must catch it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from attrs import frozen

from drivetrain.contract import evolve
from drivetrain_contract_tests import PROFILES, Profile
from drivetrain_contract_tests.contract import Contract

__all__ = ["PROFILE", "Kill", "Mutant", "catcher", "fails"]

#: A broken driver is caught by a few examples, and nobody reads how small its failing example is.
PROFILE = evolve(PROFILES["quick"], large=200, shrinks=False)
#: What is tried in turn, until one catches it: each is worth what it catches.
_PROFILES = (PROFILE, *(evolve(PROFILES[name], shrinks=False) for name in ("default", "thorough")))


@frozen(kw_only=True)
class Mutant:
    """A driver, or a change to core, that breaks one clause in a way that real systems do."""

    #: What it does, in a few words.
    name: str
    #: The clause that it breaks.
    clause: str
    #: The contract whose checks must catch it.
    contract: type[Contract]
    #: Gives what reaches it: a `Service`, a serializer, or a `PolicyUnderTest`. Called again for each run.
    service: Callable[[], Any]
    #: The check that is tried first, where a later one of the clause catches it sooner.
    by: str | None = None
    #: Breaks core for as long as it is tried, where no driver can break the clause.
    core: Callable[[pytest.MonkeyPatch], None] | None = None

    def checks(self) -> list[str]:
        """The checks of its clause, in the order in which they are tried."""
        names = [name for name, (_, check) in self.contract.checks().items() if self.clause in check.clauses]
        if self.by is not None and self.by not in names:
            raise LookupError(f"{self.by} is not a check of {self.clause}")
        return sorted(names, key=lambda name: name != self.by)


@frozen
class Kill:
    """What has caught a broken driver."""

    check: str
    #: The first profile that has: ``quick``, ``default`` or ``thorough``.
    profile: str
    #: How long that check took, in seconds.
    seconds: float


def catcher(mutant: Mutant) -> Kill | None:
    """The first check of its clause that fails on ``mutant``, in the first profile in which one does."""
    service = mutant.service()
    with pytest.MonkeyPatch.context() as patch:
        if mutant.core is not None:
            mutant.core(patch)
        for profile in _PROFILES:
            for name in mutant.checks():
                began = time.monotonic()
                if fails(mutant.contract, service, name, profile):
                    return Kill(name, profile.name, round(time.monotonic() - began, 2))
    return None


def fails(contract: type[Contract], service: Any, name: str, profile: Profile = PROFILE) -> bool:
    """Whether a check that can be run fails on ``service``."""
    try:
        contract.run_check(name, service, profile)
    except pytest.skip.Exception:
        return False
    except (Exception, pytest.fail.Exception):
        return True
    return False
