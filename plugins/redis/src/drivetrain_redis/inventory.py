"""What lies in a namespace, found by looking through all keys: for operators and tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from drivetrain.contract import TaskRecord
from drivetrain_redis.keys import Keys
from drivetrain_redis.records import record_of
from drivetrain_redis.server import Server, command

__all__ = ["Inventory"]

#: How many keys one step of a look through all keys passes.
_STEP = 1_000
#: What a group keeps beside its members.
_GROUP_FIELDS = 4


class Inventory:
    """Looks through the keys of a namespace, by pieces. What changes meanwhile is seen or not."""

    def __init__(self, server: Server, keys: Keys) -> None:
        self._server = server
        self._keys = keys

    def unfinished(self, limit: int) -> list[TaskRecord]:
        """Up to ``limit`` records that are not terminal."""
        found: list[TaskRecord] = []
        for names in self._pieces("t"):
            if len(found) >= limit:
                break
            keys = [name for name in names if name.endswith(b"}")]
            for key, data in zip(keys, self._values(keys), strict=True):
                if data is not None and not (record := record_of(self._keys.name_of(key), data)).state.terminal:
                    found.append(record)
        return found[: max(0, limit)]

    def _values(self, keys: list[bytes]) -> list[bytes | None]:
        return self._server.run([command("GET", key, key=key, writes=False) for key in keys]) if keys else []

    def census(self) -> Mapping[str, int]:
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
        for names in self._server.scan(self._keys.pattern(kind), _STEP):
            new = [name for name in dict.fromkeys(names) if name not in seen]
            seen.update(new)
            yield new
