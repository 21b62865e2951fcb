"""What the backend stores of schedules: definitions, entries in shards, and a head for the whole set.

- A *definition* says what a schedule sends and when. It never changes: a change stores another one.
- An *entry* is what changes with each tick: the cursor, counts, the pause. It names the definition.
- A *shard* holds the entries of many schedules, so that ten thousand of them are a few values.
- The *head* says when each shard is due. Schedulers poll this one small value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias
from zlib import crc32

from msgspec import Struct

from drivetrain.worker.pauses import Pause
from drivetrain.worker.schedules.tick import SentTick

__all__ = [
    "DEFINITION_PREFIX",
    "HEAD_KEY",
    "SHARDS",
    "Definition",
    "Entry",
    "Head",
    "Misfire",
    "Overlap",
    "Shard",
    "definition_key",
    "shard_key",
    "shard_of",
]

#: The number of shards. Another number needs other keys: a stored schedule is found by it.
SHARDS = 32

HEAD_KEY = "schedules/head"
#: The keys of definitions begin with it.
DEFINITION_PREFIX = "schedules/definition/"

#: What happens at a tick while the workflow of the tick before has not ended.
Overlap: TypeAlias = Literal["allow", "skip", "queue_one", "cancel_previous"]
#: Which of the ticks are sent late that nobody sent in time.
Misfire: TypeAlias = Literal["skip", "latest", "all"]


class Definition(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a schedule sends and when. All times are Unix seconds, all durations seconds.

    Attributes:
        id: the id of the schedule.
        kind: see `ScheduleSpec.kind`.
        parameters: see `ScheduleSpec.parameters`.
        frames: the plain form of its workflow, in which all ids are numbers from 0 on.
        task: the name of its task; of a workflow, the names of its tasks.
        overlap: what happens at a tick while the workflow of the tick before has not ended.
        misfire: which of the ticks are sent late that nobody sent in time.
        catch_up: how late a tick may be sent.
        catch_up_limit: the most ticks that are sent late at once, with the misfire ``all``.
        jitter: the longest delay of ticks. The delay depends on the id of the schedule alone.
        start: no tick before this time; None: no limit.
        end: no tick after this time; None: no limit.
        max_runs: the most ticks; None: no limit.
        pause_on_failure: whether the schedule pauses when a workflow of it fails.
        note: for operators.
    """

    id: str
    kind: str
    parameters: Mapping[str, Any]
    frames: list[Any]
    task: str
    overlap: Overlap = "allow"
    misfire: Misfire = "latest"
    catch_up: float = 3600.0
    catch_up_limit: int = 100
    jitter: float = 0.0
    start: float | None = None
    end: float | None = None
    max_runs: int | None = None
    pause_on_failure: bool = False
    note: str = ""


class Entry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What changes of a schedule. All times are Unix seconds.

    Attributes:
        id: the id of the schedule.
        incarnation: distinguishes a schedule from those that had its id before.
        definition: the key of its definition, without the prefix.
        digest: a digest of its definition.
        when: a digest of what decides its instants: another one begins at the present.
        cursor: all ticks up to this instant are decided: they are never sent again.
        due: when a scheduler must look at it next; None: never.
        declared: whether code or settings declare it, and not a call at run time.
        orphaned: whether the present code does not declare it any more. It does not tick.
        paused: why it is paused; None: it is not.
        sent: how many ticks were sent.
        dropped: how many ticks were not sent because they would have been too late, or because they were refused. At
            most 100 are counted at once.
        skipped: how many ticks were not sent because the workflow of the tick before had not ended.
        failures: how many workflows have failed since the last one that succeeded.
        unknown: how many of these, the last ones, failed because no worker knows the task.
        last: the instant of the last tick that was sent; None: none was.
        last_sent: when it was sent.
        unfinished: the last ticks whose workflows have not ended as far as schedulers know, in order.
        waiting: the tick that waits for the end of the workflow of the tick before; None: none does.
        problem: why its last tick could not be sent; empty: it could.
        tzdata: the version of the time zone database with which `due` was computed.
    """

    id: str
    incarnation: str
    definition: str
    digest: str
    when: str
    cursor: float
    due: float | None = None
    declared: bool = False
    orphaned: bool = False
    paused: Pause | None = None
    sent: int = 0
    dropped: int = 0
    skipped: int = 0
    failures: int = 0
    unknown: int = 0
    last: float | None = None
    last_sent: float | None = None
    unfinished: tuple[SentTick, ...] = ()
    waiting: float | None = None
    problem: str = ""
    tzdata: str = ""


class Shard(Struct, frozen=True):
    """The entries of many schedules, sorted by id."""

    entries: tuple[Entry, ...] = ()


class Head(Struct, frozen=True, kw_only=True):
    """The summary of all shards.

    Attributes:
        due: when each shard is due, in Unix seconds; None: never; 0: it is being changed, so look at it.
        revision: the highest revision of declared schedules.
    """

    due: tuple[float | None, ...] = (None,) * SHARDS
    revision: int = 0


def shard_of(schedule_id: str) -> int:
    """The number of the shard that holds a schedule."""
    return crc32(schedule_id.encode("utf-8", "surrogatepass")) % SHARDS


def shard_key(number: int) -> str:
    """The key of a shard."""
    return f"schedules/shard/{number}"


def definition_key(name: str) -> str:
    """The key of a definition."""
    return DEFINITION_PREFIX + name
