"""Takes and frees the places of concurrency limits, by compare-and-set on one versioned value for each key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import define, field
from msgspec.structs import replace

from drivetrain.contract import Message, ValueOutcome, ValueWrite, VersionedValue, evolve
from drivetrain.worker.limits.line import Holder, Places, is_live
from drivetrain.worker.limits.line_entries import LineEntries
from drivetrain.worker.limits.parked import AWAITED, SKIPPED, decode_parked, line_key
from drivetrain.worker.limits.place import Place
from drivetrain.worker.limits.settings import effective_limit, setting_key
from drivetrain.worker.limits.store_clock import CLOCK_KEY, StoreTime, start_clock, store_time
from drivetrain.worker.limits.waits import begin_wait
from drivetrain.worker.publisher import LIMITED_HEADER
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.value_codec import decode, encode
from drivetrain.worker.value_listing import values_under

__all__ = ["PLACE_PREFIX", "Change", "PlaceKeeper", "Request", "decoded_places"]

#: The keys of places begin with it; the key of the limit follows.
PLACE_PREFIX = "limits/places/"
#: How long the empty value of a key is kept, in seconds: its numbers go on where entries of earlier ones may be stored.
_UNUSED_SECONDS = 7200.0


@define(eq=False)
class Request:
    """A task that needs places.

    Attributes:
        message: its message; once it waits, with its `LIMITED_HEADER`.
        places: the places that it needs, in the order of their keys.
        waits: whether it waits in a line where there is none.
        numbers: its numbers in lines, by the key of the limit: the one in its message, and those that it gets.
        given: the keys of lines in which it got a number now.
        parked: its key and number in a line, if it waits.
        taken: whether it has all its places.
        blocked: the key of the limit that has none for it; None: it has all.
        oldest: the task that holds a place of that limit for the longest time.
    """

    message: Message
    places: tuple[Place, ...]
    waits: bool
    numbers: dict[str, int] = field(factory=dict)
    given: set[str] = field(factory=set)
    parked: tuple[str, int] | None = None
    taken: bool = False
    blocked: str | None = None
    oldest: str = ""

    @property
    def task_id(self) -> str:
        """The id of the task."""
        return self.message.id

    @property
    def limit(self) -> str:
        """The name of the limit that has no place for it; empty: it has all."""
        return next((place.name for place in self.places if place.key == self.blocked), "")

    @property
    def number(self) -> tuple[str, int]:
        """`parked`, of a task that waits."""
        assert self.parked is not None  # noqa: S101
        return self.parked

    def wait(self, now: float) -> Message:
        """Its message, which says from now on for which limit it waits; ``now``: Unix seconds."""
        header, _ = begin_wait(self.message, self.limit, now)
        self.message = evolve(self.message, headers={**self.message.headers, LIMITED_HEADER: header})
        return self.message

    def lose_number(self, key: str) -> None:
        """Forget its number in a line: that is not its own."""
        del self.numbers[key]
        self.given.discard(key)


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
    #: Whether the message of the task that waits first is not stored yet.
    awaits_entry: bool = False
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
        self._entries = LineEntries(self._read, self._write, runtime.backend.capabilities.largest_value_bytes)

    def take(self, requests: Sequence[Request]) -> Change:
        """Take the places of each request; sets what became of it. What waits is in its line afterwards."""
        change = Change()
        waiting = list(requests)
        while waiting:
            self._change(waiting, {}, change)
            # Only now are their numbers theirs. Meanwhile a place may have become free for one.
            entering = {one.parked: one for one in waiting if one.parked is not None}
            now = self._runtime.clock.now()
            awaited, refused = self._entries.store({number: one.wait(now) for number, one in entering.items()})
            for number in refused:
                entering[number].lose_number(number[0])
            waiting = [entering[number] for number in (*awaited, *refused)]
        self._give_up_numbers(requests, change)
        return change

    def _give_up_numbers(self, requests: Sequence[Request], change: Change) -> None:
        """Mark the numbers of requests that wait in another line by now, and wake those behind them.

        A worker that freed a place meanwhile has left it to the task of that number. Nobody else would look again.
        """
        given_up = [
            (place, one.numbers[place.key])
            for one in requests
            for place in one.places
            if place.key in one.given and (place.key, one.numbers[place.key]) != one.parked
        ]
        if given_up:
            self._entries.abandon([(place.key, number) for place, number in given_up])
            self._change([], {}, change, recovered=[place for place, _ in given_up])

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
            here = {one.task_id for one in open_requests}
            self._leave(lines, freeing, change)
            if open_requests or recovering:
                self._drop_dead([line for line in touched if line.full], here, now)
            self._wake(touched, here, now)
            for one in open_requests:
                self._decide(one, lines, now)
            self._wake(touched, here, now)  # a task that does not wait has given up the places that it was woken for
            refused = self._store(touched)
            # The message of a first task may have been stored just before its place became free, unseen by its worker.
            unseen = {line.place.key for line in touched if line.awaits_entry and line.changed} - refused
            for line in touched:
                if line.place.key not in refused:
                    change.woken += line.woken.woken
                    change.entries += line.woken.entries
                line.woken, line.freed, line.changed, line.awaits_entry = Change(), [], False, False
            freeing = {task_id: left for task_id, keys in freeing.items() if (left := keys & refused)}
            open_requests, recovering = self._again(open_requests, refused), (recovering & refused) | unseen

    def _again(self, requests: Sequence[Request], refused: set[str]) -> list[Request]:
        """The requests that are decided again, since another worker has changed one of their keys.

        One that has got a number in another line keeps it.
        """
        for one in requests:
            if one.parked is not None and one.parked[0] in refused and one.parked[0] in one.given:
                one.lose_number(one.parked[0])
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
            if stored is not None and stored.value not in (AWAITED, SKIPPED):
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

    def _wake(self, lines: Sequence[_Line], here: set[str], now: StoreTime) -> None:
        """Give free places to the tasks that wait first; those that are decided ``here`` need no message."""
        while ready := [line for line in lines if line.places.waiting and not line.full and not line.awaits_entry]:
            stored = self._entries.first([(line.place.key, line.places.first) for line in ready])
            for line, value in zip(ready, stored, strict=True):
                self._wake_first(line, value, here, now)

    def _wake_first(self, line: _Line, value: bytes, here: set[str], now: StoreTime) -> None:
        number, places = line.places.first, line.places
        if value == AWAITED and not places.is_overdue(now.seconds):
            # It stays first: its worker stores its message in a moment, and then gives it the place.
            line.awaits_entry = True
            line.set(places.stalled(now.seconds))
            return
        line.set(places.without_first())
        if value in (AWAITED, SKIPPED):
            return
        task_id, message = decode_parked(value)
        line.woken.entries.append(line_key(line.place.key, number))
        if places.holds(task_id):
            return  # it stands in the line twice
        by = line.freed.pop(0) if line.freed else ""
        line.set(line.places.with_holder(Holder(task_id=task_id, since=now.seconds, number=number, by=by)))
        if message is not None and task_id not in here:
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
        if not one.waits:
            return
        number = one.numbers.get(one.blocked)
        if number is None or not blocked.places.first <= number < blocked.places.next:
            one.numbers[one.blocked] = number = blocked.places.next
            one.given.add(one.blocked)
            blocked.set(replace(blocked.places, next=number + 1))
        one.parked = one.blocked, number

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
        expires_in_seconds=_UNUSED_SECONDS if unused else None,
    )


def _is_pending(places: Places, task_id: str) -> bool:
    """Whether a task has not come yet since it was woken, or waits for another limit."""
    return any(one.task_id == task_id and (one.number is not None or one.waits) for one in places.holders)


def _decoded(place: Place, stored: VersionedValue | None, time: StoreTime) -> Places:
    """The stored places of a key; empty where nothing that can be read is stored."""
    places = None if stored is None else decoded_places(stored)
    if places is None:
        return Places(name=place.name, clock=time.clock)
    if places.clock == time.clock:
        return places
    holders = tuple(replace(one, since=time.seconds) for one in places.holders)
    return replace(places, clock=time.clock, holders=holders, stall=None)


def decoded_places(stored: VersionedValue) -> Places | None:
    """The places in a value; None: another version of drivetrain has written it."""
    try:
        return decode(stored.value, Places)
    except ValueError:
        return None
