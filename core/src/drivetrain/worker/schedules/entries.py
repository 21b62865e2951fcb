"""Changes of an entry: made, edited, paused, resumed, orphaned; and when a scheduler must look at it next. Pure."""

from __future__ import annotations

from hashlib import blake2b

from msgspec.structs import replace

from drivetrain.worker.pauses import Pause
from drivetrain.worker.schedules.instants import Instants, jitter_seconds
from drivetrain.worker.schedules.state import Definition, Entry
from drivetrain.worker.value_codec import encode

__all__ = [
    "QUEUE_POLL_SECONDS",
    "adopted",
    "definition_digest",
    "edited",
    "instants_digest",
    "new_entry",
    "next_due",
    "orphaned",
    "paused",
    "remaining_runs",
    "resumed",
]

#: How often a scheduler looks whether a waiting tick may be sent, in seconds.
QUEUE_POLL_SECONDS = 1.0


def definition_digest(definition: Definition) -> str:
    """A digest of a definition: equal definitions have equal digests."""
    return blake2b(encode(definition), digest_size=16).hexdigest()


def instants_digest(definition: Definition) -> str:
    """A digest of what decides the instants of a schedule."""
    fields = (definition.kind, definition.parameters, definition.start, definition.end, definition.jitter)
    bare = Definition(
        id="",
        kind=fields[0],
        parameters=fields[1],
        start=fields[2],
        end=fields[3],
        jitter=fields[4],
        frames=[],
        task="",
    )
    return definition_digest(bare)


def new_entry(definition: Definition, *, incarnation: str, name: str, now: float, declared: bool = False) -> Entry:
    """The entry of a new schedule. Its first tick is after ``now``.

    Args:
        definition: its definition.
        incarnation: a new id.
        name: the name under which its definition is stored.
        now: the time, in Unix seconds.
        declared: whether code declares it.
    """
    return Entry(
        id=definition.id,
        incarnation=incarnation,
        definition=name,
        digest=definition_digest(definition),
        when=instants_digest(definition),
        cursor=now,
        declared=declared,
    )


def edited(entry: Entry, definition: Definition, *, name: str, now: float) -> Entry:
    """The entry with another definition. If its instants are others, the next tick is after ``now``."""
    when = instants_digest(definition)
    cursor = entry.cursor if when == entry.when else max(entry.cursor, now)
    return replace(
        entry,
        definition=name,
        digest=definition_digest(definition),
        when=when,
        cursor=cursor,
        waiting=entry.waiting if when == entry.when else None,
        problem="",
    )


def adopted(entry: Entry, now: float) -> Entry:
    """An orphaned entry that code declares again. Its next tick is after ``now``."""
    return replace(entry, orphaned=False, cursor=max(entry.cursor, now))


def orphaned(entry: Entry) -> Entry:
    """An entry that the present code does not declare. It does not tick."""
    return replace(entry, orphaned=True, due=None, waiting=None)


def paused(entry: Entry, pause: Pause) -> Entry:
    """A paused entry."""
    return replace(entry, paused=pause, due=None)


def resumed(entry: Entry, *, now: float, missed: bool) -> Entry:
    """A resumed entry.

    Args:
        entry: the entry.
        now: the time, in Unix seconds.
        missed: whether the ticks of the pause are sent as the misfire rule says; otherwise the next tick is after
            ``now``.
    """
    cursor = entry.cursor if missed else max(entry.cursor, now)
    return replace(entry, paused=None, cursor=cursor, failures=0, unknown=0, waiting=entry.waiting if missed else None)


def remaining_runs(entry: Entry, definition: Definition) -> int | None:
    """How many ticks the schedule may still send; None: no limit."""
    return None if definition.max_runs is None else max(0, definition.max_runs - entry.sent)


def next_due(entry: Entry, definition: Definition, instants: Instants, *, now: float) -> float | None:
    """When a scheduler must look at the entry next; None: never.

    Args:
        entry: the entry.
        definition: its definition.
        instants: its instants.
        now: the time, in Unix seconds.

    Raises:
        TimetableFailed: the timetable is broken.
    """
    if entry.paused is not None or entry.orphaned:
        return None
    following = None if remaining_runs(entry, definition) == 0 else instants.after(entry.cursor)
    due = None if following is None else following + jitter_seconds(entry.id, definition.jitter)
    if entry.waiting is not None:
        due = now + QUEUE_POLL_SECONDS if due is None else min(due, now + QUEUE_POLL_SECONDS)
    return due
