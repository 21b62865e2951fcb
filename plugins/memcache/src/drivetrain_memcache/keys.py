"""How what is kept is called in Memcached. Pure.

    PREFIX:t:ID             a task's record and its group's head, in one item: they go together
    PREFIX:s:OF:N           a shard of a group: which of its members are complete
    PREFIX:m:OF:INDEX       the payload of a member
    PREFIX:b:KEY            a body
    PREFIX:l:NAME           a lock
    PREFIX:p:OF:N           a part of a value that is too large for one item

OF is a random name that is never used again: what is left of a group that was forgotten is not found by the next one
of its id. A key has at most 250 bytes and no blanks: an ID, KEY or NAME that is long or has other signs stands as its
hash.
"""

from __future__ import annotations

import re
import secrets
from enum import StrEnum
from hashlib import sha256

from attrs import frozen

__all__ = ["Key", "Keys", "Kind", "fresh"]

#: What may stand in a key as it is. A hash begins with #, which no such name does.
_PLAIN = re.compile(r"[!$-~][!-~]{0,99}")


class Kind(StrEnum):
    """What an item holds."""

    ENTRY = "t"
    SHARD = "s"
    MEMBER = "m"
    BODY = "b"
    LOCK = "l"
    PART = "p"


@frozen
class Key:
    """An item's key, and whose it is: all items of one owner are on one server."""

    owner: str
    name: bytes


class Keys:
    """Makes the keys of one prefix."""

    def __init__(self, prefix: str) -> None:
        #: What every key of this prefix begins with, and no other does.
        self.all_begin_with = f"{prefix}:".encode("ascii")
        self._prefix = {kind: f"{prefix}:{kind.value}:".encode("ascii") for kind in Kind}

    def named(self, kind: Kind, name: str) -> Key:
        """The key of an entry, body or lock."""
        return Key(name, self._prefix[kind] + _safe(name))

    def numbered(self, kind: Kind, owner: str, of: str, number: int) -> Key:
        """The key of a shard, member or part."""
        return Key(owner, self._prefix[kind] + b"%s:%d" % (of.encode("ascii"), number))

    def holds(self, kind: Kind, name: bytes) -> bool:
        """Whether the key ``name``, found on a server, is of this kind and prefix."""
        return name.startswith(self._prefix[kind])


def fresh() -> str:
    """A name that was never used before."""
    return secrets.token_hex(8)


def _safe(name: str) -> bytes:
    if _PLAIN.fullmatch(name):
        return name.encode("ascii")
    return b"#" + sha256(name.encode("utf-8", "surrogatepass")).hexdigest().encode("ascii")
