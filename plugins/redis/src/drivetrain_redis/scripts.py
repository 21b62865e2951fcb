"""Calls of Redis, packed for sending: of the Lua scripts in ``lua/``, and of plain commands."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any

import hiredis
from attrs import Factory, field, frozen

from drivetrain.contract import utf8

__all__ = ["LARGEST_BATCH", "Call", "Script", "command", "pack"]

#: How many items one call of a script is about at most: Lua's stack has room for some thousands of values, and a
#: script blocks all other clients.
LARGEST_BATCH = 1_000

_FOLDER = files("drivetrain_redis") / "lua"


@frozen
class Call:
    """A packed command, and what its client must know of it."""

    #: Any key that it is about, which tells a cluster's node; None: any server will do.
    key: bytes | None
    packed: bytes
    #: The script that it runs, if it does.
    script: Script | None = None
    writes: bool = True


@frozen
class Script:
    """A Lua script, which the server knows by the hash of its source."""

    source: bytes
    sha: str = field(init=False, default=Factory(lambda self: _sha(self.source), takes_self=True))

    @classmethod
    def load(cls, *names: str, constants: str = "") -> Script:
        """The script of these files, one after the other: code that several scripts share is in a file of its own.

        Args:
            names: of the files.
            constants: Lua that defines what they use.
        """
        return cls(b"\n".join([constants.encode(), *((_FOLDER / f"{name}.lua").read_bytes() for name in names)]))

    def call(self, keys: Sequence[bytes], arguments: Sequence[Any], suffixes: Sequence[bytes] = ()) -> Call:
        """A call of this script.

        Args:
            keys: KEYS; of one slot on a cluster.
            arguments: ARGV.
            suffixes: on a cluster, the ends of the other keys that the script uses. A slot that moves has keys on two
                nodes. The cluster refuses the call meanwhile (TRYAGAIN), but only if it knows all keys.
        """
        if suffixes:
            keys = [*keys, *(key + suffix for key in keys for suffix in suffixes)]
        packed = pack(("EVALSHA", self.sha, len(keys), *keys, *arguments))
        return Call(keys[0] if keys else None, packed, self)


def command(*arguments: Any, key: bytes | None = None, writes: bool = True) -> Call:
    """A call of a plain command."""
    return Call(key, pack(arguments), None, writes)


def pack(arguments: tuple[Any, ...]) -> bytes:
    """One command in the format of the Redis protocol. Text that UTF-8 cannot encode keeps its surrogates."""
    try:
        packed: bytes = hiredis.pack_command(arguments)
    except UnicodeEncodeError:
        packed = hiredis.pack_command(tuple(map(_encoded, arguments)))
    return packed


def _encoded(argument: Any) -> Any:
    return utf8(argument) if isinstance(argument, str) else argument


def _sha(source: bytes) -> str:
    return sha1(source, usedforsecurity=False).hexdigest()  # the hash that Redis uses
