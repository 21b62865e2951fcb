"""Recording a batch of transitions, and completing the members of groups that it names."""

from __future__ import annotations

from collections.abc import Sequence

from drivetrain.contract import Completion, Member, Outcome, State, TooLarge, Transition, evolve
from drivetrain.drivers.sqlite import members, tasks
from drivetrain.drivers.sqlite.database import Session
from drivetrain.drivers.sqlite.errors import LARGEST_VALUE_BYTES

__all__ = ["Recording", "check_size", "check_sizes"]


class Recording:
    """One batch of transitions, within a transaction.

    Records and members are written in bulk, yet as if one entry was done after the other.
    """

    def __init__(self, session: Session, wishes: Sequence[Transition], now: float) -> None:
        self._session = session
        self._wishes = wishes
        self._now = now
        self._book = self._open_book()
        self._outcomes: list[Outcome] = []
        #: By the place of its outcome: the members that are still to be completed.
        self._pending: dict[int, Completion] = {}
        self._pending_groups: set[str] = set()

    def outcomes(self) -> list[Outcome]:
        """Do it; what became of each transition."""
        for wish in self._wishes:
            if wish.task_id in self._pending_groups:
                # What becomes of this record may take the group of the same id with it.
                self._write()
                self._book = self._open_book()
            outcome = self._book.enter(wish)
            if outcome.applied and wish.member is not None and wish.state.terminal:
                self._pending[len(self._outcomes)] = _completion(wish, wish.member)
                self._pending_groups.add(wish.member.group_id)
            self._outcomes.append(outcome)
        self._write()
        return self._outcomes

    def _open_book(self) -> tasks.Book:
        return tasks.Book(self._session, [wish.task_id for wish in self._wishes], self._now)

    def _write(self) -> None:
        self._book.write()
        if not self._pending:
            return
        progress = members.complete(self._session, list(self._pending.values()), self._now)
        for place, group in zip(self._pending, progress, strict=True):
            self._outcomes[place] = evolve(self._outcomes[place], group=group)
        self._pending.clear()
        self._pending_groups.clear()


def _completion(wish: Transition, member: Member) -> Completion:
    return Completion(member=member, payload=wish.payload or b"", failed=wish.state is not State.SUCCESS)


def check_sizes(wishes: Sequence[Transition]) -> None:
    """Raise TooLarge where a wish has more to keep than the file takes."""
    for wish in wishes:
        if wish.payload is not None:
            check_size("a payload", wish.payload)
        if wish.downstream is not None:
            check_size("a downstream", wish.downstream)


def check_size(what: str, value: bytes) -> None:
    """Raise TooLarge where ``value`` is larger than the file takes."""
    if len(value) > LARGEST_VALUE_BYTES:
        raise TooLarge(what, len(value), LARGEST_VALUE_BYTES)
