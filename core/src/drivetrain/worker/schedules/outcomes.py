"""What became of sent ticks: which of their workflows have ended, and how. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from drivetrain.contract import State, TaskRecord
from drivetrain.worker.pauses import Pause
from drivetrain.worker.schedules.state import Definition, Entry
from drivetrain.worker.schedules.tick import SentTick, tick_ids

__all__ = ["MOST_UNKNOWN", "all_ids", "judged", "last_id"]

#: After as many ticks in a row whose task no worker knows, a schedule pauses.
MOST_UNKNOWN = 3


def last_id(entry: Entry, sent: SentTick) -> str:
    """The id of the last task or group of a tick: it ends when the workflow has ended, however it has."""
    return tick_ids(entry.incarnation, sent.instant, sent.label)(sent.last)


def all_ids(entry: Entry, sent: SentTick) -> list[str]:
    """The ids of all tasks and groups of a tick."""
    nth = tick_ids(entry.incarnation, sent.instant, sent.label)
    return [nth(number) for number in range(sent.size)]


def judged(
    entry: Entry,
    definition: Definition,
    records: Mapping[str, TaskRecord],
    *,
    is_unknown: Callable[[TaskRecord], bool],
    now: float,
) -> Entry:
    """The entry without the ticks that have ended, their failures counted; paused where they say so.

    A record that is gone has ended: unfinished records never expire.

    Args:
        entry: the entry.
        definition: its definition.
        records: the records of the last tasks, by id.
        is_unknown: whether a task has failed because no worker knows it.
        now: the time, in Unix seconds.
    """
    unfinished: list[SentTick] = []
    for sent in entry.unfinished:
        record = records.get(last_id(entry, sent))
        if record is not None and not record.state.terminal:
            unfinished.append(sent)
        elif record is not None:
            entry = _counted(entry, record, is_unknown)
    if len(unfinished) < len(entry.unfinished):
        entry = replace(entry, unfinished=tuple(unfinished))
    if entry.paused is not None:
        return entry
    if definition.pause_on_failure and entry.failures:
        return replace(entry, paused=Pause(since=now, why="its workflow has failed", by="pause_on_failure"), due=None)
    if entry.unknown >= MOST_UNKNOWN:
        why = f"no worker knows its task ({MOST_UNKNOWN} ticks in a row); resume it when one does"
        return replace(entry, paused=Pause(since=now, why=why, by="drivetrain"), due=None)
    return entry


def _counted(entry: Entry, record: TaskRecord, is_unknown: Callable[[TaskRecord], bool]) -> Entry:
    if record.state is State.SUCCESS:
        return replace(entry, failures=0, unknown=0) if entry.failures else entry
    if record.state is State.CANCELLED:
        return entry  # somebody wanted that
    unknown = entry.unknown + 1 if is_unknown(record) else 0
    return replace(entry, failures=entry.failures + 1, unknown=unknown)
