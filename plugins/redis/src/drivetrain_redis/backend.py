"""The backend of ``redis://``."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from drivetrain.contract import (
    BackendCapabilities,
    Completion,
    Group,
    GroupProgress,
    GroupRecord,
    Outcome,
    Renewal,
    RunLease,
    State,
    TaskPage,
    TaskRecord,
    Transition,
)
from drivetrain_redis.inventory import Inventory
from drivetrain_redis.keys import BESIDE_TASK, Keys
from drivetrain_redis.listening import Listening
from drivetrain_redis.locks import RedisLocks
from drivetrain_redis.options import Options
from drivetrain_redis.places import open_server
from drivetrain_redis.records import LARGEST_VALUE_BYTES, STATES, check_size, check_sizes, pack_wishes, record_of
from drivetrain_redis.scripts import Script
from drivetrain_redis.server import Call, command, script

__all__ = ["RedisBackend"]

T = TypeVar("T")
#: A task and its packed record, if it is at hand.
_Ended = tuple[str, bytes | None]

#: How many tasks one call of a script is about at most: others want their turn.
_CHUNK = 1_000

_RECORD = Script.load("record_common", "enter", "record")
_WAIT = Script.load("record_common", "wait")
_RENEW = Script.load("record_common", "renew")
_SETTLE = Script.load("record_common", "settle")
_FORGET = Script.load("record_common", "forget")
_OPEN_GROUPS = Script.load("record_common", "open_groups")
_COMPLETE = Script.load("record_common", "complete")


class RedisBackend(RedisLocks):
    """A backend on Redis or Valkey; see `drivetrain.contract.Backend`.

    Leases, locks and retention are counted by the clock of the server, which all its clients share.

    Args:
        options: of its URL.
    """

    def __init__(self, options: Options) -> None:
        self.capabilities = BackendCapabilities(
            durability=options.durability,
            notifies=True,
            largest_value_bytes=LARGEST_VALUE_BYTES,
            expiry_resolution_seconds=0.01,
            lists_tasks=True,
            store=options.store,
        )
        super().__init__(open_server(options), Keys(options.prefix))
        self._listening = Listening(options, self._server)
        self._inventory = Inventory(self._server, self._keys)
        self._waits = itertools.count(1)

    def __repr__(self) -> str:
        return f"RedisBackend({self._listening.shown})"

    def ping(self) -> None:
        """See `Backend.ping`."""
        self._server.every(("PING",))

    # Tasks

    def record(self, transitions: Sequence[Transition]) -> Sequence[Outcome]:
        """See `Backend.record`."""
        if not transitions:
            return []
        check_sizes(transitions)
        if self._server.whole:
            return self._record_whole(transitions)
        outcomes: list[Outcome] = []
        for part in _until_their_groups(transitions):
            outcomes += self._record_apart(part)
        return outcomes

    def _record_whole(self, wishes: Sequence[Transition]) -> list[Outcome]:
        """Record, and complete members in the same step."""
        parts = _parts(wishes)
        replies = self._server.run([self._record_call(part, members=True) for part in parts])
        return [outcome for part, reply in zip(parts, replies, strict=True) for outcome in _outcomes(part, reply)]

    def _record_apart(self, wishes: Sequence[Transition]) -> list[Outcome]:
        """Record, and then complete members: their groups are on other nodes."""
        keys = [self._keys.task(wish.task_id) for wish in wishes]
        outcomes: dict[int, Outcome] = {}
        lanes = list(self._server.lanes(keys))
        calls = [self._record_call([wishes[place] for place in lane], members=False) for lane in lanes]
        for lane, reply in zip(lanes, self._server.run(calls), strict=True):
            outcomes.update(zip(lane, _outcomes([wishes[place] for place in lane], reply), strict=True))
        done = [
            (place, Completion(member=wish.member, payload=wish.payload or b"", failed=wish.state is not State.SUCCESS))
            for place, wish in enumerate(wishes)
            if wish.member is not None and wish.state.terminal and outcomes[place].applied
        ]
        for (place, _), group in zip(done, self.complete([each for _, each in done]), strict=True):
            outcomes[place] = Outcome(applied=True, before=outcomes[place].before, group=group)
        return [outcomes[place] for place in range(len(wishes))]

    def _record_call(self, wishes: Sequence[Transition], *, members: bool) -> Call:
        task = self._keys.task
        keys = [task(wish.task_id) for wish in wishes]

        def place_of(group_id: str) -> int:
            keys.append(task(group_id) + b":group")
            return len(keys)

        packed = pack_wishes(wishes, place_of if members else None)
        return script(_RECORD, keys, packed, () if members else BESIDE_TASK)

    def read(self, task_ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        """See `Backend.read`."""
        found = self._get([self._keys.task(task_id) for task_id in task_ids])
        return [
            None if data is None else record_of(task_id, data) for task_id, data in zip(task_ids, found, strict=True)
        ]

    def wait(self, task_ids: Sequence[str], *, timeout_seconds: float) -> Mapping[str, TaskRecord | None]:
        """See `Backend.wait`."""
        if not task_ids:
            return {}
        number, many = str(next(self._waits)), " many" if len(task_ids) > 1 else ""
        ids = {self._keys.task(task_id): task_id for task_id in task_ids}
        keys = list(ids)
        tokens: set[str] = set()

        def look(pause: float, channel: str) -> tuple[float, list[_Ended]]:
            token = f"{channel} {number}{many}" if channel else ""
            found = self._on_tasks(_WAIT, keys, _nothing, (token,))
            if token and not all(places for _, places in found):
                tokens.add(token)
            return pause, [(ids[keys[lane[place]]], None) for lane, places in found for place in places]

        def said(texts: list[bytes]) -> list[_Ended]:
            # What is said of an earlier wait counts no more: its task may have begun anew.
            told = [_told(text) for text in texts if text]
            return [(ids[key], record) for wait, key, record in told if wait == number and key in ids]

        ended = self._listening.until(look, [], timeout_seconds, said)
        told = {task_id for task_id, _ in ended}
        self._leave([key for key in keys if ids[key] not in told], tokens)
        return {task_id: None if data is None else record_of(task_id, data) for task_id, data in ended}

    def _leave(self, keys: Sequence[bytes], tokens: set[str]) -> None:
        """After a wait: a task that is waited for again and again must not gather those who waited for it in vain."""
        if keys and tokens:
            waiting = [key + b":waiting" for key in keys]
            self._server.run([command("SREM", key, *tokens, key=key) for key in waiting])

    def renew(self, leases: Sequence[RunLease]) -> Sequence[Renewal]:
        """See `Backend.renew`."""
        renewals: dict[int, Renewal] = {}
        keys = [self._keys.task(lease.task_id) for lease in leases]
        for lane, reply in self._on_tasks(_RENEW, keys, lambda place: (leases[place].run, leases[place].seconds)):
            for place, held, state in zip(lane, reply[::2], reply[1::2], strict=True):
                renewals[place] = Renewal(held=bool(held), state=None if state < 0 else STATES[state])
        return [renewals[place] for place in range(len(leases))]

    def shorten_retention(self, task_ids: Sequence[str], *, retention_seconds: float) -> None:
        """See `Backend.shorten_retention`."""
        keys = [self._keys.task(task_id) for task_id in task_ids]
        self._on_tasks(_SETTLE, keys, _nothing, (retention_seconds,))

    def forget(self, task_ids: Sequence[str]) -> None:
        """See `Backend.forget`."""
        self._on_tasks(_FORGET, [self._keys.task(task_id) for task_id in task_ids], _nothing)

    def unfinished(self, *, limit: int, cursor: str | None = None) -> TaskPage:
        """See `Backend.unfinished`. A page looks at so many keys at the most, of finished tasks too."""
        return self._inventory.unfinished(limit, cursor)

    # Groups

    def open_groups(self, groups: Sequence[Group]) -> None:
        """See `Backend.open_groups`."""
        for group in groups:
            check_size("a continuation", group.continuation)
        keys = [self._keys.task(group.group_id) for group in groups]
        self._on_tasks(
            _OPEN_GROUPS,
            keys,
            lambda place: (
                str(groups[place].size),
                "1" if groups[place].collect else "0",
                groups[place].continuation,
            ),
        )

    def complete(self, completions: Sequence[Completion]) -> Sequence[GroupProgress | None]:
        """See `Backend.complete`."""
        for done in completions:
            check_size("a payload", done.payload)
        keys = [self._keys.task(done.member.group_id) + b":group" for done in completions]
        progress: dict[int, GroupProgress | None] = {}
        for lane, reply in self._on_tasks(_COMPLETE, keys, lambda place: _completed(completions[place])):
            progress.update(zip(lane, map(_progress, reply), strict=True))
        return [progress[place] for place in range(len(completions))]

    def read_groups(self, group_ids: Sequence[str]) -> Sequence[GroupRecord | None]:
        """See `Backend.read_groups`."""
        calls = []
        for group_id in group_ids:
            key = self._keys.task(group_id) + b":group"
            calls += [
                command("HMGET", key, "size", "collect", "next", "failed", key=key, writes=False),
                command("HLEN", key, key=key, writes=False),
            ]
        replies = self._server.run(calls) if calls else []
        return [
            _group(group_id, fields, length)
            for group_id, fields, length in zip(group_ids, replies[::2], replies[1::2], strict=True)
        ]

    def read_members(self, group_id: str) -> Sequence[bytes | None]:
        """See `Backend.read_members`. Empty where the group is not known."""
        (found,) = self.read_groups([group_id])
        if found is None or found.size == 0:
            return []
        key = self._keys.task(group_id) + b":group"
        calls = [
            command("HMGET", key, *range(first, min(first + _CHUNK, found.size)), key=key, writes=False)
            for first in range(0, found.size, _CHUNK)
        ]
        return [payload for reply in self._server.run(calls) for payload in reply]

    # Bodies

    def store_bodies(self, bodies: Mapping[str, bytes]) -> None:
        """See `Backend.store_bodies`."""
        for body in bodies.values():
            check_size("a body", body)
        if bodies:
            keyed = [(self._keys.body(key), body) for key, body in bodies.items()]
            self._server.run([command("SET", key, body, key=key) for key, body in keyed])

    def load_bodies(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """See `Backend.load_bodies`."""
        return self._get([self._keys.body(key) for key in keys])

    def drop_bodies(self, keys: Sequence[str]) -> None:
        """See `Backend.drop_bodies`."""
        if keys:
            known = [self._keys.body(key) for key in keys]
            self._server.run([command("UNLINK", key, key=key) for key in known])

    # Upkeep

    def sweep(self) -> int:
        """See `Backend.sweep`. Nothing is left to do: Redis drops what has expired."""
        return 0

    def counts(self) -> Mapping[str, int]:
        """See `Backend.counts`."""
        return self._inventory.counts()

    def close(self) -> None:
        """See `Backend.close`. The object may be used again afterwards."""
        self._listening.close()
        self._server.close()

    def _get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of keys, in one round trip."""
        if not keys:
            return []
        if self._server.whole:
            (found,) = self._server.run([command("MGET", *keys, writes=False)])
            values: list[bytes | None] = found
            return values
        return self._server.run([command("GET", key, key=key, writes=False) for key in keys])

    def _on_tasks(
        self,
        called: Script,
        keys: Sequence[bytes],
        arguments: Callable[[int], tuple[Any, ...]],
        before: tuple[Any, ...] = (),
    ) -> list[tuple[Sequence[int], Any]]:
        """Call a script with keys and what there is to say of each; its replies, each with the places that it is of."""
        lanes = [part for lane in self._server.lanes(keys) for part in _parts(lane)] if keys else []
        calls = [
            script(
                called,
                [keys[place] for place in lane],
                [*before, *(argument for place in lane for argument in arguments(place))],
                () if self._server.whole or called is _COMPLETE else BESIDE_TASK,
            )
            for lane in lanes
        ]
        return list(zip(lanes, self._server.run(calls), strict=True)) if calls else []


def _told(text: bytes) -> tuple[str, bytes, bytes | None]:
    """The number of a wait, the key of a task that has ended, and its record, where it goes with that."""
    number, length, rest = text.split(b" ", 2)
    size = int(length)
    return number.decode(), rest[:size], rest[size:] or None


def _nothing(_: int) -> tuple[()]:
    return ()


def _outcomes(wishes: Sequence[Transition], reply: list[Any]) -> list[Outcome]:
    parts = iter(reply)
    return [
        Outcome(
            applied=granted == 1,
            before=None if data is None else record_of(wish.task_id, data),
            group=None if progress is None else _progress(progress),
        )
        for wish, granted, data, progress in zip(wishes, parts, parts, parts, strict=True)
    ]


def _completed(done: Completion) -> tuple[Any, ...]:
    return done.member.index, done.payload, "1" if done.failed else "0"


def _progress(told: list[Any] | None) -> GroupProgress | None:
    if told is None:
        return None
    size, done, failed = told
    return GroupProgress(size=int(size), done=done, failed=failed == 1)


def _group(group_id: str, fields: list[Any], length: int) -> GroupRecord | None:
    size, collect, continuation, failed = fields
    if size is None:
        return None
    return GroupRecord(
        group_id=group_id,
        size=int(size),
        collect=collect == b"1",
        continuation=continuation,
        done=length - len(fields),
        failed=failed == b"1",
    )


def _parts(items: Sequence[T]) -> list[Sequence[T]]:
    if len(items) <= _CHUNK:
        return [items]
    return [items[first : first + _CHUNK] for first in range(0, len(items), _CHUNK)]


def _until_their_groups(wishes: Sequence[Transition]) -> Iterator[Sequence[Transition]]:
    """Parts of a batch in which no task has the id of a group whose member ends before it, so that order is kept."""
    part: list[Transition] = []
    groups: set[str] = set()
    for wish in wishes:
        if wish.task_id in groups:
            yield part
            part, groups = [], set()
        part.append(wish)
        if wish.member is not None:
            groups.add(wish.member.group_id)
    yield part
