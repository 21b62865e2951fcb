"""The Lua scripts of this driver: the files in ``lua/``, each known to the server by the hash of its text."""

from __future__ import annotations

from hashlib import sha1
from importlib.resources import files

from attrs import Factory, field, frozen

__all__ = ["Script"]

_FOLDER = files("drivetrain_redis") / "lua"


@frozen
class Script:
    """A script. What several scripts share stands in a file that is put before each of them."""

    source: bytes
    #: What the server knows it by.
    sha: str = field(init=False, default=Factory(lambda self: _sha(self.source), takes_self=True))

    @classmethod
    def load(cls, *names: str) -> Script:
        """The script of these files, one after the other."""
        return cls(b"\n".join((_FOLDER / f"{name}.lua").read_bytes() for name in names))


def _sha(source: bytes) -> str:
    return sha1(source, usedforsecurity=False).hexdigest()  # Redis's own choice
