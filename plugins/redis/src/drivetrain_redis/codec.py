"""Messages, task records and transitions as bytes, as the Lua scripts take and keep them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from struct import Struct

from drivetrain.contract import LazyHistory, Message, ServiceRefused, State, StateChange, TaskRecord, Transition, utf8

__all__ = [
    "LARGEST_VALUE_BYTES",
    "STATES",
    "indexed_states",
    "pack_message",
    "pack_new_record",
    "pack_transitions",
    "unpack_message",
    "unpack_record",
]

#: Lua can handle larger values, but blocks all other clients meanwhile.
LARGEST_VALUE_BYTES = 32 * 1024 * 1024


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


# Messages: a head of fixed length, the id, the headers, and the body. Id, names and values are joined by NUL, which
# hardly any text holds; texts that hold one are kept as JSON. Lua reads the head only: the level and the ETA.

#: Kind, digit of the level, length of id and headers in bytes, a time in Unix seconds: the ETA, or without one the time
#: when the message was published. A message of an earlier version without an ETA has no time.
_HEAD = Struct(">BBId")
_HEAD_BYTES = _HEAD.size
#: The kind is a set of bits. Where the ETA was over when the message was published, the time of that follows the head.
_JSON, _ETA, _PUBLISHED = 1, 2, 4
_TIME = Struct(">d")
#: The digit of level 0 in ASCII.
_ZERO = 48

_pack_head, _unpack_head = _HEAD.pack, _HEAD.unpack_from


def pack_message(message: Message, now: float) -> bytes:
    """All of a message but its queue, published ``now`` (Unix seconds)."""
    headers, eta = message.headers, message.eta
    text = message.id
    if headers:
        text = "\0".join([text, *[part for pair in headers.items() for part in pair]])
    kind = 0
    if text.count("\0") != 2 * len(headers):
        kind, text = _JSON, json.dumps([message.id, dict(headers)])
    data = utf8(text)
    if eta is None:
        kind, eta = kind | _PUBLISHED, now
    elif eta > now:
        kind |= _ETA
    else:
        head = _pack_head(kind | _ETA | _PUBLISHED, _ZERO + message.priority, len(data), eta)
        return b"".join((head, _TIME.pack(now), data, message.body))
    return b"".join((_pack_head(kind, _ZERO + message.priority, len(data), eta), data, message.body))


def unpack_message(data: bytes, queue: str) -> Message:
    """The message that `pack_message` was given."""
    kind, level, length, eta = _unpack_head(data)
    start = _HEAD_BYTES if kind < _ETA | _PUBLISHED else _HEAD_BYTES + _TIME.size
    end = start + length
    if kind & _JSON:
        message_id, headers = json.loads(_decode(data[start:end]))
    else:
        first, _, rest = data[start:end].partition(b"\0")
        message_id, headers = _decode(first), _headers(rest).copy() if rest else {}
    return Message(
        id=message_id,
        queue=queue,
        body=data[end:],
        headers=headers,
        priority=level - _ZERO,
        eta=eta if kind & _ETA else None,
    )


@lru_cache(maxsize=256)
def _headers(data: bytes) -> dict[str, str]:
    """The headers in ``data``: many messages have the same ones."""
    parts = _decode(data).split("\0")
    return dict(zip(parts[::2], parts[1::2], strict=True))


# Records and transitions

STATES = tuple(State)
_NUMBERS = {state: number for number, state in enumerate(STATES)}
_RECEIVED, _STARTED = _NUMBERS[State.RECEIVED], _NUMBERS[State.STARTED]


def indexed_states(states: Iterable[State]) -> str:
    """The Lua that ``index.lua`` needs: which states are indexed."""
    return f"local INDEXED = {{{', '.join(f'[{_NUMBERS[state]}] = true' for state in states)}}}"


#: As in ``lua/record_common.lua``: flags, state, attempt, starts, lease, expiry, and the lengths of run, names, state
#: changes and downstream. The payload is the rest.
_RECORD = Struct(">BBIIddIIII")
_RECORD_BYTES = _RECORD.size
_PAYLOAD, _DOWNSTREAM, _RUN, _LEASE, _EXPIRES, _MEMBER, _SEPARATE, _NAMES = 1, 2, 4, 8, 16, 32, 64, 128
#: Larger payloads are separate arguments of the script, so that they are not copied.
_LARGE_BYTES = 16_384

#: As in ``lua/record.lua``: state, flags (the bits above), attempt, lease, retention, the index of the group among the
#: keys, that of the member, and the lengths of run, names, state changes, downstream and payload.
_TRANSITION = Struct(">BBIddIQIIIII")

#: The lengths of the name, the queue and the workflow of a task; these, and the parent, follow.
_NAMES_HEAD = Struct(">III")

#: State, time, length of the worker's name.
_CHANGE = Struct(">BdI")
_CHANGE_BYTES = _CHANGE.size

_pack_record, _unpack_record, _pack_transition, _pack_change, _unpack_change = (
    _RECORD.pack,
    _RECORD.unpack_from,
    _TRANSITION.pack,
    _CHANGE.pack,
    _CHANGE.unpack_from,
)


def pack_transitions(transitions: Sequence[Transition], group_key: Callable[[str], int] | None) -> list[bytes]:
    """Transitions as ``record.lua`` takes them: one string, and after it the payloads that are large.

    Args:
        transitions: the transitions.
        group_key: the index of a group among the keys of the script; None: members are not completed.

    Raises:
        ServiceRefused: a number is too large to be kept.
    """
    pieces: list[bytes] = []
    separate: list[bytes] = []
    for transition in transitions:
        lease, retention, member = transition.lease, transition.retention, transition.member
        flags = key = index = 0
        run = payload = downstream = b""
        if transition.run is not None:
            flags = _RUN
            run = utf8(transition.run)
        if transition.payload is not None:
            flags |= _PAYLOAD
            payload = transition.payload
            if len(payload) > _LARGE_BYTES:
                flags |= _SEPARATE
                separate.append(payload)
                payload = b""
        if transition.downstream is not None:
            flags |= _DOWNSTREAM
            downstream = transition.downstream
        if lease is not None:
            flags |= _LEASE
        if retention is not None:
            flags |= _EXPIRES
        if member is not None and group_key is not None:
            flags |= _MEMBER
            key, index = group_key(member.group_id), member.index
        number = _NUMBERS[transition.state]
        if transition.queue or transition.workflow or transition.parent:
            flags |= _NAMES
            names = _pack_names(transition)
        else:
            names = _name_bytes(transition.task)
        worker = _name_bytes(transition.worker)
        change = _pack_change(number, transition.at, len(worker)) + worker
        if number == _STARTED and transition.received_at is not None:
            change = _pack_change(_RECEIVED, transition.received_at, len(worker)) + worker + change
        sizes = len(run), len(names), len(change), len(downstream), len(payload)
        try:
            head = _pack_transition(
                number, flags, transition.attempt, lease or 0.0, retention or 0.0, key, index, *sizes
            )
        except struct.error as error:
            raise ServiceRefused(f"a number in the transition of task {transition.task_id} is too large") from error
        pieces += (head, run, names, change, downstream, payload)
    return [b"".join(pieces), *separate]


def pack_new_record(transition: Transition) -> bytes:
    """The record that a transition to PENDING makes of an unknown task: what ``enter.lua`` would write."""
    flags = 0
    run = payload = downstream = b""
    if transition.run is not None:
        flags, run = flags | _RUN, utf8(transition.run)
    if transition.payload is not None:
        flags, payload = flags | _PAYLOAD, transition.payload
    if transition.downstream is not None:
        flags, downstream = flags | _DOWNSTREAM, transition.downstream
    names = _name_bytes(transition.task)
    if transition.queue or transition.workflow or transition.parent:
        flags, names = flags | _NAMES, _pack_names(transition)
    number, worker = _NUMBERS[transition.state], _name_bytes(transition.worker)
    change = _pack_change(number, transition.at, len(worker)) + worker
    sizes = len(run), len(names), len(change), len(downstream)
    head = _pack_record(flags, number, transition.attempt, 0, 0.0, 0.0, *sizes)
    return b"".join((head, run, names, change, downstream, payload))


def unpack_record(task_id: str, data: bytes) -> TaskRecord:
    """The record of a task that Redis keeps as ``data``."""
    flags, state, attempt, starts, lease, expires, run, names, changes, downstream = _unpack_record(data)
    run += _RECORD_BYTES  # from here on where each ends
    names += run
    changes += names
    downstream += changes
    if flags & _NAMES:
        task, queue, workflow, parent = _split[data[run:names]]
    else:
        task, queue, workflow, parent = _name_text(data[run:names]), "", "", ""
    return TaskRecord(
        task_id=task_id,
        state=STATES[state],
        attempt=attempt,
        task=task,
        queue=queue,
        workflow=workflow,
        parent=parent,
        run=_decode(data[_RECORD_BYTES:run]) if flags & _RUN else None,
        leased_until=lease if flags & _LEASE else None,
        starts=starts,
        payload=data[downstream:] if flags & _PAYLOAD else None,
        downstream=data[changes:downstream] if flags & _DOWNSTREAM else None,
        history=_history(data, names, changes),
        expires_at=expires if flags & _EXPIRES else None,
    )


#: There are few names of tasks and workers.
_name_bytes = lru_cache(maxsize=1024)(utf8)
_name_text = lru_cache(maxsize=1024)(_decode)


def _pack_names(transition: Transition) -> bytes:
    """The name, queue, workflow and parent of a transition, as ``enter.lua`` reads them."""
    if not (transition.workflow or transition.parent):
        return _lone_names(transition.task, transition.queue)
    task, queue = _name_bytes(transition.task), _name_bytes(transition.queue)
    workflow, parent = utf8(transition.workflow), utf8(transition.parent)
    return _joined_names(task, queue, workflow, parent)


def _joined_names(task: bytes, queue: bytes, workflow: bytes, parent: bytes) -> bytes:
    return b"".join((_NAMES_HEAD.pack(len(task), len(queue), len(workflow)), task, queue, workflow, parent))


@lru_cache(maxsize=1024)
def _lone_names(task: str, queue: str) -> bytes:
    """The names of tasks that are workflows by themselves: there are few."""
    return _joined_names(utf8(task), utf8(queue), b"", b"")


def _split_names(data: bytes) -> tuple[str, str, str, str]:
    """The name, queue, workflow and parent of `_pack_names`."""
    task, queue, workflow = _NAMES_HEAD.unpack_from(data)
    task += _NAMES_HEAD.size  # from here on where each ends
    queue += task
    workflow += queue
    names = data[_NAMES_HEAD.size : task], data[task:queue], data[queue:workflow], data[workflow:]
    return _decode(names[0]), _decode(names[1]), _decode(names[2]), _decode(names[3])


class _SplitNames(dict[bytes, tuple[str, str, str, str]]):
    """The results of `_split_names`: many tasks have the same name and queue, and belong to no workflow.

    Faster than an `lru_cache`, which makes a key of its arguments.
    """

    def __missing__(self, data: bytes) -> tuple[str, str, str, str]:
        if len(self) >= _MOST_NAMES:
            self.clear()
        names = self[data] = _split_names(data)
        return names


_MOST_NAMES = 1024
_split = _SplitNames()


def _history(data: bytes, start: int, end: int) -> Mapping[State, StateChange]:
    """The history in a part of a record."""
    if end - start == _CHANGE_BYTES:  # of a task that was only sent: each start of a task reads when that was
        state, time, _ = _unpack_change(data, start)
        return {STATES[state]: StateChange(time)}
    return LazyHistory(data[start:end], _unpack_changes)


def _unpack_changes(data: bytes) -> dict[State, StateChange]:
    changes, at = dict[State, StateChange](), 0
    while at < len(data):
        state, time, length = _unpack_change(data, at)
        at += _CHANGE_BYTES
        if STATES[state] is State.RECEIVED:  # a release, which takes the start back; or the first change of a start
            changes.pop(State.STARTED, None)
        changes[STATES[state]] = StateChange(time, _name_text(data[at : at + length]))
        at += length
    return changes
