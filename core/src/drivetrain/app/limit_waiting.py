"""What operators see of a task that waits for a limit: which one, since when, and its turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from drivetrain.contract import Backend, Message, SerializationError, State, TaskRecord
from drivetrain.worker.limits.places import PLACE_PREFIX, decoded_places
from drivetrain.worker.limits.waits import WaitingFor, waiting_of
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.unfinished import Unfinished

__all__ = ["LimitWaiting", "message_waits", "recorded_waits", "waits_now"]

_WAITING = frozenset({State.PENDING, State.RECEIVED, State.RETRY})


class LimitWaiting(Struct, frozen=True, kw_only=True):
    """A limit for which a task waits.

    Attributes:
        limit: the name of the limit, as in the code.
        since: since when it waits, in Unix seconds.
        key: the key of the limit; empty: unknown.
        ahead: of a concurrency limit: how many tasks stand before it in the line. None: it waits for a rate.
        until: of a rate: the instant that is reserved for it, in Unix seconds. None: it stands in a line.
    """

    limit: str
    since: float
    key: str = ""
    ahead: int | None = None
    until: float | None = None

    def __str__(self) -> str:
        key = "" if self.key in {"", self.limit} else f" (key {self.key!r})"
        since = f"waits for limit {self.limit!r}{key} since {_time(self.since)}"
        if self.until is not None:
            return f"{since}, starts at {_time(self.until)}"
        if not self.ahead:
            return f"{since}, first in line"
        return f"{since}, with {self.ahead} {'task' if self.ahead == 1 else 'tasks'} before it"


def waits_now(backend: Backend, waiting: Mapping[str, WaitingFor], now: float) -> Mapping[str, LimitWaiting]:
    """For which limits tasks wait now, by the ids of the tasks. Those that have got their place are left out.

    Args:
        backend: has the lines of concurrency limits.
        waiting: what messages or records say, by the ids of the tasks.
        now: Unix seconds.

    Raises:
        ServiceError: the backend could not be reached.
    """
    keys = list(dict.fromkeys(one.key for one in waiting.values() if one.number is not None))
    stored = backend.read_values([PLACE_PREFIX + key for key in keys]) if keys else ()
    places = {key: None if one is None else decoded_places(one) for key, one in zip(keys, stored, strict=True)}
    found = {}
    for task_id, one in waiting.items():
        if one.number is None:
            turn = LimitWaiting(limit=one.limit, since=one.since, key=one.key, until=one.until)
            if one.until is not None and one.until > now:
                found[task_id] = turn
        elif (line := places[one.key]) is not None and line.first <= one.number < line.next:
            ahead = one.number - line.first
            found[task_id] = LimitWaiting(limit=one.limit, since=one.since, key=one.key, ahead=ahead)
    return found


def recorded_waits(runtime: Runtime, records: Sequence[TaskRecord]) -> Mapping[str, LimitWaiting]:
    """For which limits tasks wait, by their ids, as their records say.

    A wait for a rate is recorded where it is longer than a minute.

    Raises:
        ServiceError: the backend could not be reached.
    """
    waiting = {}
    for record in records:
        if record.state in _WAITING and (one := _recorded(runtime, record)) is not None:
            waiting[record.task_id] = one
    return waits_now(runtime.backend, waiting, runtime.clock.now()) if waiting else {}


def message_waits(runtime: Runtime, messages: Sequence[Message]) -> Mapping[str, LimitWaiting]:
    """For which limits delayed tasks wait, by their ids, as their messages say.

    Raises:
        ServiceError: the backend could not be reached.
    """
    waiting = {message.id: one for message in messages if (one := waiting_of(message)) is not None}
    return waits_now(runtime.backend, waiting, runtime.clock.now()) if waiting else {}


def _recorded(runtime: Runtime, record: TaskRecord) -> WaitingFor | None:
    try:
        return WaitingFor.load(Unfinished.load(runtime.payloads, record).limit)
    except SerializationError:
        return None  # another version of drivetrain has written it


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
