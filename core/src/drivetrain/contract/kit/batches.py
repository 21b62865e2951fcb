"""Batches: cut into chunks, and recorded with the members of groups that they complete. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from drivetrain.contract.backend import Completion
from drivetrain.contract.states import GroupProgress, Outcome, State, Transition

__all__ = ["chunks", "completion_of", "record_and_complete", "split_at_groups"]

T = TypeVar("T")


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in order, at most ``size`` together. No chunk is empty."""
    if len(items) <= size:
        if items:
            yield items
        return
    for first in range(0, len(items), size):
        yield items[first : first + size]


def completion_of(transition: Transition) -> Completion | None:
    """The completion of a group's member that a transition causes once it is granted; None if it causes none."""
    member = transition.member
    if member is None or not transition.state.terminal:
        return None
    failed = transition.state is not State.SUCCESS
    return Completion(member=member, payload=transition.payload or b"", failed=failed)


def split_at_groups(transitions: Sequence[Transition]) -> Iterator[Sequence[Transition]]:
    """A batch in parts, in order, so that a part's records may be written before its members are completed.

    The end of a record takes the group of its id with it. Therefore no part has a task after a member of that task's
    own group. A batch without members is one part.
    """
    first = 0
    completed: set[str] = set()
    for position, transition in enumerate(transitions):
        if transition.task_id in completed:
            yield transitions[first:position]
            first, completed = position, set()
        if transition.member is not None and transition.state.terminal:
            completed.add(transition.member.group_id)
    if first < len(transitions):
        yield transitions[first:] if first else transitions


def record_and_complete(
    transitions: Sequence[Transition],
    record: Callable[[Sequence[Transition]], Sequence[Outcome]],
    complete: Callable[[Sequence[Completion]], Sequence[GroupProgress | None]],
) -> list[Outcome]:
    """Do what `Backend.record` promises, for a driver that writes records and completes members in two steps.

    Args:
        transitions: the batch.
        record: records a batch and leaves its members alone; its outcomes, in order.
        complete: completes members, in order, as `Backend.complete` does. Not called for an empty batch.

    Returns:
        The outcome of each transition, with the progress of its group.
    """
    outcomes: list[Outcome] = []
    for part in split_at_groups(transitions):
        recorded = list(record(part))
        done = {
            position: completion
            for position, transition in enumerate(part)
            if transition.member is not None
            and recorded[position].applied
            and (completion := completion_of(transition)) is not None
        }
        if done:
            for position, progress in zip(done, complete(list(done.values())), strict=True):
                recorded[position] = Outcome(applied=True, before=recorded[position].before, group=progress)
        outcomes += recorded
    return outcomes
