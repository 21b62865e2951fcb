"""Clients whose clocks differ: one clock counts leases, records, values and locks (R4, R12, R26, V4, L2)."""

from __future__ import annotations

from collections.abc import Iterator

from drivetrain.contract import Backend
from drivetrain_contract_tests.backends.base import LONG, BackendBase
from drivetrain_contract_tests.backends.calls import known, record, refused, renewed, start, transition
from drivetrain_contract_tests.backends.timing import ShiftedClock
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared

__all__ = ["ClockChecks", "skewed_pairs"]

#: How far the clock of one client is from that of the other, in seconds: beyond every lease of these checks.
_SKEW_SECONDS = 2 * LONG


class ClockChecks(BackendBase):
    """The clock of the service counts, for every client alike."""

    @holds("R4", "R12")
    def test_a_lease_is_counted_by_the_clock_of_the_service(self) -> None:
        """A client whose clock is hours ahead or behind ends nobody's lease, and its own lasts as long."""
        for right, wrong in skewed_pairs(self):
            for holder, other in ((right, wrong), (wrong, right)):
                name = f"of {'right' if holder is right else 'wrong'}"
                record(holder, start(name, run="a", lease=LONG))
                assert refused(other, start(name, run="b")), "clocks that differ have ended a lease"
                assert renewed(holder, name, run="a", seconds=LONG)
                assert refused(other, start(name, run="b")), "clocks that differ have ended a renewed lease"
                assert renewed(holder, name, run="a", seconds=0.0)
                assert not refused(other, start(name, run="b")), "clocks that differ have prolonged a lease"

    @holds("R26")
    def test_a_retention_is_counted_by_the_clock_of_the_service(self) -> None:
        """What a client with a wrong clock has recorded is kept as long for everybody, and so is what it reads."""
        for right, wrong in skewed_pairs(self):
            record(wrong, transition("kept", retention=LONG), transition("gone", retention=0.0))
            record(right, transition("shortened"))
            wrong.shorten_retention(["shortened"], retention_seconds=LONG)
            for backend in (right, wrong):
                backend.sweep()
                assert [known(backend, name) for name in ("kept", "shortened", "gone")] == [True, True, False]


def skewed_pairs(checks: BackendBase) -> Iterator[tuple[Backend, Backend]]:
    """Pairs of a client with the right clock and one with a wrong clock, each pair on a namespace of its own.

    Raises:
        NotDeclared: the backend counts by the clock of its client, as one does that runs within the client's machine.
    """
    for seconds in (_SKEW_SECONDS, -_SKEW_SECONDS):
        namespace = checks.service.namespace()
        right, wrong = checks.on(namespace), checks.on(namespace, ShiftedClock(seconds))
        ahead = checks.on(namespace, ShiftedClock(_SKEW_SECONDS))
        record(right, transition("witness", retention=LONG))
        if not known(ahead, "witness"):
            raise NotDeclared("it counts by the clock of its client")
        yield right, wrong
