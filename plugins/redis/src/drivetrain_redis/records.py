"""Records of tasks as Redis keeps them, and transitions as scripts take them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from struct import Struct

from drivetrain.contract import ServiceRefused, State, StateChange, TaskRecord, TooLarge, Transition

__all__ = ["LARGEST_VALUE_BYTES", "STATES", "check_size", "check_sizes", "pack_new", "pack_wishes", "record_of"]

#: Lua handles larger ones too, and keeps everybody waiting meanwhile.
LARGEST_VALUE_BYTES = 32 * 1024 * 1024

STATES = tuple(State)
_NUMBERS = {state: number for number, state in enumerate(STATES)}
_RECEIVED, _STARTED = _NUMBERS[State.RECEIVED], _NUMBERS[State.STARTED]

#: As in ``lua/record_common.lua``: flags, state, attempt, starts, lease, expiry, and the lengths of run, name,
#: entries and downstream. The payload is the rest.
_RECORD = Struct(">BBIIddIIII")
_RECORD_BYTES = _RECORD.size
_PAYLOAD, _DOWNSTREAM, _RUN, _LEASE, _EXPIRES, _MEMBER, _APART = 1, 2, 4, 8, 16, 32, 64
#: Payloads beyond this are not copied together with the others.
_LARGE_BYTES = 16_384

#: As in ``lua/record.lua``: state, what is told (the bits above), attempt, lease, retention, the place of the group
#: among the keys, index, and the lengths of run, name, entries, downstream and payload.
_WISH = Struct(">BBIddIQIIIII")

#: State, time, length of the worker's name.
_ENTRY = Struct(">BdI")

_pack_record, _unpack_record, _pack_wish, _pack_entry, _unpack_entry = (
    _RECORD.pack,
    _RECORD.unpack_from,
    _WISH.pack,
    _ENTRY.pack,
    _ENTRY.unpack_from,
)


def pack_wishes(wishes: Sequence[Transition], place_of: Callable[[str], int] | None) -> list[bytes]:
    """Transitions as ``record.lua`` takes them: one string, and after it the payloads that are large.

    Args:
        wishes: the transitions.
        place_of: the place of a group among the keys of the script; None: members are not completed.

    Raises:
        ServiceRefused: a number is beyond what is kept.
    """
    pieces: list[bytes] = []
    apart: list[bytes] = []
    for wish in wishes:
        lease, retention, member = wish.lease, wish.retention, wish.member
        told = place = index = 0
        run = payload = downstream = b""
        if wish.run is not None:
            told = _RUN
            run = _encode(wish.run)
        if wish.payload is not None:
            told |= _PAYLOAD
            payload = wish.payload
            if len(payload) > _LARGE_BYTES:
                told |= _APART
                apart.append(payload)
                payload = b""
        if wish.downstream is not None:
            told |= _DOWNSTREAM
            downstream = wish.downstream
        if lease is not None:
            told |= _LEASE
        if retention is not None:
            told |= _EXPIRES
        if member is not None and place_of is not None:
            told |= _MEMBER
            place, index = place_of(member.group_id), member.index
        number = _NUMBERS[wish.state]
        task, worker = _name_bytes(wish.task), _name_bytes(wish.worker)
        entry = _pack_entry(number, wish.at, len(worker)) + worker
        if number == _STARTED and wish.received_at is not None:
            entry = _pack_entry(_RECEIVED, wish.received_at, len(worker)) + worker + entry
        sizes = len(run), len(task), len(entry), len(downstream), len(payload)
        try:
            head = _pack_wish(number, told, wish.attempt, lease or 0.0, retention or 0.0, place, index, *sizes)
        except struct.error as error:
            raise ServiceRefused(f"a number of the transition of task {wish.task_id} is beyond what is kept") from error
        pieces += (head, run, task, entry, downstream, payload)
    return [b"".join(pieces), *apart]


def pack_new(wish: Transition) -> bytes:
    """The record that a transition to PENDING makes of a task that is not known: what ``enter.lua`` would write."""
    told = 0
    run = payload = downstream = b""
    if wish.run is not None:
        told, run = told | _RUN, _encode(wish.run)
    if wish.payload is not None:
        told, payload = told | _PAYLOAD, wish.payload
    if wish.downstream is not None:
        told, downstream = told | _DOWNSTREAM, wish.downstream
    number, task, worker = _NUMBERS[wish.state], _name_bytes(wish.task), _name_bytes(wish.worker)
    entry = _pack_entry(number, wish.at, len(worker)) + worker
    sizes = len(run), len(task), len(entry), len(downstream)
    head = _pack_record(told, number, wish.attempt, 0, 0.0, 0.0, *sizes)
    return b"".join((head, run, task, entry, downstream, payload))


def check_sizes(wishes: Sequence[Transition]) -> None:
    """Raise TooLarge where a transition has more to keep than is kept."""
    for wish in wishes:
        if wish.payload is not None:
            check_size("a payload", wish.payload)
        if wish.downstream is not None:
            check_size("a downstream", wish.downstream)


def check_size(what: str, value: bytes) -> None:
    """Raise TooLarge where ``value`` is larger than what is kept."""
    if len(value) > LARGEST_VALUE_BYTES:
        raise TooLarge(what, len(value), LARGEST_VALUE_BYTES)


def record_of(task_id: str, data: bytes) -> TaskRecord:
    """The record of a task that Redis keeps as ``data``."""
    flags, state, attempt, starts, lease, expires, run, task, entries, downstream = _unpack_record(data)
    run += _RECORD_BYTES  # from here on where each ends
    task += run
    entries += task
    downstream += entries
    return TaskRecord(
        task_id=task_id,
        state=STATES[state],
        attempt=attempt,
        task=_name_text(data[run:task]),
        run=_decode(data[_RECORD_BYTES:run]) if flags & _RUN else None,
        leased_until=lease if flags & _LEASE else None,
        starts=starts,
        payload=data[downstream:] if flags & _PAYLOAD else None,
        downstream=data[entries:downstream] if flags & _DOWNSTREAM else None,
        entries=Entries(data[task:entries]),
        expires_at=expires if flags & _EXPIRES else None,
    )


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _decode(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogatepass")


#: Names of tasks and workers are few.
_name_bytes = lru_cache(maxsize=1024)(_encode)
_name_text = lru_cache(maxsize=1024)(_decode)


class Entries(Mapping[State, StateChange]):
    """The entries of a record, decoded when somebody looks at them, which hardly anybody does. Immutable."""

    __slots__ = ("_data", "_entries")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._entries: dict[State, StateChange] | None = None

    def _decoded(self) -> dict[State, StateChange]:
        if self._entries is None:
            self._entries = dict(_entries_of(self._data))
        return self._entries

    def __getitem__(self, state: State) -> StateChange:
        return self._decoded()[state]

    def __iter__(self) -> Iterator[State]:
        return iter(self._decoded())

    def __len__(self) -> int:
        return len(self._decoded())

    def __repr__(self) -> str:
        return repr(self._decoded())


def _entries_of(data: bytes) -> Iterator[tuple[State, StateChange]]:
    at = 0
    while at < len(data):
        state, time, length = _unpack_entry(data, at)
        at += _ENTRY.size
        yield STATES[state], StateChange(time, _name_text(data[at : at + length]))
        at += length
