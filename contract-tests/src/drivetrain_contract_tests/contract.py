"""What all contracts share: finding their checks, skipping by declared capability, and no check left out silently."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from drivetrain.app.entry_points import Kind
from drivetrain_contract_tests.clauses import Check, check_of
from drivetrain_contract_tests.drivers_under_test import Subject, of_service
from drivetrain_contract_tests.findings import Counts, Findings, Undeclared
from drivetrain_contract_tests.profiles import PROFILES, Profile
from drivetrain_contract_tests.service import Service
from drivetrain_contract_tests.transcript import Transcript

if TYPE_CHECKING:
    from _pytest.outcomes import Skipped
else:
    Skipped = pytest.skip.Exception

__all__ = ["Contract", "NotDeclared", "NotRun"]

_PACKAGE = "drivetrain_contract_tests."

#: Which drivers clauses are about, by the letter of their number.
_KINDS = {
    "B": (Kind.BROKER,),
    "R": (Kind.BACKEND,),
    "V": (Kind.BACKEND,),
    "L": (Kind.BACKEND,),
    "W": (Kind.BROKER, Kind.BACKEND),
    "T": (Kind.BROKER, Kind.BACKEND),
    "F": (Kind.BROKER, Kind.BACKEND),
}


class NotDeclared(Skipped):
    """The check does not apply: the driver does not declare what it needs."""


class NotRun(Skipped):
    """The check applies, and what it needs is not at hand."""


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
            if kind.__module__.startswith(_PACKAGE):
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

    @classmethod
    def tampered(cls) -> list[str]:
        """The names of methods, other than checks, that a child has overridden or deleted: it may not."""
        standard: dict[str, object] = {}
        for kind in reversed(cls.__mro__):
            if kind.__module__.startswith(_PACKAGE):
                standard.update({name: method for name, method in vars(kind).items() if _is_method(method)})
        return [name for name, method in standard.items() if inspect.getattr_static(cls, name, None) is not method]

    def declared(self) -> Any:
        """The capabilities of the driver; None for a contract without any."""
        return None

    def require(self, check: Check) -> None:
        """Raise NotDeclared or NotRun if ``check`` does not apply or cannot be run."""
        if check.needs is not None and not getattr(self.declared(), check.needs):
            raise NotDeclared(f"not declared: {check.needs}")
        if check.restarts and self.service.stop is None:
            raise NotRun("the service cannot be stopped by its author's factory")

    @classmethod
    def subjects(cls) -> list[Subject]:
        """The drivers that this contract is about, for the report."""
        letters = {number[0] for _, check in cls.checks().values() for number in check.clauses}
        kinds = {kind: None for letter in sorted(letters) for kind in _KINDS.get(letter, ())}
        return [of_service(kind, cls.service) for kind in kinds]

    @property
    def findings(self) -> Findings:
        """What this run of a check has found so far."""
        found: Findings = vars(self).setdefault("_findings", Findings())
        return found

    @property
    def transcript(self) -> Transcript:
        """What this check has asked its drivers so far."""
        found: Transcript = vars(self).setdefault("_transcript", Transcript())
        return found

    def warn_undeclared(self, capability: str, evidence: str) -> None:
        """Say that something works which the driver does not declare: a warning in the report, no failure.

        Args:
            capability: the field of the capabilities that could be declared.
            evidence: what works (``"a thousand messages of one sender came in order"``).
        """
        self.findings.undeclared.append(Undeclared(capability, evidence))

    def report_counts(self, *, lost: int = 0, unexpected: int = 0, duplicated: int = 0, recovered: int = 0) -> None:
        """Add to the four counts of the report; may be called as often as there is something to count.

        Args:
            lost: tasks that were sent and never ended.
            unexpected: tasks that ran though nobody had sent them, or ended with a wrong result.
            duplicated: tasks that ran again after they had ended.
            recovered: tasks that ended well although a worker or a service had failed under them.
        """
        self.findings.counts = (self.findings.counts or Counts()) + Counts(lost, unexpected, duplicated, recovered)

    @classmethod
    def reach(cls, service: Any) -> None:
        """Set what the checks of this class are about: a `Service`, where a child does not say otherwise."""
        cls.service = service

    @classmethod
    def run_check(cls, name: str, service: Any, profile: Profile) -> Findings:
        """Run one standard check without pytest.

        Args:
            name: the name of the check.
            service: what the contract's classes need, as for `reach`.
            profile: how much is tried, and from which seed.

        Returns:
            What it has found besides.

        Raises:
            Exception: what the check raises: it fails.
            NotDeclared: it does not apply.
            NotRun: it cannot be run.
        """
        kind: Any = type(cls.__name__, (cls,), {"profile": profile, "__module__": __name__ + ".run"})
        kind.reach(service)
        function, check = cls.checks()[name]
        contract: Contract = kind()
        contract.require(check)
        with profile.seeded():
            function(contract)
        return contract.findings

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


def _is_method(member: object) -> bool:
    routine = inspect.isroutine(member) or isinstance(member, (classmethod, staticmethod, property))
    return routine and check_of(member) is None


def _strict_xfail(function: object) -> bool:
    marks = getattr(function, "pytestmark", [])
    return any(mark.name == "xfail" and mark.kwargs.get("strict") and mark.kwargs.get("reason") for mark in marks)
