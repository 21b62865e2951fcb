"""Rows of the database as values of the contract, and back. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias
from urllib.parse import quote, unquote

from drivetrain.contract import LazyHistory, Message, State, StateChange, TaskRecord, Transition

__all__ = [
    "Row",
    "encode_headers",
    "history_after",
    "history_of",
    "message_of",
    "origin_after",
    "record_of",
    "split_origin",
]

#: A row of a table, as SQLite returns it.
Row: TypeAlias = tuple[Any, ...]

#: A longer text is rewritten without the changes that no longer count: a task may be tried a thousand times.
_LONGEST_HISTORY = 1_000

#: A text with one change is not longer, unless the name of its worker is.
_LONGEST_FIRST = 60

_STATES = {state.value: state for state in State}
_NAMES = {state: state.value for state in State}

_encode = json.JSONEncoder().encode
_decode = json.JSONDecoder().raw_decode


def history_of(text: str) -> Mapping[State, StateChange]:
    """The history in a text of `history_after`.

    The text is "STATE time worker STATE time worker …"; the last change to each state counts.
    """
    if len(text) < _LONGEST_FIRST and text.count(" ") == 2:
        return _changes(text)  # of a task that was only sent: each start of a task reads when that was
    return LazyHistory(text, _changes)


def history_after(text: str, transition: Transition) -> str:
    """The text of a history after a transition that was granted, as `drivetrain.contract.apply` has it."""
    if transition.state is State.PENDING and text:
        return text  # only a PENDING task can become PENDING: the time of the first sending stays
    worker = _quoted(transition.worker)
    added = f"{_NAMES[transition.state]} {transition.at!r} {worker}"
    if transition.received_at is not None and transition.state is State.STARTED:
        added = f"RECEIVED {transition.received_at!r} {worker} {added}"
    text = f"{text} {added}" if text else added
    return text if len(text) < _LONGEST_HISTORY else _shortened(text)


def _shortened(text: str) -> str:
    changes = _changes(text).items()
    return " ".join([f"{_NAMES[state]} {change.at!r} {_quoted(change.worker)}" for state, change in changes])


def _changes(text: str) -> dict[State, StateChange]:
    words, changes = iter(text.split(" ")), dict[State, StateChange]()
    for state, at, worker in zip(words, words, words, strict=True):
        if state == "RECEIVED":  # a release, which takes the start back; or the first of the two changes of a start
            changes.pop(State.STARTED, None)
        changes[_STATES[state]] = StateChange(float(at), _unquoted(worker))
    return changes


@lru_cache(maxsize=256)
def _quoted(worker: str) -> str:
    return quote(worker, errors="surrogatepass")


@lru_cache(maxsize=256)
def _unquoted(worker: str) -> str:
    return unquote(worker, errors="surrogatepass")


def record_of(row: Row) -> TaskRecord:
    """The record of a row of ``tasks``; its columns are those of `drivetrain.drivers.sqlite.records`."""
    state, attempt, run, leased_until, starts, history, task, origin, downstream, payload, expires, task_id, _ = row
    queue, workflow, parent = split_origin(origin) if origin else ("", "", "")
    return TaskRecord(
        task_id=task_id,
        state=_STATES[state],
        attempt=attempt,
        task=task,
        queue=queue,
        workflow=workflow,
        parent=parent,
        run=run,
        leased_until=leased_until,
        starts=starts,
        payload=payload,
        downstream=downstream,
        history=history_of(history),
        expires_at=None if expires == math.inf else expires,
    )


def origin_after(text: str, transition: Transition) -> str:
    """The text of an origin after a transition that was granted: an empty name of the transition changes nothing.

    The text is "queue workflow parent", as ASCII; empty: none of them is known.
    """
    queue, workflow, parent = transition.queue, transition.workflow, transition.parent
    if not (queue or workflow or parent):
        return text
    if text:
        before = split_origin(text)
        queue, workflow, parent = queue or before[0], workflow or before[1], parent or before[2]
    return f"{_quoted(queue)} {quote(workflow, errors='surrogatepass')} {quote(parent, errors='surrogatepass')}"


@lru_cache(maxsize=256)  # few tasks belong to a workflow, and there are few queues
def split_origin(text: str) -> tuple[str, str, str]:
    """The queue, workflow and parent in a text of `origin_after`."""
    queue, workflow, parent = text.split(" ")
    return _unquoted(queue), unquote(workflow, errors="surrogatepass"), unquote(parent, errors="surrogatepass")


def encode_headers(headers: Mapping[str, str]) -> str:
    """The headers of a message as ASCII text."""
    return _encode(dict(headers)) if headers else "{}"


def message_of(queue: str, fields: Sequence[Any]) -> Message:
    """The message of the columns priority, eta, id, headers and body."""
    priority, eta, message_id, headers, body = fields
    known = {} if headers == "{}" else _decode(headers)[0]
    return Message(id=message_id, queue=queue, body=body, headers=known, priority=priority, eta=eta)
