"""What lies in a namespace, found by looking through all keys: for operators and tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from drivetrain.contract import TaskPage, TaskRecord
from drivetrain_redis.keys import Keys
from drivetrain_redis.records import record_of
from drivetrain_redis.server import Server, command

__all__ = ["Inventory"]

#: How many keys one step of a look through all keys passes.
_STEP = 1_000
#: How many steps one page of unfinished tasks takes at most.
_MOST_STEPS = 20
#: What a group keeps beside its members.
_GROUP_FIELDS = 4


class Inventory:
    """Looks through the keys of a namespace, by pieces. What changes meanwhile is seen or not."""

    def __init__(self, server: Server, keys: Keys) -> None:
        self._server = server
        self._keys = keys

    def unfinished(self, limit: int, cursor: str | None) -> TaskPage:
        """Up to ``limit`` records that are not terminal, of as many keys as one page passes."""
        position, passed = _place(cursor)
        found: list[TaskRecord] = []
        for step, (after, names) in enumerate(self._server.scan(self._keys.pattern("t"), _STEP, position), start=1):
            new = self._unfinished(name for name in names if name > passed)
            room = limit - len(found)
            found += [record for _, record in new[:room]]
            if len(new) > room:
                # The rest of this step comes with the next page, which begins with the same step.
                return TaskPage(records=found, cursor=_cursor(position, new[room - 1][0] if room else passed))
            if not after:
                break
            position, passed = after, b""
            if step == _MOST_STEPS or len(found) == limit:
                return TaskPage(records=found, cursor=_cursor(position, passed))
        return TaskPage(records=found)

    def _unfinished(self, names: Iterable[bytes]) -> list[tuple[bytes, TaskRecord]]:
        """Those of the keys that are records of unfinished tasks, in the order of the keys."""
        keys = sorted({name for name in names if name.endswith(b"}")})
        records = [
            (key, record_of(self._keys.name_of(key), data))
            for key, data in zip(keys, self._values(keys), strict=True)
            if data is not None
        ]
        return [(key, record) for key, record in records if not record.state.terminal]

    def _values(self, keys: list[bytes]) -> list[bytes | None]:
        return self._server.run([command("GET", key, key=key, writes=False) for key in keys]) if keys else []

    def counts(self) -> Mapping[str, int]:
        """How many of each kind there are."""
        suffixes: Counter[tuple[str, bytes]] = Counter()
        members = 0
        for kind in "tbl":
            for names in self._pieces(kind):
                ends = [(kind, name.rpartition(b"}")[2]) for name in names]
                suffixes.update(ends)
                groups = [name for name in names if name.endswith(b"}:group")]
                lengths = [command("HLEN", name, key=name, writes=False) for name in groups]
                members += sum(self._server.run(lengths)) - _GROUP_FIELDS * len(groups) if groups else 0
        return {
            "tasks": suffixes["t", b""],
            "groups": suffixes["t", b":group"],
            "members": members,
            "bodies": suffixes["b", b""],
            "locks": suffixes["l", b""],
        }

    def _pieces(self, kind: str) -> Iterator[list[bytes]]:
        """The names of the keys of a kind, each once."""
        seen: set[bytes] = set()
        for _, names in self._server.scan(self._keys.pattern(kind), _STEP):
            new = [name for name in dict.fromkeys(names) if name not in seen]
            seen.update(new)
            yield new


def _cursor(position: bytes, passed: bytes) -> str:
    """Where a page begins: with which step, and after which key of that step."""
    return f"{position.hex()} {passed.hex()}"


def _place(cursor: str | None) -> tuple[bytes, bytes]:
    position, _, passed = (cursor or "").partition(" ")
    return bytes.fromhex(position), bytes.fromhex(passed)
