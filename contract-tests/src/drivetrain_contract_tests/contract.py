"""What all contracts share: finding their checks, skipping by declared capability, and no check left out silently."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from drivetrain_contract_tests.clauses import Check, check_of
from drivetrain_contract_tests.profiles import PROFILES, Profile
from drivetrain_contract_tests.service import Service

__all__ = ["Contract", "NotDeclared"]


class NotDeclared(pytest.skip.Exception):
    """The check does not apply: the driver does not declare what it needs."""


class Contract:
    """A set of checks. A driver's author inherits from one of its children, and adds nothing.

    A check is a method named ``test_…`` that is marked with `holds`; it takes no fixtures, so that it can also be run
    without pytest (`run_check`). It reaches the driver by `service`, and makes a fresh namespace for each example.
    """

    #: Set before a check is run.
    service: ClassVar[Service]
    profile: ClassVar[Profile] = PROFILES["default"]

    @classmethod
    def checks(cls) -> dict[str, tuple[Callable[..., None], Check]]:
        """The standard checks of this contract by name, whatever a child has made of them."""
        found: dict[str, tuple[Callable[..., None], Check]] = {}
        for kind in reversed(cls.__mro__):
            if kind.__module__.startswith("drivetrain_contract_tests."):
                found.update(_own_checks(kind))
        return found

    @classmethod
    def left_out(cls) -> list[str]:
        """The names of standard checks that a child has overridden or deleted, and not marked as known to fail."""
        return [
            name
            for name, (function, _) in cls.checks().items()
            if (present := getattr(cls, name, None)) is not function and not _strict_xfail(present)
        ]

    def declared(self) -> Any:
        """The capabilities of the driver; None for a contract without any."""
        return None

    def require(self, check: Check) -> None:
        """Raise NotDeclared if ``check`` does not apply."""
        if check.restarts and self.service.stop is None:
            raise NotDeclared("the service cannot be stopped by its author's factory")
        if check.needs is not None and not getattr(self.declared(), check.needs):
            raise NotDeclared(f"not declared: {check.needs}")

    @classmethod
    def run_check(cls, name: str, service: Service, profile: Profile) -> None:
        """Run one standard check without pytest; raises what it raises, and NotDeclared if it does not apply."""
        kind = type(cls.__name__, (cls,), {"service": service, "profile": profile, "__module__": __name__ + ".run"})
        function, check = cls.checks()[name]
        contract = kind()
        contract.require(check)
        function(contract)

    def test_no_check_is_left_out(self) -> None:
        """A driver passes all standard checks or says, with a strict xfail and a reason, which one it does not."""
        left_out = type(self).left_out()
        assert not left_out, (
            f"standard checks that are overridden or deleted: {', '.join(left_out)}; mark each with "
            "@pytest.mark.xfail(strict=True, reason=…) and let it call the standard one"
        )


def _own_checks(kind: type) -> Iterator[tuple[str, tuple[Callable[..., None], Check]]]:
    for name, function in vars(kind).items():
        if name.startswith("test_") and (check := check_of(function)) is not None:
            yield name, (function, check)


def _strict_xfail(function: object) -> bool:
    marks = getattr(function, "pytestmark", [])
    return any(
        mark.name == "xfail" and mark.kwargs.get("strict") and mark.kwargs.get("reason") for mark in marks
    )
