"""Records of tasks: transitions, reading, waiting, leases, retention; and the bodies of large messages."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from drivetrain.contract import (
    Outcome,
    Renewal,
    RunLease,
    State,
    TaskRecord,
    Transition,
    check_size,
    check_transition_sizes,
    chunks,
    record_and_complete,
)
from drivetrain_redis.codec import LARGEST_VALUE_BYTES, STATES, indexed_states, pack_transitions, unpack_record
from drivetrain_redis.connection import Client
from drivetrain_redis.groups import Groups, unpack_progress
from drivetrain_redis.keys import TASK_SUFFIXES, Keys, TaskKeys
from drivetrain_redis.scripts import LARGEST_BATCH, Call, Script, command
from drivetrain_redis.waiting import Waiting

__all__ = ["Records"]

#: A task that has ended, and its packed record if the notification held it.
_Ended = tuple[str, bytes | None]

_WAIT = Script.load("record_common", "wait")
_RENEW = Script.load("record_common", "renew")
_SHORTEN_RETENTION = Script.load("record_common", "index", "shorten_retention")
_FORGET = Script.load("record_common", "index", "forget")


class Records:
    """The task records and bodies of a backend. Thread-safe.

    Args:
        client: of the server or the cluster.
        keys: of the namespace.
        groups: completes members.
        waiting: waits for the ends of tasks.
        indexed: the states whose tasks are indexed; see ``index.lua``.
    """

    def __init__(
        self, client: Client, keys: Keys, groups: Groups, waiting: Waiting, indexed: AbstractSet[State]
    ) -> None:
        constants = indexed_states(state for state in State if state in indexed)
        self._record = Script.load("record_common", "index", "enter", "record", constants=constants)
        self._client = client
        self._keys = keys
        self._groups = groups
        self._waiting = waiting
        self._tasks = TaskKeys(client)
        self._waits = itertools.count(1)

    def record(self, transitions: Sequence[Transition]) -> Sequence[Outcome]:
        """See `Backend.record`."""
        if not transitions:
            return []
        check_transition_sizes(transitions, LARGEST_VALUE_BYTES)
        if self._client.supports_cross_slot:
            return self._record_with_members(transitions)
        return record_and_complete(transitions, self._record_alone, self._groups.complete)

    def _record_with_members(self, transitions: Sequence[Transition]) -> list[Outcome]:
        """Record, and complete members in the same step."""
        parts = list(chunks(transitions, LARGEST_BATCH))
        replies = self._client.run([self._record_call(part, members=True) for part in parts])
        return [outcome for part, reply in zip(parts, replies, strict=True) for outcome in _outcomes(part, reply)]

    def _record_alone(self, transitions: Sequence[Transition]) -> list[Outcome]:
        """Record only: on a cluster the groups of members are on other nodes."""
        keys = [self._keys.task(transition.task_id) for transition in transitions]
        outcomes: dict[int, Outcome] = {}
        parts = list(self._client.by_slot(keys))
        calls = [self._record_call([transitions[index] for index in part], members=False) for part in parts]
        for part, reply in zip(parts, self._client.run(calls), strict=True):
            outcomes.update(zip(part, _outcomes([transitions[index] for index in part], reply), strict=True))
        return [outcomes[index] for index in range(len(transitions))]

    def _record_call(self, transitions: Sequence[Transition], *, members: bool) -> Call:
        keys = [self._keys.task(transition.task_id) for transition in transitions]

        def group_key(group_id: str) -> int:
            keys.append(self._keys.group(group_id))
            return len(keys)

        packed = pack_transitions(transitions, group_key if members else None)
        return self._record.call(keys, packed, () if members else TASK_SUFFIXES)

    def read(self, task_ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        """See `Backend.read`."""
        found = self._get([self._keys.task(task_id) for task_id in task_ids])
        return [
            None if data is None else unpack_record(task_id, data)
            for task_id, data in zip(task_ids, found, strict=True)
        ]

    def wait(self, task_ids: Sequence[str], *, timeout_seconds: float) -> Mapping[str, TaskRecord | None]:
        """See `Backend.wait`."""
        if not task_ids:
            return {}
        number, many = str(next(self._waits)), " many" if len(task_ids) > 1 else ""
        ids = {self._keys.task(task_id): task_id for task_id in task_ids}
        keys = list(ids)
        registered: set[str] = set()

        def look(pause: float, channel: str) -> tuple[float, list[_Ended]]:
            entry = f"{channel} {number}{many}" if channel else ""
            found = self._tasks.run(_WAIT, keys, lambda _: (), (entry,))
            if entry and not all(indexes for _, indexes in found):
                registered.add(entry)
            return pause, [(ids[keys[part[index]]], None) for part, indexes in found for index in indexes]

        def read_notifications(notifications: list[bytes]) -> list[_Ended]:
            # Those of an earlier wait are ignored: their task may have begun again.
            ended = [_ended(text) for text in notifications if text]
            return [(ids[key], record) for wait, key, record in ended if wait == number and key in ids]

        ended = self._waiting.until(look, [], timeout_seconds, read_notifications)
        found = {task_id for task_id, _ in ended}
        self._unregister([key for key in keys if ids[key] not in found], registered)
        return {task_id: None if data is None else unpack_record(task_id, data) for task_id, data in ended}

    def _unregister(self, keys: Sequence[bytes], entries: set[str]) -> None:
        """Remove the entries of a wait, or a task that is waited for often would gather them."""
        if keys and entries:
            waiting = [key + b":waiting" for key in keys]
            self._client.run([command("SREM", key, *entries, key=key) for key in waiting])

    def renew(self, leases: Sequence[RunLease]) -> Sequence[Renewal]:
        """See `Backend.renew`."""
        renewals: dict[int, Renewal] = {}
        keys = [self._keys.task(lease.task_id) for lease in leases]
        for part, reply in self._tasks.run(_RENEW, keys, lambda index: (leases[index].run, leases[index].seconds)):
            for index, held, state in zip(part, reply[::2], reply[1::2], strict=True):
                renewals[index] = Renewal(held=bool(held), state=None if state < 0 else STATES[state])
        return [renewals[index] for index in range(len(leases))]

    def shorten_retention(self, task_ids: Sequence[str], *, retention_seconds: float) -> None:
        """See `Backend.shorten_retention`."""
        keys = [self._keys.task(task_id) for task_id in task_ids]
        self._tasks.run(_SHORTEN_RETENTION, keys, lambda _: (), (retention_seconds,))

    def forget(self, task_ids: Sequence[str]) -> None:
        """See `Backend.forget`."""
        self._tasks.run(_FORGET, [self._keys.task(task_id) for task_id in task_ids], lambda _: ())

    def store_bodies(self, bodies: Mapping[str, bytes]) -> None:
        """See `Backend.store_bodies`."""
        for body in bodies.values():
            check_size("a body", body, LARGEST_VALUE_BYTES)
        if bodies:
            keyed = [(self._keys.body(key), body) for key, body in bodies.items()]
            self._client.run([command("SET", key, body, key=key) for key, body in keyed])

    def load_bodies(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """See `Backend.load_bodies`."""
        return self._get([self._keys.body(key) for key in keys])

    def drop_bodies(self, keys: Sequence[str]) -> None:
        """See `Backend.drop_bodies`."""
        if keys:
            bodies = [self._keys.body(key) for key in keys]
            self._client.run([command("UNLINK", key, key=key) for key in bodies])

    def _get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of keys, in one round trip."""
        if not keys:
            return []
        if self._client.supports_cross_slot:
            values: list[bytes | None]
            (values,) = self._client.run([command("MGET", *keys, writes=False)])
            return values
        return self._client.run([command("GET", key, key=key, writes=False) for key in keys])


def _ended(text: bytes) -> tuple[str, bytes, bytes | None]:
    """A notification: the number of the wait, the key of the task that has ended, and its record if included."""
    number, length, rest = text.split(b" ", 2)
    size = int(length)
    return number.decode(), rest[:size], rest[size:] or None


def _outcomes(transitions: Sequence[Transition], reply: list[Any]) -> list[Outcome]:
    values = iter(reply)
    return [
        Outcome(
            applied=applied == 1,
            before=None if data is None else unpack_record(transition.task_id, data),
            group=None if progress is None else unpack_progress(progress),
        )
        for transition, applied, data, progress in zip(transitions, values, values, values, strict=True)
    ]
