"""Takes and frees the places of concurrency limits, by compare-and-set on one versioned value for each key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import define, field
from msgspec.structs import replace

from drivetrain.contract import Message, ValueOutcome, ValueWrite, VersionedValue
from drivetrain.worker.limits.line import Holder, Places, is_live
from drivetrain.worker.limits.parked import SKIPPED, decode_parked, encode_parked, line_key
from drivetrain.worker.limits.place import Place
from drivetrain.worker.limits.settings import effective_limit, setting_key
from drivetrain.worker.limits.store_clock import CLOCK_KEY, StoreTime, start_clock, store_time
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.value_codec import decode, encode
from drivetrain.worker.value_listing import values_under

__all__ = ["PLACE_PREFIX", "Change", "PlaceKeeper", "Request", "decoded_places"]

#: The keys of places begin with it; the key of the limit follows.
PLACE_PREFIX = "limits/places/"
#: How long a parked task is stored, in seconds. Its own message renews that, long before. So what a dead worker has not
#: removed goes by itself.
_ENTRY_SECONDS = 7200.0
#: How long a number is kept as skipped, in seconds.
_SKIPPED_SECONDS = 3600.0


@define(eq=False)
class Request:
    """A task that needs places.

    Attributes:
        message: its message.
        places: the places that it needs, in the order of their keys.
        waits: whether it waits in a line where there is none.
        came_from: its key and number in a line, as its message says; None: it is new.
        parked: its key and number in a line, if it waits.
        taken: whether it has all its places.
        blocked: the key of the limit that has none for it; None: it has all.
        oldest: the task that holds a place of that limit for the longest time.
    """

    message: Message
    places: tuple[Place, ...]
    waits: bool
    came_from: tuple[str, int] | None = None
    parked: tuple[str, int] | None = None
    taken: bool = False
    blocked: str | None = None
    oldest: str = ""

    @property
    def task_id(self) -> str:
        """The id of the task."""
        return self.message.id


@define
class Change:
    """What follows from a change of places.

    Attributes:
        woken: messages to publish: their tasks have a place now.
        entries: the keys of parked tasks to remove afterwards.
    """

    woken: list[Message] = field(factory=list)
    entries: list[str] = field(factory=list)


@define(eq=False)
class _Line:
    """One key during a change."""

    place: Place
    limit: int
    version: int
    places: Places
    changed: bool = False
    #: The tasks whose end frees places here.
    freed: list[str] = field(factory=list)
    woken: Change = field(factory=Change)

    @property
    def full(self) -> bool:
        return len(self.places.holders) >= self.limit

    def set(self, places: Places) -> None:
        if places != self.places:
            self.places, self.changed = places, True


class PlaceKeeper:
    """Takes and frees places in batches. Thread-safe.

    All methods raise `GaveUp` if the worker stops while the backend is unavailable.

    Args:
        runtime: the drivers of the app.
        grace_seconds: how long a task may take from its place to its start.
        retrier: retries while the backend is unavailable.
    """

    def __init__(self, runtime: Runtime, *, grace_seconds: float, retrier: Retrier) -> None:
        self._runtime = runtime
        self._grace_seconds = grace_seconds
        self._retrier = retrier
        self._largest_value = runtime.backend.capabilities.largest_value_bytes

    def take(self, requests: Sequence[Request]) -> Change:
        """Take the places of each request; sets what became of it. What waits is in its line afterwards."""
        change = Change()
        waiting = list(requests)
        while waiting:
            self._change(waiting, {}, change)
            # Only now are their numbers theirs. If a number was skipped meanwhile, the task takes another one.
            waiting = self._enter_lines([one for one in waiting if one.parked is not None and not one.taken])
        return change

    def free(self, freed: Mapping[str, Sequence[Place]]) -> Change:
        """Free the places of tasks, by their ids, and wake those that wait for them."""
        change = Change()
        self._change([], freed, change)
        return change

    def recover(self, limits: Mapping[str, int]) -> Change:
        """Free the places of tasks whose run has lost its lease, and wake those that wait for them.

        A broker that holds messages as long as a connection lives does not deliver them again while their worker is
        stopped. So nothing else would notice.

        Args:
            limits: the limits to look at, by name, as the code says.
        """
        found = values_under(self._runtime.backend, PLACE_PREFIX)
        places = [(key, places) for key, one in found if (places := decoded_places(one)) is not None]
        waiting = [Place(one.name, key, limits[one.name]) for key, one in places if one.waiting and one.name in limits]
        change = Change()
        if waiting:
            self._change([], {}, change, recovered=waiting)
        return change

    def remove_entries(self, change: Change) -> None:
        """Remove the parked tasks that were woken, now that their messages are published."""
        if change.entries:
            self._write([ValueWrite(key=key, value=None) for key in change.entries])

    # One change

    def _change(
        self,
        requests: Sequence[Request],
        freed: Mapping[str, Sequence[Place]],
        change: Change,
        *,
        recovered: Sequence[Place] = (),
    ) -> None:
        places = [place for one in requests for place in one.places]
        places += [*(one for each in freed.values() for one in each), *recovered]
        lines, time, read_at = self._load({place.key: place for place in places})
        freeing = {task_id: {place.key for place in each} for task_id, each in freed.items()}
        open_requests, recovering = list(requests), {place.key for place in recovered}
        while open_requests or freeing or recovering:
            now = StoreTime(time.clock, time.seconds + self._runtime.clock.monotonic() - read_at)
            touched = [lines[place.key] for one in open_requests for place in one.places]
            touched += [lines[key] for keys in (*freeing.values(), recovering) for key in keys]
            touched = list({line.place.key: line for line in touched}.values())
            self._leave(lines, freeing, change)
            if open_requests or recovering:
                here = {one.task_id for one in open_requests}
                self._drop_dead([line for line in touched if line.full], here, now)
            self._wake(touched, now)
            for one in open_requests:
                self._decide(one, lines, now)
            self._wake(touched, now)  # a task that does not wait has given up the places that it was woken for
            refused = self._store(touched)
            for line in touched:
                if line.place.key not in refused:
                    change.woken += line.woken.woken
                    change.entries += line.woken.entries
                line.woken, line.freed, line.changed = Change(), [], False
            freeing = {task_id: left for task_id, keys in freeing.items() if (left := keys & refused)}
            open_requests, recovering = self._again(open_requests, refused), recovering & refused

    def _again(self, requests: Sequence[Request], refused: set[str]) -> list[Request]:
        """The requests that are decided again, since another worker has changed one of their keys.

        A number that one has taken in another line stays without a message, and is skipped.
        """
        again = [one for one in requests if any(place.key in refused for place in one.places)]
        for one in again:
            one.taken, one.blocked, one.parked = False, None, None
        return again

    def _leave(self, lines: Mapping[str, _Line], freeing: Mapping[str, set[str]], change: Change) -> None:
        """Let tasks give up their places. One that has none any more may have died before it woke the next one."""
        unsent = []
        for task_id, keys in freeing.items():
            for key in keys:
                line = lines[key]
                if line.places.holds(task_id):
                    line.set(line.places.without({task_id}))
                    line.freed.append(task_id)
                else:
                    unsent += [
                        line_key(key, one.number)
                        for one in line.places.holders
                        if one.by == task_id and one.number is not None
                    ]
        for key, stored in zip(unsent, self._read(unsent), strict=True):
            if stored is not None and stored.value != SKIPPED:
                _, message = decode_parked(stored.value)
                change.entries.append(key)
                if message is not None:
                    change.woken.append(message)

    def _drop_dead(self, lines: Sequence[_Line], here: set[str], now: StoreTime) -> None:
        """Free the places of tasks that have ended, or whose run has lost its lease; not of those that come now."""
        ids = list({one.task_id for line in lines for one in line.places.holders} - here)
        if not ids:
            return
        records = self._retrier.call("read", lambda: self._runtime.backend.read(ids))
        known = dict(zip(ids, records, strict=True))
        unix_now, grace = self._runtime.clock.now(), self._grace_seconds
        for line in lines:
            dead = {
                one.task_id
                for one in line.places.holders
                if one.task_id in known
                and not is_live(one, known[one.task_id], now=now.seconds, unix_now=unix_now, grace_seconds=grace)
            }
            if dead:
                line.set(line.places.without(dead))

    def _wake(self, lines: Sequence[_Line], now: StoreTime) -> None:
        """Give free places to the tasks that wait first."""
        while ready := [line for line in lines if line.places.waiting and not line.full]:
            keys = [line_key(line.place.key, line.places.first) for line in ready]
            stored = self._read(keys)
            missing = [key for key, one in zip(keys, stored, strict=True) if one is None]
            late = dict(zip(missing, self._write([_skip(key) for key in missing]), strict=True)) if missing else {}
            for line, key, one in zip(ready, keys, stored, strict=True):
                value = late[key].current if one is None else one
                self._wake_first(line, key, None if value is None else value.value, now)

    def _wake_first(self, line: _Line, key: str, value: bytes | None, now: StoreTime) -> None:
        number, places = line.places.first, line.places
        line.set(replace(places, first=number + 1))
        if value is None or value == SKIPPED:
            return
        task_id, message = decode_parked(value)
        line.woken.entries.append(key)
        if places.holds(task_id):
            return  # it stands in the line twice
        by = line.freed.pop(0) if line.freed else ""
        line.set(line.places.with_holder(Holder(task_id=task_id, since=now.seconds, number=number, by=by)))
        if message is not None:
            line.woken.woken.append(message)

    def _decide(self, one: Request, lines: Mapping[str, _Line], now: StoreTime) -> None:
        """Take the places of a request, in the order of their keys; or put it in the line of the first that it lacks.

        It keeps those that come before. Since the order is the same for all, no two tasks wait for each other.
        """
        needed = [lines[place.key] for place in one.places]
        held = [line for line in needed if line.places.holds(one.task_id)]
        blocked = next((line for line in needed if line not in held and (line.full or line.places.waiting)), None)
        before = needed if blocked is None else needed[: needed.index(blocked)]
        for line in before:
            if line not in held:
                line.set(line.places.with_holder(Holder(task_id=one.task_id, since=now.seconds)))
            elif _is_pending(line.places, one.task_id):
                line.set(line.places.came(one.task_id, now.seconds))
        if blocked is None:
            one.taken, one.parked = True, None
            return
        one.blocked, one.parked = blocked.place.key, None
        one.oldest = min(blocked.places.holders, key=lambda holder: holder.since).task_id if blocked.full else ""
        for line in needed:
            if one.waits and line in before:
                line.set(line.places.waiting_elsewhere(one.task_id))
            else:
                line.set(line.places.without({one.task_id}))
        if one.came_from is not None and one.came_from[0] == one.blocked and _waits(one.came_from[1], blocked.places):
            one.parked = one.came_from
        elif one.waits:
            one.parked = one.blocked, blocked.places.next
            blocked.set(replace(blocked.places, next=blocked.places.next + 1))

    def _enter_lines(self, requests: Sequence[Request]) -> list[Request]:
        """Store the messages of waiting tasks under their numbers; the tasks whose number was skipped."""
        writes = []
        for one in requests:
            if one.parked is not None:
                value = encode_parked(one.message, self._largest_value)
                writes.append(_entry(line_key(*one.parked), value, version=0))
        outcomes = self._write(writes) if writes else ()
        skipped, kept = [], []
        for one, write, outcome in zip(requests, writes, outcomes, strict=True):
            if outcome.written or outcome.current is None:
                continue
            if _is_of(one.task_id, outcome.current):
                kept.append(_entry(write.key, write.value, version=outcome.current.version))
            else:
                if outcome.current.value == SKIPPED:  # the mark was for this task alone
                    kept.append(ValueWrite(key=write.key, value=None, if_version=outcome.current.version))
                one.came_from, one.parked, one.blocked = None, None, None
                skipped.append(one)
        if kept:
            self._write(kept)
        return skipped

    # The backend

    def _load(self, places: Mapping[str, Place]) -> tuple[dict[str, _Line], StoreTime, float]:
        """The lines of keys, the backend's time, and when it was read."""
        names = list(dict.fromkeys(place.name for place in places.values()))
        wanted = [CLOCK_KEY, *map(setting_key, names), *(PLACE_PREFIX + key for key in places)]
        stored = self._read(wanted)
        read_at, time = self._runtime.clock.monotonic(), store_time(stored[0])
        if time is None:
            time = self._retrier.call("start the clock of limits", lambda: start_clock(self._runtime.backend))
            read_at = self._runtime.clock.monotonic()
        settings = dict(zip(names, stored[1:], strict=False))
        lines = {}
        for place, one in zip(places.values(), stored[1 + len(names) :], strict=True):
            limit = effective_limit(place.limit, settings[place.name])
            version = 0 if one is None else one.version
            lines[place.key] = _Line(place, limit, version, _decoded(place, one, time))
        return lines, time, read_at

    def _store(self, lines: Iterable[_Line]) -> set[str]:
        """Store changed lines; the keys of those that another worker has changed, which are read again."""
        changed = [line for line in lines if line.changed]
        if not changed:
            return set()
        outcomes = self._write([_write_of(line) for line in changed])
        refused = set()
        for line, outcome in zip(changed, outcomes, strict=True):
            current = outcome.current
            if outcome.written or (current is not None and current.value == encode(line.places)):
                line.version = 0 if current is None else current.version
            else:
                refused.add(line.place.key)
                line.version = 0 if current is None else current.version
                line.places = _decoded(line.place, current, StoreTime(line.places.clock, 0.0))
        return refused

    def _read(self, keys: Sequence[str]) -> Sequence[VersionedValue | None]:
        return self._retrier.call("read limits", lambda: self._runtime.backend.read_values(keys)) if keys else ()

    def _write(self, writes: Sequence[ValueWrite]) -> Sequence[ValueOutcome]:
        return self._retrier.call("change limits", lambda: self._runtime.backend.write_values(writes))


def _write_of(line: _Line) -> ValueWrite:
    """The write of a line; one that is empty is removed, so that unused keys take no room."""
    unused = not line.places.holders and not line.places.waiting
    return ValueWrite(
        key=PLACE_PREFIX + line.place.key,
        value=encode(line.places),
        if_version=line.version,
        expires_in_seconds=_SKIPPED_SECONDS * 2 if unused else None,
    )


def _is_pending(places: Places, task_id: str) -> bool:
    """Whether a task has not come yet since it was woken, or waits for another limit."""
    return any(one.task_id == task_id and (one.number is not None or one.waits) for one in places.holders)


def _waits(number: int, places: Places) -> bool:
    return places.first <= number < places.next


def _is_of(task_id: str, stored: VersionedValue | None) -> bool:
    """Whether a task is stored under a number, and not the mark that the number was skipped, or another task."""
    return stored is not None and stored.value != SKIPPED and decode_parked(stored.value)[0] == task_id


def _entry(key: str, value: bytes | None, *, version: int) -> ValueWrite:
    return ValueWrite(key=key, value=value, if_version=version, expires_in_seconds=_ENTRY_SECONDS)


def _skip(key: str) -> ValueWrite:
    return ValueWrite(key=key, value=SKIPPED, if_version=0, expires_in_seconds=_SKIPPED_SECONDS)


def _decoded(place: Place, stored: VersionedValue | None, time: StoreTime) -> Places:
    """The stored places of a key; empty where nothing that can be read is stored."""
    places = None if stored is None else decoded_places(stored)
    if places is None:
        return Places(name=place.name, clock=time.clock)
    if places.clock == time.clock:
        return places
    holders = tuple(replace(one, since=time.seconds) for one in places.holders)
    return replace(places, clock=time.clock, holders=holders)


def decoded_places(stored: VersionedValue) -> Places | None:
    """The places in a value; None: another version of drivetrain has written it."""
    try:
        return decode(stored.value, Places)
    except ValueError:
        return None
