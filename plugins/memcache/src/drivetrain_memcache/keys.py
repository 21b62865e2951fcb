"""The keys of items in Memcached. Pure.

    PREFIX:t:ID             the record of a task and the header of its group, in one item: they end together
    PREFIX:s:TAG:N          a shard of a group: which of its members are complete
    PREFIX:m:TAG:INDEX      the payload of a member
    PREFIX:b:KEY            a message body
    PREFIX:v:KEY            a versioned value
    PREFIX:i:N              a shard of the index of versioned values
    PREFIX:p:TAG:N          a part of a value that is too large for one item

TAG is random and never repeats. So a group never finds the items of an earlier group of the same id. A key has at most
250 bytes and no spaces: a long ID or KEY, or one with other characters, is replaced by its hash.
"""

from __future__ import annotations

import re
import secrets
from enum import StrEnum
from hashlib import sha256

from attrs import frozen

__all__ = ["Key", "Keys", "Kind", "new_tag"]

#: Names that a key contains unchanged. A hash begins with #, as no such name does.
_PLAIN = re.compile(r"[!$-~][!-~]{0,99}")


class Kind(StrEnum):
    """What an item holds."""

    ENTRY = "t"
    SHARD = "s"
    MEMBER = "m"
    BODY = "b"
    VALUE = "v"
    INDEX = "i"
    PART = "p"


@frozen
class Key:
    """The key of an item, and its owner: one server holds all items of an owner."""

    owner: str
    name: bytes


class Keys:
    """Makes the keys of one prefix."""

    def __init__(self, prefix: str) -> None:
        #: All keys of this prefix begin with it, and no other key does.
        self.beginning = f"{prefix}:".encode("ascii")
        self._prefix = {kind: f"{prefix}:{kind.value}:".encode("ascii") for kind in Kind}

    def named(self, kind: Kind, name: str) -> Key:
        """The key of an entry, body or value, or of a shard of their index."""
        return Key(name, self._prefix[kind] + _safe(name))

    def numbered(self, kind: Kind, owner: str, tag: str, number: int) -> Key:
        """The key of a shard, member or part."""
        return Key(owner, self._prefix[kind] + b"%s:%d" % (tag.encode("ascii"), number))

    def is_kind(self, kind: Kind, name: bytes) -> bool:
        """Whether a key that a server listed has this kind and prefix."""
        return name.startswith(self._prefix[kind])


def new_tag() -> str:
    """A random tag that was never used before."""
    return secrets.token_hex(8)


def _safe(name: str) -> bytes:
    if _PLAIN.fullmatch(name):
        return name.encode("ascii")
    return b"#" + sha256(name.encode("utf-8", "surrogatepass")).hexdigest().encode("ascii")
