"""How records of tasks change. Pure; each is a change of `drivetrain_memcache.catalogue.Catalogue`."""

from __future__ import annotations

from collections.abc import Sequence

from drivetrain.contract import Outcome, Renewal, RunLease, State, TaskRecord, Transition, apply, evolve
from drivetrain_memcache.catalogue import Change
from drivetrain_memcache.entries import Kept, live

__all__ = ["forget", "record", "renew", "segments", "shorten_retention"]


def segments(transitions: Sequence[Transition]) -> list[list[Transition]]:
    """Cut a batch so that in none of the pieces a task comes after a member of the group of its id.

    Members are completed after all records of a piece are written, and the end of a record takes its group with it.
    """
    pieces: list[list[Transition]] = []
    groups: set[str] = set()
    for wish in transitions:
        if not pieces or wish.task_id in groups:
            pieces.append([])
            groups = set()
        pieces[-1].append(wish)
        if wish.member is not None and wish.state.terminal:
            groups.add(wish.member.group_id)
    return pieces


def record(wishes: Sequence[Transition]) -> Change[list[Outcome]]:
    """These transitions of one task, one after the other."""

    def change(kept: Kept | None, now: float) -> tuple[Kept | None, list[Outcome]]:
        outcomes = []
        for wish in wishes:
            before = _record_of(kept)
            after = apply(before, wish, now)
            outcomes.append(Outcome(applied=after is not None, before=before))
            if after is not None:
                kept = live((kept or Kept()).with_record(after), now)
        return kept, outcomes

    return change


def renew(leases: Sequence[RunLease]) -> Change[list[Renewal]]:
    """These leases on one task, one after the other."""

    def change(kept: Kept | None, now: float) -> tuple[Kept | None, list[Renewal]]:
        renewals = []
        for lease in leases:
            record = _record_of(kept)
            held = record is not None and record.state is State.STARTED and record.run == lease.run
            renewals.append(Renewal(held=held, state=None if record is None else record.state))
            if kept is not None and record is not None and held:
                kept = kept.with_record(evolve(record, leased_until=now + lease.seconds))
        return kept, renewals

    return change


def shorten_retention(retention_seconds: float) -> Change[None]:
    """Bring the end of a terminal record forward."""

    def change(kept: Kept | None, now: float) -> tuple[Kept | None, None]:
        record, expires_at = _record_of(kept), now + retention_seconds
        if kept is None or record is None or not record.state.terminal:
            return kept, None
        if record.expires_at is not None and record.expires_at <= expires_at:
            return kept, None
        return kept.with_record(evolve(record, expires_at=expires_at)), None

    return change


def forget(kept: Kept | None, now: float) -> tuple[Kept | None, None]:
    """Drop all of it."""
    del kept, now
    return None, None


def _record_of(kept: Kept | None) -> TaskRecord | None:
    return None if kept is None else kept.record
